"""What can be said of a picture by arithmetic: its luma, how sharp it is, how much of JPEG's grid shows. No torch.

All but sharpness, which is asked of films' frames too, work on 8-bit luma, also of 16-bit pictures, so that figures
compare. Sums are of whole numbers and exact in
float64, hence the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
"""HW"""
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""HWC: gray, gray + alpha, RGB, RGB + alpha; alpha is not looked at"""

_STRIP_PIXELS = 1 << 16
"""pixels that are worked on at once, so that what is between stays in the cache"""
_GRID = 8
"""sides of JPEG's blocks, pixels"""


def luma(pixels: Pixels) -> Luma:
    """Luma by ITU-R BT.601, rounded as Pillow's conversion from RGB to L does (Convert.c, L24); gray as it is."""
    made: Luma = np.empty(pixels.shape[:2], np.uint8)
    colours = 1 if pixels.shape[2] < 3 else 3
    for strip in _strips(pixels.shape[0], pixels.shape[1]):
        part = pixels[strip, :, :colours]
        eight = part if part.dtype == np.uint8 else ((part.astype(np.uint32) + 128) // 257).astype(np.uint8)
        made[strip] = eight[:, :, 0] if colours == 1 else _weighted(eight)
    return made


def _weighted(rgb: Pixels) -> NDArray[np.uint32]:
    total = rgb[:, :, 0].astype(np.uint32)
    total *= np.uint32(19595)
    total += rgb[:, :, 1] * np.uint32(38470)
    total += rgb[:, :, 2] * np.uint32(7471)
    total += np.uint32(1 << 15)
    total >>= np.uint32(16)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How bright a picture is."""

    mean: float
    """of luma, 0..255"""
    std: float
    """standard deviation of luma, in levels"""
    saturated: float
    """share of colour samples, of the picture's own depth, that are 0 or the largest value; 0..1"""


def levels(pixels: Pixels, plane: Luma) -> Levels:
    """Of a picture and its luma."""
    counts = np.zeros(256, np.int64)
    ends, colours = 0, 1 if pixels.shape[2] < 3 else 3
    largest = np.iinfo(pixels.dtype).max
    for strip in _strips(*plane.shape):
        counts += np.bincount(plane[strip].ravel(), minlength=256)
        part = pixels[strip, :, :colours]
        ends += int(np.count_nonzero(part == 0)) + int(np.count_nonzero(part == largest))
    level = np.arange(256)
    total, squares = int(counts @ level), int(counts @ level**2)
    variance = (plane.size * squares - total * total) / plane.size**2
    saturated = ends / (plane.size * colours)
    return Levels(mean=total / plane.size, std=max(variance, 0.0) ** 0.5, saturated=saturated)


def sharpness(plane: NDArray[np.uint8] | NDArray[np.uint16], span: int = 255) -> float | None:
    """Variance of the Laplacian (4 neighbours, the border mirrored without repeating it), in levels of 0..255 squared.

    `span`: samples from black to white, so that depths and ranges compare. Low values mean blurred or flat; LAPV of
    Pertuz, Puig and Garcia, Analysis of focus measure operators for shape-from-focus, Pattern Recognition 46 (2013),
    after Pech-Pacheco et al. (2000). None below 2x2 pixels.
    """
    if min(plane.shape) < 2:
        return None
    total = squares = 0
    wide = np.int16 if plane.dtype == np.uint8 else np.int32
    for strip in _strips(*plane.shape):
        window = plane[max(strip.start - 1, 0) : strip.stop + 1].astype(wide)
        above, below = int(strip.start == 0), int(strip.stop >= plane.shape[0])
        padded = np.pad(window, ((above, below), (1, 1)), mode="reflect")
        curve = padded[:-2, 1:-1] + padded[2:, 1:-1]
        curve += padded[1:-1, :-2]
        curve += padded[1:-1, 2:]
        curve -= 4 * padded[1:-1, 1:-1]
        total += int(curve.sum(dtype=np.int64))
        if wide is np.int16:
            exact = curve.ravel().astype(np.float64)  # whole numbers below 2**53, and three times as fast
            squares += int(exact @ exact)
        else:
            squares += int(np.multiply(curve, curve, dtype=np.int64).sum())
    return (plane.size * squares - total * total) / plane.size**2 * (255 / span) ** 2


def blockiness(plane: Luma) -> float | None:
    """How much steeper luma breaks on the best grid of 8 pixels than elsewhere; 1 where no grid shows.

    Breaks are changes of slope across a border (the MSDS of Minami and Zakhor, An optimization approach for removing
    blocking effects in transform coding, IEEE CSVT 5(2), 1995, by absolute values), averaged over each row and column
    of borders; the grid may lie anywhere, as it does in crops of a JPEG that were saved as PNG. Mean of the ratios of
    the two directions. None for pictures under 32 pixels a side, and where nothing changes between the grid's lines.
    """
    if min(plane.shape) < 4 * _GRID:
        return None
    across = np.zeros(plane.shape[1] - 3)
    down = np.zeros(plane.shape[0] - 3)
    for strip in _strips(*plane.shape):
        part = plane[strip.start : strip.stop].astype(np.int16)
        across += _breaks(part.T).sum(axis=1, dtype=np.int64)
        tall = plane[strip.start : strip.stop + 3].astype(np.int16)
        if len(tall) > 3:
            lines = _breaks(tall)
            down[strip.start : strip.start + len(lines)] = lines.sum(axis=1, dtype=np.int64)
    ratios = _grid_ratio(across), _grid_ratio(down)
    return None if None in ratios else sum(filter(None, ratios)) / 2


def _breaks(lines: NDArray[np.int16]) -> NDArray[np.int16]:
    """|change of slope| across the border between lines n + 1 and n + 2 of the first axis, times 2."""
    change = lines[1:] - lines[:-1]
    across = 2 * change[1:-1]
    across -= change[:-2]
    across -= change[2:]
    return np.abs(across, out=across)


def _grid_ratio(breaks: NDArray[np.float64]) -> float | None:
    """Mean break on the grid's borders over the mean of all others, for the place of the grid that shows most."""
    whole = breaks[: len(breaks) // _GRID * _GRID].reshape(-1, _GRID)
    means = whole.mean(axis=0)
    others = (means.sum() - means) / (_GRID - 1)
    best = int(means.argmax())
    return float(means[best] / others[best]) if others[best] > 0 else None


def _strips(height: int, width: int) -> Iterator[slice]:
    """Rows in runs of about _STRIP_PIXELS."""
    rows = max(8, _STRIP_PIXELS // max(width, 1))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
