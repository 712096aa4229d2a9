"""How near a restored picture is to the good one: PSNR and SSIM, in RGB, as basicsr computes them. No torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""HWC, RGB"""
CROP_PX = 4
"""border that upstream's validation leaves out"""
_SIDE, _SIGMA = 11, 1.5
LEAST_PX = _SIDE + 2 * CROP_PX
"""side of a picture that both can be said of"""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(made: Pixels, good: Pixels, crop_px: int = CROP_PX) -> float:
    """Peak signal-to-noise ratio in dB, over all channels; infinite for equal pictures."""
    first, second = _inner(made, good, crop_px)
    error = float(np.mean((first - second) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(made: Pixels, good: Pixels, crop_px: int = CROP_PX) -> float:
    """Structural similarity (Wang et al., 2004), at most 1: windows of 11 x 11 that lie inside, mean over channels."""
    first, second = _inner(made, good, crop_px)
    if min(first.shape[:2]) < _SIDE:
        raise ValueError(f"ssim: {first.shape[1]}x{first.shape[0]} inside the border is smaller than {_SIDE} pixels")
    mean1, mean2 = _blurred(first), _blurred(second)
    var1, var2 = _blurred(first**2) - mean1**2, _blurred(second**2) - mean2**2
    shared = _blurred(first * second) - mean1 * mean2
    above = (2 * mean1 * mean2 + _C1) * (2 * shared + _C2)
    return float(np.mean(above / ((mean1**2 + mean2**2 + _C1) * (var1 + var2 + _C2))))


def _inner(made: Pixels, good: Pixels, crop_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if made.shape != good.shape or min(made.shape[:2]) <= 2 * crop_px:
        raise ValueError(f"score: pictures of {made.shape} and {good.shape} inside a border of {crop_px}")
    inside = slice(crop_px, -crop_px) if crop_px else slice(None)
    return made[inside, inside].astype(np.float64), good[inside, inside].astype(np.float64)


def _blurred(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means by the window, only where it lies inside."""
    offsets = np.arange(_SIDE) - _SIDE // 2
    taps = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    for axis in (0, 1):
        length = plane.shape[axis] - _SIDE + 1
        parts = (float(tap) * plane.take(range(at, at + length), axis) for at, tap in enumerate(taps))
        plane = sum(parts, np.zeros(()))
    return plane
