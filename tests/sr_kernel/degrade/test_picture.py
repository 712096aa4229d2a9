"""A crop of 8 bits in, a pair of 8 bits out: what the process gives for its tensor, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.pipeline import degrade
from sr_kernel.degrade.recipe import RECIPES
from tests.pictures import photo

SMALL = replace(RECIPES["x4plus"], gt_size=128)


def test_levels_are_those_of_the_process() -> None:
    crop = photo(1, 128, 128)
    drawn = draw_sample(SMALL, 3, "a.png", 0)
    sharp, low = degrade_crop(crop, drawn, SMALL)
    pairs = degrade(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255, [drawn], SMALL)
    assert np.array_equal(low, (pairs.lq[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    assert np.array_equal(sharp, (pairs.gt_usm[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    assert (sharp.shape, low.shape) == ((128, 128, 3), (32, 32, 3))
    assert not np.array_equal(sharp, crop)


def test_without_sharpening_the_crop_comes_back_bit_for_bit() -> None:
    recipe = replace(RECIPES["bicubic"], gt_size=64)
    crop = np.arange(64 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)
    sharp, _ = degrade_crop(crop, draw_sample(recipe, 3, "a.png", 0), recipe)
    assert np.array_equal(sharp, crop)


@pytest.mark.parametrize("crop", [photo(1, 64, 64), photo(1, 128, 128, depth=16), photo(1, 128, 128, bands=4)])
def test_another_crop_is_refused(crop: np.ndarray) -> None:
    with pytest.raises(ValueError, match="128, 128, 3"):
        degrade_crop(crop, draw_sample(SMALL, 3, "a.png", 0), SMALL)
