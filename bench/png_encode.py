"""How fast can a restored picture become a PNG on one core, and how large does it get?

    python bench/png_encode.py PICTURE [--rounds 3]

Encodes the picture (an x4 output, ideally 3072x2048) with each candidate, `rounds` times interleaved, and prints the
best time and the size as a table. All candidates run on one thread and are given the same contiguous RGB array.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import cv2
import imagecodecs
import numpy as np
import pyvips

Encoder = Callable[[np.ndarray], int]


def vips_png(level: int, row_filter: str) -> Encoder:
    """pyvips (libpng on zlib-ng): deflate level and row filter."""

    def encode(pixels: np.ndarray) -> int:
        height, width, bands = pixels.shape
        image = pyvips.Image.new_from_memory(pixels.data, width, height, bands, "uchar")
        return len(image.copy(interpretation="srgb").pngsave_buffer(compression=level, filter=row_filter))

    return encode


def cv2_png(level: int, strategy: int, row_filter: int) -> Encoder:
    """OpenCV; the conversion to BGR is part of the price."""
    options = [
        cv2.IMWRITE_PNG_COMPRESSION,
        level,
        cv2.IMWRITE_PNG_STRATEGY,
        strategy,
        cv2.IMWRITE_PNG_FILTER,
        row_filter,
    ]

    def encode(pixels: np.ndarray) -> int:
        return int(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].size)

    return encode


def candidates() -> Iterator[tuple[str, Encoder]]:
    """Name and encoder of everything that is compared."""
    for row_filter in ("none", "sub", "up", "avg", "paeth", "all"):
        for level in (1, 2, 3, 4, 6) if row_filter in ("sub", "up") else (1, 2, 6):
            yield f"pyvips level {level} filter {row_filter}", vips_png(level, row_filter)
    for level in (1, 3, 6):
        yield (
            f"cv2 level {level} default",
            cv2_png(level, cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_ALL_FILTERS),
        )
        yield f"cv2 level {level} sub", cv2_png(level, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_FILTER_SUB)
        yield f"cv2 level {level} up", cv2_png(level, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_FILTER_UP)
    yield "cv2 rle sub", cv2_png(1, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER_SUB)
    for level in (1, 3, 6):
        yield f"imagecodecs png level {level}", lambda a, level=level: len(imagecodecs.png_encode(a, level=level))
        yield f"imagecodecs spng level {level}", lambda a, level=level: len(imagecodecs.spng_encode(a, level=level))
    for level in (1, 2, 3, 6):
        yield f"numpy sub + zlib-ng level {level}", lambda a, level=level: own_png(a, level)


def own_png(pixels: np.ndarray, level: int) -> int:
    """The filter Sub in numpy, then one zlib stream by zlib-ng; chunk framing is not counted."""
    height, width, bands = pixels.shape
    rows = np.empty((height, 1 + width * bands), np.uint8)
    rows[:, 0] = 1
    flat = pixels.reshape(height, width * bands)
    rows[:, 1 : 1 + bands] = flat[:, :bands]
    np.subtract(flat[:, bands:], flat[:, :-bands], out=rows[:, 1 + bands :])
    return len(imagecodecs.zlibng_encode(rows, level=level))


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    cv2.setNumThreads(1)
    pixels = np.ascontiguousarray(cv2.cvtColor(cv2.imread(arguments.picture), cv2.COLOR_BGR2RGB))
    encoders = dict(candidates())
    best: dict[str, tuple[float, int]] = {}
    for _ in range(arguments.rounds):
        for name, encode in encoders.items():
            start = time.perf_counter()
            size = encode(pixels)
            seconds = time.perf_counter() - start
            best[name] = (min(seconds, best.get(name, (1e9, 0))[0]), size)
    print(
        f"{pixels.shape[1]}x{pixels.shape[0]}, raw {pixels.nbytes / 1e6:.1f} MB\n\n| encoder | ms | MB |\n|---|---|---|"
    )
    for name, (seconds, size) in sorted(best.items(), key=lambda entry: entry[1][0]):
        print(f"| {name} | {seconds * 1e3:.0f} | {size / 1e6:.2f} |")


if __name__ == "__main__":
    main()
