"""Pictures of every format with a few bits turned over, where the seed says."""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.case import ANYTHING, AVIF_NEAR, Case
from tests.corpus.jpeg import kinds
from tests.pictures import flipped, photo, png_of, vips


def flips(seed: int, each: int) -> Iterator[Case]:
    """`each` files of each format."""
    image = vips(photo(seed))
    whole = {
        "rgb.png": png_of(photo(seed)),
        "laced.png": image.pngsave_buffer(interlace=True),
        "baseline.jpg": kinds(seed)["baseline"],
        "progressive.jpg": kinds(seed)["progressive"],
        "lossy.webp": image.webpsave_buffer(),
        "lossless.webp": image.webpsave_buffer(lossless=True),
        "plain.tif": image.tiffsave_buffer(),
        "deflate.tif": image.tiffsave_buffer(compression="deflate"),
        "tiled.tif": image.tiffsave_buffer(tile=True, compression="lzw"),
        "plain.gif": image.gifsave_buffer(),
        "plain.avif": image.heifsave_buffer(compression="av1", effort=0),
    }
    for name, data in whole.items():
        stem, _, extension = name.partition(".")
        for number in range(each):
            # libnsgif fills up what the data of a frame lacks and tells nobody; other decoders refuse such files.
            sure = extension != "gif"
            damaged = flipped(data, seed * 100_003 + number, flips=1 + number % 9)
            yield Case(
                name=f"flips-{extension}/{stem}-{seed}-{number}.{extension}",
                data=damaged,
                ends=ANYTHING,
                compared=sure,
                near=AVIF_NEAR * (extension == "avif"),
            )
