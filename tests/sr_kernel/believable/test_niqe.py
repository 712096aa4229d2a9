"""NIQE is basicsr's, to a thousandth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sr_kernel.believable.niqe import niqe
from tests.outside import data_folder
from tests.pictures import photo


@pytest.mark.parametrize("name", ["animevideov3-0030.png", "general-0030.png", "general-00017_gray.png"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:scipy.*", "ignore::RuntimeWarning:basicsr.*")
def test_it_agrees_with_basicsr_on_restored_pictures(name: str) -> None:
    from tests.basicsr_reference import reference_module

    pixels = np.asarray(Image.open(data_folder() / "media" / "golden" / name))
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    expected = reference_module("metrics.niqe").calculate_niqe(pixels[:, :, ::-1], 0)
    assert niqe(pixels) == pytest.approx(expected, abs=1e-3)


def test_gray_alpha_and_depth_change_nothing() -> None:
    gray = photo(1, 300, 200, bands=1)
    as_rgb = niqe(np.repeat(gray, 3, axis=2))
    assert as_rgb is not None
    assert niqe(gray) == pytest.approx(as_rgb, abs=1e-3)
    assert niqe(np.concatenate([gray, gray], axis=2)) == niqe(gray)
    assert niqe(gray.astype(np.uint16) * 257) == pytest.approx(as_rgb, abs=1e-3)


def test_blur_and_noise_are_less_natural() -> None:
    pixels = photo(2, 480, 480)
    noisy = (pixels + np.random.default_rng(0).normal(0, 40, pixels.shape)).clip(0, 255).astype(np.uint8)
    natural, worse = niqe(pixels), niqe(noisy)
    assert natural is not None
    assert worse is not None
    assert worse > natural


@pytest.mark.parametrize("size", [(95, 300), (96, 96), (191, 191)])
def test_fewer_than_two_blocks_have_none(size: tuple[int, int]) -> None:
    assert niqe(photo(1, *size)) is None


def test_a_flat_picture_has_none() -> None:
    assert niqe(np.full((300, 300, 3), 128, np.uint8)) is None
