"""Activations as the fused kernels keep them: flat, with a border of zeros that is never written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEP = 16
"""channels that the tensor cores multiply at once"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many images of what size share a plane."""

    count: int
    height: int
    width: int

    @property
    def pitch(self) -> int:
        """Pixels from a row to the next: one column of zeros between them."""
        return self.width + 1

    @property
    def pixels(self) -> int:
        """Of a plane: a row of zeros above each image, one below the last, and one pixel more."""
        return (self.count * (self.height + 1) + 1) * self.pitch + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Pixel (y, x) of image n is row `(n * (height + 1) + y + 1) * pitch + x + 1` of `data` [pixels, channels]."""

    data: Tensor
    extent: Extent

    @classmethod
    def zeros(cls, extent: Extent, channels: int, like: Tensor) -> Plane:
        return cls(
            data=torch.zeros(extent.pixels, channels, dtype=like.dtype, device=like.device),
            extent=extent,
        )

    @property
    def images(self) -> Tensor:
        """The pixels without their border, (count, height, width, channels): a view."""
        extent, channels = self.extent, self.data.shape[1]
        line = extent.pitch * channels
        return self.data.as_strided(
            (extent.count, extent.height, extent.width, channels),
            ((extent.height + 1) * line, line, channels, 1),
            line + channels,
        )

    def fill(self, pixels: Tensor) -> None:
        """Puts `pixels` (count, height, width, channels) into the first channels, zeros up to a multiple of 16."""
        channels = pixels.shape[3]
        images = self.images
        images[..., channels : -(-channels // STEP) * STEP] = 0
        images[..., :channels] = pixels
