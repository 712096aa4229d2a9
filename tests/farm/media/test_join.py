"""Joined bands are the picture encoded in one, in memory that does not grow with their number."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.image import EncodeSpec, ImageMeta, ReadLimits, decode, encode, encode_piece, join_pieces
from tests.pictures import photo

LIMITS = ReadLimits()
STAMP = {"model": "x4plus", "version": "0.1.0"}
META = ImageMeta(exif=b"II*\0\x08\0\0\0" + bytes(6), xres=11.811, yres=11.811)


def openers(pixels: np.ndarray, heights: list[int]) -> list[Callable[[], BinaryIO]]:
    """The rows of a picture as pieces in memory."""
    ends = np.cumsum(heights)
    pieces = [encode_piece(pixels[end - height : end]) for end, height in zip(ends, heights, strict=True)]
    return [lambda piece=piece: io.BytesIO(piece) for piece in pieces]


@pytest.mark.parametrize("file_format", ["png", "tiff", "jpg", "webp"])
@pytest.mark.parametrize(("bands", "depth"), [(1, 8), (3, 8), (4, 8), (2, 16), (3, 16)])
def test_joined_pieces_are_the_picture_in_one(file_format: str, bands: int, depth: int) -> None:
    pixels = photo(11, 131, 97, bands, depth)
    if file_format == "jpg" and bands in (2, 4):
        pixels[..., -1] = np.iinfo(pixels.dtype).max
    spec, sink = EncodeSpec(format=file_format, stamp=STAMP), io.BytesIO()
    join_pieces(openers(pixels, [40, 1, 50, 6]), 131, 97, META, spec, "o", sink)
    once = decode(encode(pixels, META, spec, "o"), "o", LIMITS)
    joined = decode(sink.getvalue(), "o", LIMITS)
    np.testing.assert_array_equal(joined.pixels, once.pixels)
    assert (joined.header, joined.meta) == (once.header, once.meta)


def test_rows_of_a_join_stand_in_order_over_many_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.media.join._STRIP_BYTES", 1000)
    pixels = photo(12, 60, 300)
    sink = io.BytesIO()
    join_pieces(openers(pixels, [7] * 42 + [6]), 60, 300, ImageMeta(), EncodeSpec(format="tiff"), "o", sink)
    np.testing.assert_array_equal(decode(sink.getvalue(), "o", LIMITS).pixels, pixels)


def test_a_join_opens_one_piece_at_a_time_and_each_once() -> None:
    pixels, now, most, opened = photo(13, 64, 200), 0, 0, 0

    class Counted(io.BytesIO):
        def __init__(self, data: bytes) -> None:
            nonlocal now, most, opened
            super().__init__(data)
            now, opened = now + 1, opened + 1
            most = max(most, now)

        def close(self) -> None:
            nonlocal now
            now -= not self.closed
            super().close()

    pieces = [opener().read() for opener in openers(pixels, [20] * 10)]
    counted: list[Callable[[], BinaryIO]] = [lambda piece=piece: Counted(piece) for piece in pieces]
    join_pieces(counted, 64, 200, ImageMeta(), EncodeSpec(format="png"), "o", io.BytesIO())
    assert (now, most, opened) == (0, 1, 10)


@pytest.mark.parametrize("heights", [[40, 50], [40, 50, 7, 9]])
def test_pieces_that_do_not_make_up_the_picture_are_refused(heights: list[int]) -> None:
    pieces = openers(photo(11, 131, 120), heights)
    with pytest.raises(ItemError, match="do not make up 131x97") as caught:
        join_pieces(pieces, 131, 97, ImageMeta(), EncodeSpec(format="png"), "o", io.BytesIO())
    assert caught.value.kind is ErrorKind.CORRUPT


def test_a_join_says_when_a_piece_is_damaged_or_transparency_would_be_lost() -> None:
    pixels = photo(11, 131, 97, 4)
    pieces = openers(pixels, [40, 57])
    with pytest.raises(ItemError, match="transparent"):
        join_pieces(pieces, 131, 97, ImageMeta(), EncodeSpec(format="jpg"), "o", io.BytesIO())
    broken = encode_piece(pixels[40:])[:-900]
    with pytest.raises(ItemError, match="a piece cannot be read"):
        join_pieces(
            [pieces[0], lambda: io.BytesIO(broken)], 131, 97, ImageMeta(), EncodeSpec(format="png"), "o", io.BytesIO()
        )


def test_a_full_disk_below_a_join_comes_through_as_it_is() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        join_pieces(openers(photo(1), [64]), 96, 64, ImageMeta(), EncodeSpec(format="png"), "o", Full())


_MEASURED_JOIN = """
import io, sys
import numpy as np
from farm.media.image import EncodeSpec, ImageMeta, encode_piece, join_pieces
from tests.memory import peak_bytes

class Sink(io.BytesIO):  # keeps nothing: PNG only writes
    def write(self, data):
        return len(data)

count = int(sys.argv[1])
piece = encode_piece(np.random.default_rng(1).integers(0, 256, (100, 8000, 3)).astype(np.uint8))
join_pieces([lambda: io.BytesIO(piece)] * count, 8000, 100 * count, ImageMeta(), EncodeSpec(format="png"), "o", Sink())
print(peak_bytes() >> 10)
"""


def peak_kib(pieces: int) -> int:
    """High-water mark of a process that joins so many pieces of 2.4 MB."""
    command = [sys.executable, "-c", _MEASURED_JOIN, str(pieces)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def test_memory_of_a_join_does_not_grow_with_the_pieces() -> None:
    few, many = peak_kib(5), peak_kib(50)  # 12 and 120 MB of pixels
    assert many - few < 25_000


def test_one_piece_per_row_and_no_piece_at_all() -> None:
    pixels = photo(3, 5, 40)
    sink = io.BytesIO()
    join_pieces(openers(pixels, [1] * 40), 5, 40, META, EncodeSpec(format="png"), "o", sink)
    np.testing.assert_array_equal(decode(sink.getvalue(), "o", LIMITS).pixels, pixels)
    with pytest.raises(ItemError, match="no piece at all"):
        join_pieces([], 5, 40, META, EncodeSpec(format="png"), "o", io.BytesIO())
