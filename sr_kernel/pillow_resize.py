"""Pillow's antialiased Lanczos-3 to the byte, without Pillow. No torch.

Follows Pillow 13, src/libImaging/Resample.c (`precompute_coeffs`, `normalize_coeffs_8bpc`) and Image.resize: weights
are rounded to fixed point, the picture is resized along one axis, rounded to its own depth, then along the other;
colour under an alpha channel is multiplied by it first, and divided by it afterwards (Convert.c, `rgba2rgbA` and
`rgbA2rgba`).

Sums are taken by matrix products in float64 over bands of the weights' matrix. Levels and weights are whole numbers and
no sum reaches 2**53, so that every order of summation, hence every BLAS and processor, gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""HWC, uint8 or uint16: gray, gray + alpha, RGB, RGB + alpha; straight alpha"""

_LOBES = 3
_BITS_OF_WEIGHTS = {8: 22, 16: 34}
"""by depth: 8 as Pillow's PRECISION_BITS, 16 as many as float64 sums exactly (34 + 16 and two bits of overshoot)"""
_OUTPUTS_A_BAND = 32
"""outputs whose sums are one matrix product: few enough that most of its weights are not 0, enough to fill BLAS"""


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """The picture in another size, of the same type and channels; contiguous.

    8-bit pictures come out as `Image.resize((width, height), LANCZOS)` makes them. Pillow resizes 16 bits for gray only
    and lets overshoot wrap around; here they are treated as 8 bits are, and clamped.
    """
    if min(width, height) < 1:
        raise ValueError(f"no picture: {width}x{height}")
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    has_alpha = pixels.shape[2] in (2, 4)
    source = _premultiplied(pixels) if has_alpha else pixels
    lost_across, lost_down = pixels.shape[1] - width, pixels.shape[0] - height
    if lost_down > max(0, 2 * lost_across):  # Pillow's order since 13; before, it began across always
        made = _resized_columns(_resized_rows(source, height), width)
    else:
        made = _resized_rows(_resized_columns(source, width), height)
    return _straight(made) if has_alpha else made


def _resized_columns(pixels: Pixels, length: int) -> Pixels:
    """The second axis of an array of three brought to `length`; contiguous."""
    return np.ascontiguousarray(_resized_rows(pixels.transpose(1, 0, 2), length).transpose(1, 0, 2))


def _resized_rows(pixels: Pixels, length: int) -> Pixels:
    """The first axis of an array of three brought to `length`, rounded and clamped; contiguous."""
    if len(pixels) == length:
        return np.ascontiguousarray(pixels)
    depth = 8 * pixels.dtype.itemsize
    unit, largest = float(1 << _BITS_OF_WEIGHTS[depth]), float(np.iinfo(pixels.dtype).max)
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    made = np.empty((length, rows.shape[1]), pixels.dtype)
    for band in _bands(len(pixels), length, depth):
        sums = band.weights @ rows[band.start : band.end].astype(np.float64)
        sums *= 1 / unit
        sums += 0.5
        np.floor(sums, out=sums)
        np.clip(sums, 0, largest, out=sums)
        made[band.first : band.first + len(band.weights)] = sums
    return made.reshape(length, *pixels.shape[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """Consecutive outputs of one axis, and the inputs that they sum."""

    first: int
    start: int
    end: int
    weights: NDArray[np.float64]
    """whole numbers [outputs, end - start]"""


@lru_cache(maxsize=64)
def _bands(in_length: int, out_length: int, depth: int) -> tuple[_Band, ...]:
    return tuple(_iter_bands(in_length, out_length, depth))


def _iter_bands(in_length: int, out_length: int, depth: int) -> Iterator[_Band]:
    starts, ends, weights = _weights(in_length, out_length)
    unit = float(1 << _BITS_OF_WEIGHTS[depth])
    fixed = np.trunc(weights * unit + np.where(weights < 0, -0.5, 0.5))
    for first in range(0, out_length, _OUTPUTS_A_BAND):
        outputs = range(first, min(first + _OUTPUTS_A_BAND, out_length))
        start, end = int(starts[outputs[0]]), int(ends[outputs[-1]])
        matrix = np.zeros((len(outputs), end - start))
        for line, output in enumerate(outputs):
            low, high = int(starts[output]), int(ends[output])
            matrix[line, low - start : high - start] = fixed[output, : high - low]
        yield _Band(first=first, start=start, end=end, weights=matrix)


def _weights(in_length: int, out_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """First input, end of inputs and weights [out, taps] of each output, operation by operation as Pillow has them."""
    scale = in_length / out_length
    stretch = max(scale, 1.0)
    support = _LOBES * stretch
    centre = (np.arange(out_length) + 0.5) * scale
    starts = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centre + support + 0.5).astype(np.int64), in_length)
    position = starts[:, None] + np.arange(int((ends - starts).max()))
    distance = (position - centre[:, None] + 0.5) * (1.0 / stretch)
    inside = (position < ends[:, None]) & (distance >= -_LOBES) & (distance < _LOBES)
    weights = np.where(inside, _sinc(distance) * _sinc(distance / _LOBES), 0.0)
    total = np.cumsum(weights, axis=1)[:, -1:]  # one after another, as the C loop adds
    return starts, ends, weights / total


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """sin(pi x) / (pi x) with the C library's sine: numpy's own differs in the last bit from processor to processor."""
    angle = x * math.pi
    sine = np.fromiter(map(math.sin, angle.ravel().tolist()), np.float64, angle.size).reshape(angle.shape)
    return np.divide(sine, angle, out=np.ones_like(angle), where=angle != 0)


def _premultiplied(pixels: Pixels) -> Pixels:
    """Colour times alpha, rounded: nothing of what is hidden under clear pixels gets into their neighbours."""
    depth = 8 * pixels.dtype.itemsize
    product = pixels[:, :, :-1].astype(np.uint32) * pixels[:, :, -1:] + (1 << depth - 1)
    made = pixels.copy()
    made[:, :, :-1] = (product + (product >> depth)) >> depth
    return made


def _straight(pixels: Pixels) -> Pixels:
    """Colour divided by alpha, truncated and clamped; left as it is where alpha is 0."""
    largest = int(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.uint32)
    colour = pixels[:, :, :-1].astype(np.uint32) * np.uint32(largest) // np.maximum(alpha, 1)
    made = pixels.copy()
    made[:, :, :-1] = np.where(alpha == 0, pixels[:, :, :-1], np.minimum(colour, largest))
    return made
