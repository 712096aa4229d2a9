"""One sample from 8-bit crop to 8-bit pair: numpy in, numpy out, for callers that know no tensors."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sr_kernel.degrade.drawn import Drawn
from sr_kernel.degrade.jpeg import Codec
from sr_kernel.degrade.pipeline import degrade
from sr_kernel.degrade.recipe import Recipe
from sr_kernel.pixels import stack_windows, to_levels, to_samples, to_unit

_BYTE = np.dtype(np.uint8)


def degrade_crop(
    crop_u8: NDArray[np.uint8], drawn: Drawn, recipe: Recipe, codec: Codec | None = None, device: str = "cpu"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The sharpened crop and the low-quality picture of a good crop, all uint8 HWC, RGB.

    `crop_u8` is gt_size x gt_size, as `cut_crop` gives it; `drawn`, `recipe` and `codec` as `degrade` takes them. The
    low-quality picture is made from the sharpened crop before that is rounded to 8 bits, as upstream makes it. Raises
    ValueError where the crop, the draws and the recipe do not fit.
    """
    if crop_u8.dtype != _BYTE or crop_u8.shape != (recipe.gt_size, recipe.gt_size, 3):
        side = recipe.gt_size
        raise ValueError(f"a good crop is uint8 [{side}, {side}, 3], not {crop_u8.dtype} {list(crop_u8.shape)}")
    gt = to_unit(stack_windows([crop_u8]).to(device), torch.float32)
    pairs = degrade(gt, [drawn], recipe, codec)
    return _levels(pairs.gt_usm), _levels(pairs.lq)


def _levels(unit: torch.Tensor) -> NDArray[np.uint8]:
    """The only picture of [1, 3, H, W] in 0..1 as uint8 HWC."""
    samples = to_samples(to_levels(unit, _BYTE), _BYTE)
    return cast("NDArray[np.uint8]", samples[0].cpu().numpy())
