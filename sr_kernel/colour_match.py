"""Keeping the source's low frequencies: what a network shifted over wide areas is put back, detail is left alone.

Output += enlarge(low-pass(source - shrunk output)), where the shrunk output is averaged over each source pixel. The
low-pass is a Gaussian on source pixels, renormalised at the picture's true border; what it gives is so smooth that it
is enlarged linearly. Both are sums in one order over positions of the picture, in fp32: a window with COLOUR_REACH_PX
pixels of context gives the bytes of the whole picture.

Why sigma 6. Colour differences behind a Gaussian of 8 pixels, in levels of 255, mean / largest, on eight photographs,
paintings and scans through animevideov3: 1.6 / 6.7 as the network gives them; 0.13 / 1.4 with sigma 6; 0.07 / 0.9 with
4, which puts back twice as much that is finer than those 8 pixels, the source's noise among it; 0.20 / 1.8 with 8,
which wants a third more context.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.resample import Taps, turned
from sr_kernel.tiles import COLOUR_REACH_PX, Box

RADIUS_PX = COLOUR_REACH_PX - 1
"""of the low-pass; linear enlarging reaches one pixel further"""
SIGMA_PX = RADIUS_PX / 3


class ColourMatch:
    """What is put back into pictures of one size; made once a size, keeps the weights of its axes."""

    def __init__(self, width: int, height: int, scale: int) -> None:
        """Size of the source in pixels, and the network's scale."""
        self._size = width, height
        self._scale = scale
        self._low = _gaussian(width), _gaussian(height)
        self._large = _linear(width, scale), _linear(height, scale)

    def inner(self, box: Box) -> Box:
        """The part of `box`, in source pixels, whose correction `box` alone decides; ValueError where there is none."""
        return _inner(box, COLOUR_REACH_PX, self._size)

    def correction(self, difference: Tensor, box: Box) -> Tensor:
        """What the output of `inner(box)` lacks, (h * scale, w * scale, 3) in fp32, in the unit of `difference`.

        `difference` (H, W, 3) in fp32: the source less the shrunk output, over `box`.
        """
        low, large = _inner(box, RADIUS_PX, self._size), _enlarged(self.inner(box), self._scale)
        device = difference.device
        steps = (_parts(self._low, box, low, device), _parts(self._large, low, large, device))
        made = difference.new_empty((large.height, large.width, 3))
        for channel in range(3):
            plane = difference.new_empty(difference.shape[:2]).copy_(difference[:, :, channel])
            for across, down in steps:
                plane = down.sum_rows(turned(across.sum_rows(turned(plane))))
            made[:, :, channel] = plane
        return made


def _inner(box: Box, reach: int, size: tuple[int, int]) -> Box:
    """`box` less `reach` pixels at each side that is not the picture's border."""
    return Box(
        x0=box.x0 + reach if box.x0 > 0 else 0,
        y0=box.y0 + reach if box.y0 > 0 else 0,
        x1=box.x1 - reach if box.x1 < size[0] else size[0],
        y1=box.y1 - reach if box.y1 < size[1] else size[1],
    )


def _enlarged(box: Box, scale: int) -> Box:
    return Box(x0=box.x0 * scale, y0=box.y0 * scale, x1=box.x1 * scale, y1=box.y1 * scale)


def _parts(axes: tuple[Taps, Taps], box: Box, out: Box, device: torch.device) -> tuple[Taps, Taps]:
    """The taps of `out` across and down, counted from the corner of `box`, which is what is at hand."""
    across, down = axes
    return (
        across.part(box.x0, box.width, (out.x0, out.x1), device),
        down.part(box.y0, box.height, (out.y0, out.y1), device),
    )


def _gaussian(length: int) -> Taps:
    """The low-pass of one axis: positions beyond the border have weight 0 and the rest is normalised."""
    steps = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    position = np.arange(length)[:, None] + steps
    weights = np.where((position >= 0) & (position < length), np.exp(-0.5 * (steps / SIGMA_PX) ** 2), 0.0)
    return _taps(position, weights / weights.sum(axis=1, keepdims=True), length)


def _linear(length: int, scale: int) -> Taps:
    """Enlarging of one axis: each output pixel lies between the centres of two source pixels; the last is repeated."""
    position = (np.arange(length * scale) + 0.5) / scale - 0.5
    base = np.floor(position)
    share = position - base
    return _taps(base.astype(np.int64)[:, None] + np.arange(2), np.stack([1 - share, share], axis=1), length)


def _taps(position: NDArray[np.int64], weights: NDArray[np.float64], length: int) -> Taps:
    return Taps(
        indices=torch.from_numpy(np.clip(position, 0, length - 1).astype(np.int32)),
        weights=torch.from_numpy(weights.astype(np.float32)),
    )
