"""Blur, sharpening and resizes against basicsr's functions and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_kernel.degrade.drawn import SINC, DrawnKernel
from sr_kernel.degrade.kernels import make_kernel
from sr_kernel.degrade.ops import blur, quantise, resize_by, resize_to, sharpen
from sr_kernel.degrade.recipe import Usm
from tests.basicsr_reference import reference_module


def pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth shapes with some noise, 0..1."""
    made = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, height // 6 + 2, width // 6 + 2), generator=made)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic")
    return (smooth + 0.05 * torch.rand(smooth.shape, generator=made)).clamp(0, 1)


def kernels(count: int, size: int) -> torch.Tensor:
    drawn = [DrawnKernel(kind="aniso", size=size, sigma_x=0.4 + i, sigma_y=2.0, rotation=i) for i in range(count)]
    return torch.stack([make_kernel(one) for one in drawn])


@pytest.mark.parametrize("size", [1, 3, 7, 21, 51])
@pytest.mark.parametrize("shape", [(64, 80), (27, 101)])
def test_each_picture_gets_its_kernel_as_by_filter2d(size: int, shape: tuple[int, int]) -> None:
    """Within 2e-6: half a level of 8 bits is a thousand times as much."""
    given_, made = pictures(3, *shape), kernels(3, size)
    expected = reference_module("utils.img_process_util").filter2D(given_, made)
    assert (blur(given_, made) - expected).abs().max() < 2e-6
    one = reference_module("utils.img_process_util").filter2D(given_, made[:1])
    assert (blur(given_, made[:1]) - one).abs().max() < 2e-6


def test_a_kernel_that_is_not_symmetric_is_correlated_not_convolved() -> None:
    shift = torch.zeros(1, 3, 3)
    shift[0, 0, 2] = 1.0  # takes each pixel from above right
    given_ = pictures(1, 20, 20)
    torch.testing.assert_close(blur(given_, shift)[..., 1:, :-1], given_[..., :-1, 1:], atol=2e-6, rtol=0)


def test_a_picture_that_a_kernel_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        blur(pictures(1, 10, 40), kernels(1, 21))
    with pytest.raises(ValueError, match="does not fit"):
        blur(pictures(1, 40, 40), torch.ones(1, 4, 4))


@settings(deadline=None, max_examples=40)
@given(height=st.integers(26, 90), width=st.integers(26, 90), seed=st.integers(0, 9))
def test_sharpening_is_basicsrs(height: int, width: int, seed: int) -> None:
    """Only where the residual is at the threshold to a thousandth of a level may the mask, and so values, differ."""
    given_ = pictures(1, height, width, seed)
    reference = reference_module("utils.img_process_util")
    sharpener = reference.USMSharp()
    levels = (given_ - reference.filter2D(given_, sharpener.kernel)).abs() * 255
    ties = int(((levels - 10).abs() < 1e-3).sum())
    difference = (sharpen(given_, Usm()) - sharpener(given_, weight=0.5, threshold=10)).abs()
    assert difference.max() < 5e-6 + 1e-3 * ties


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("factor", [0.15, 0.33, 0.9, 1.37])
def test_resizes_are_torchs(mode: str, factor: float) -> None:
    given_ = pictures(2, 60, 45)
    assert torch.equal(resize_by(given_, factor, mode), F.interpolate(given_, scale_factor=factor, mode=mode))
    assert torch.equal(resize_to(given_, 17, 31, mode), F.interpolate(given_, size=(17, 31), mode=mode))


@pytest.mark.parametrize("scale", [0.25, 1 / 3, 0.5, 2.0])
def test_matlabs_resize_is_basicsrs(scale: float) -> None:
    given_ = pictures(1, 48, 60)
    expected = reference_module("utils.matlab_functions").imresize(given_[0], scale)
    made = resize_to(given_, expected.shape[1], expected.shape[2], "matlab")[0]
    assert (made - expected).abs().max() < 2e-6


def test_rounding_keeps_levels_and_clamps() -> None:
    levels = torch.arange(256, dtype=torch.float32) / 255
    assert torch.equal(quantise(levels), levels)
    np.testing.assert_array_equal(quantise(torch.tensor([-0.3, 1.7, 0.5])).numpy() * 255, [0, 255, 128])


def test_a_sinc_kernel_overshoots_and_blur_leaves_that() -> None:
    step = torch.zeros(1, 3, 40, 40)
    step[..., 20:] = 1.0
    made = blur(step, make_kernel(DrawnKernel(kind=SINC, size=21, cutoff=1.0))[None])
    assert made.max() > 1.02
    assert made.min() < -0.02
