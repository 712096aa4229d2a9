"""Cuts the good crop of a sample out of its picture. No torch."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sr_kernel.degrade.drawn import Drawn

Sample = TypeVar("Sample", bound=np.generic)


def crop_origin(drawn: Drawn, width: int, height: int, size: int) -> tuple[int, int]:
    """Where the crop's first pixel lies, x and y; 0 on an axis that is not longer than the crop."""
    across, down = max(width - size, 0) + 1, max(height - size, 0) + 1
    return int(drawn.crop_x * across), int(drawn.crop_y * down)


def cut_crop(pixels: NDArray[Sample], drawn: Drawn, size: int) -> NDArray[Sample]:
    """The sample's crop of `size` x `size`, flipped as drawn, from a picture HWC of any depth; contiguous.

    A picture that is smaller is reflected to the right and downwards, its border pixel not repeated, as often as it
    takes; a side of one pixel is repeated. Whether such pictures should be used at all is the caller's rule.
    """
    height, width = pixels.shape[:2]
    x, y = crop_origin(drawn, width, height, size)
    crop = pixels[y : y + size, x : x + size]
    below, right = size - crop.shape[0], size - crop.shape[1]
    if below or right:
        crop = np.pad(crop, ((0, below), (0, right), (0, 0)), mode="reflect")
    crop = crop[:, ::-1] if drawn.hflip else crop
    crop = crop[::-1] if drawn.vflip else crop
    return np.ascontiguousarray(crop.transpose(1, 0, 2) if drawn.transpose else crop)
