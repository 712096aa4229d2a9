"""Blur kernels from what was drawn: Gaussian families and the sinc filter, with basicsr's formulas.

basicsr pads every kernel with zeros to 21 pixels; zero taps change nothing, so these keep their own side.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sr_kernel.degrade.drawn import SINC, DrawnKernel


def make_kernel(drawn: DrawnKernel) -> Tensor:
    """The kernel of a draw, float32 [size, size], summing to 1. Raises ValueError for an unknown kind."""
    if drawn.kind == SINC:
        return _finish(_sinc(drawn.size, _given(drawn.cutoff)))
    sigma_x = _given(drawn.sigma_x)
    sigma_y = sigma_x if drawn.sigma_y is None else drawn.sigma_y
    distance = _distance(drawn.size, sigma_x, sigma_y, drawn.rotation or 0.0)
    if drawn.kind in ("iso", "aniso"):
        return _finish(torch.exp(-0.5 * distance))
    if drawn.kind in ("generalized_iso", "generalized_aniso"):
        return _finish(torch.exp(-0.5 * distance ** _given(drawn.beta)))
    if drawn.kind in ("plateau_iso", "plateau_aniso"):
        return _finish(1.0 / (distance ** _given(drawn.beta) + 1.0))
    raise ValueError(f"unknown kernel kind {drawn.kind!r}")


@lru_cache(maxsize=8)
def usm_kernel(side: int) -> Tensor:
    """OpenCV's Gaussian of a side whose sigma is left to it, float32 [side, side] (getGaussianKernel, sigma 0).

    Everybody's: it must not be written to.
    """
    sigma = 0.3 * ((side - 1) * 0.5 - 1) + 0.8
    return _finish(torch.exp(-0.5 * _distance(side, sigma, sigma, 0.0)))


def _distance(size: int, sigma_x: float, sigma_y: float, rotation: float) -> Tensor:
    """Squared Mahalanobis distance of each tap from the middle, float64 [size, size]."""
    y, x = _grid(size)
    along = (math.cos(rotation) * x + math.sin(rotation) * y) / sigma_x
    across = (math.cos(rotation) * y - math.sin(rotation) * x) / sigma_y
    return along * along + across * across


def _sinc(size: int, cutoff: float) -> Tensor:
    """The circular low-pass filter: cutoff * J1(cutoff r) / (2 pi r), with its limit in the middle."""
    y, x = _grid(size)
    radius = torch.sqrt(x * x + y * y)
    middle = size // 2
    radius[middle, middle] = 1.0
    bessel = cast("Tensor", cast(Any, torch.special).bessel_j1(cutoff * radius))
    kernel = cutoff * bessel / (2 * math.pi * radius)
    kernel[middle, middle] = cutoff**2 / (4 * math.pi)
    return kernel


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """y as [size, 1] and x as [1, size], float64, 0 in the middle."""
    axis = torch.from_numpy(np.arange(size, dtype=np.float64) - size // 2)
    return axis[:, None], axis[None, :]


def _finish(kernel: Tensor) -> Tensor:
    return (kernel / kernel.sum()).to(torch.float32)


def _given(value: float | None) -> float:
    if value is None:
        raise ValueError("the drawn kernel lacks a parameter of its kind")
    return value
