"""Activations as the fused kernels keep them: flat, with a border of zeros that is never written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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

    def fill_doubled(self, pixels: Tensor) -> None:
        """Fills the images with `pixels` (count, height / 2, width / 2, channels), each repeated 2 x 2."""
        count, height, width, channels = pixels.shape
        images = self.images
        strides = images.stride()
        cells = images.as_strided(
            (count, height, 2, width, 2, channels),
            (strides[0], 2 * strides[1], strides[1], 2 * strides[2], strides[2], 1),
        )
        cells.copy_(pixels[:, :, None, :, None])
