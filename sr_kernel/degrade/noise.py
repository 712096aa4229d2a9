"""Pixel noise of one picture, made by a generator of its own, so that no other sample, order or batch can change it.

On a CPU the noise comes from numpy's Philox under the drawn key: the same bytes on every machine, for one version of
numpy. On a GPU it comes from torch's generator of that device under the same key, one picture at a time: the same
bytes for any batch on one kind of GPU, other ones than on a CPU.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.degrade.drawn import DrawnNoise

_GRAY = (0.2989, 0.587, 0.114)
"""torchvision's rgb_to_grayscale"""


def add_noise(picture: Tensor, drawn: DrawnNoise) -> Tensor:
    """A picture, float32 [3, H, W], with the drawn noise added, clamped to 0..1."""
    if drawn.kind == "gaussian":
        noise = _gaussian(picture, drawn)
    elif drawn.kind == "poisson":
        noise = _poisson(picture, drawn)
    else:
        raise ValueError(f"unknown noise kind {drawn.kind!r}")
    return (picture + noise).clamp_(0, 1)


def _gaussian(picture: Tensor, drawn: DrawnNoise) -> Tensor:
    """Normal noise of `strength` levels, [3, H, W], or [1, H, W] for gray."""
    channels, height, width = picture.shape
    shape = (1 if drawn.gray else channels, height, width)
    return PixelGenerator(drawn.pixel_seed, picture.device).normal(shape) * drawn.strength / 255.0


def _poisson(picture: Tensor, drawn: DrawnNoise) -> Tensor:
    """Shot noise: as if the picture, rounded to 8 bits, had been counted in photons.

    A picture that shows n different levels is counted as if white were 2 ** ceil(log2 n) photons (basicsr, after
    scikit-image). Gray noise counts the gray picture.
    """
    seen = _luma(picture) if drawn.gray else picture
    levels = (seen * 255.0).round_().clamp_(0, 255)
    white = _white_count(levels)
    mean = levels / 255.0
    counts = PixelGenerator(drawn.pixel_seed, picture.device).poisson(mean * white)
    return (counts / white - mean) * drawn.strength


def _luma(picture: Tensor) -> Tensor:
    red, green, blue = picture
    return (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue)[None]


def _white_count(levels: Tensor) -> float:
    """The power of two that is at least the number of different levels."""
    different = int(torch.bincount(levels.to(torch.uint8).flatten()).count_nonzero())
    return float(1 << (different - 1).bit_length())


class PixelGenerator:
    """Random numbers for the pixels of one step of one sample."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        if device.type == "cpu":
            self._philox = np.random.Generator(np.random.Philox(key=seed))
        else:
            self._on_device = torch.Generator(device).manual_seed(seed)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal values, float32."""
        if self._device.type == "cpu":
            return torch.from_numpy(self._philox.standard_normal(shape, dtype=np.float32))
        return torch.randn(shape, generator=self._on_device, device=self._device)

    def poisson(self, mean: Tensor) -> Tensor:
        """Counts around each mean, float32 of the mean's shape."""
        if self._device.type == "cpu":
            return torch.from_numpy(self._philox.poisson(cast("NDArray[np.float32]", mean.numpy())).astype(np.float32))
        return torch.poisson(mean, generator=self._on_device)
