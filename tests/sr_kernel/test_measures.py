"""Figures agree with what others compute, do not depend on how they are cut into strips, and say what they mean."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sr_kernel import measures
from sr_kernel.measures import blockiness, levels, luma, sharpness
from tests.pictures import photo

SIDES = st.integers(2, 90)


def noise(seed: int, width: int, height: int, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@settings(deadline=None)
@given(width=SIDES, height=SIDES)
def test_luma_is_pillows(width: int, height: int) -> None:
    pixels = noise(width, width, height)
    np.testing.assert_array_equal(luma(pixels), np.asarray(Image.fromarray(pixels).convert("L")))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_luma_of_sixteen_bits_is_that_of_eight_and_alpha_is_not_looked_at(bands: int) -> None:
    pixels = noise(bands, 30, 20, bands)
    np.testing.assert_array_equal(luma(pixels.astype(np.uint16) * np.uint16(257)), luma(pixels))
    np.testing.assert_array_equal(luma(pixels), luma(pixels[:, :, : 1 if bands < 3 else 3]))


@settings(deadline=None)
@given(width=SIDES, height=SIDES)
def test_sharpness_is_the_variance_of_opencvs_laplacian(width: int, height: int) -> None:
    plane = noise(height, width, height, 1)[:, :, 0]
    assert sharpness(plane) == pytest.approx(cv2.Laplacian(plane, cv2.CV_64F).var(), rel=1e-9)


@pytest.mark.parametrize("strip", [1, 999, 1 << 30])
def test_strips_change_nothing(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photo(3, 150, 131)
    plane = luma(pixels)
    expected = levels(pixels, plane), sharpness(plane), blockiness(plane)
    monkeypatch.setattr(measures, "_STRIP_PIXELS", strip)
    assert (levels(pixels, luma(pixels)), sharpness(plane), blockiness(plane)) == expected


def test_levels_are_numpys() -> None:
    pixels = noise(9, 77, 55)
    plane = luma(pixels)
    found = levels(pixels, plane)
    assert found.mean == pytest.approx(plane.mean())
    assert found.std == pytest.approx(plane.std())
    assert found.saturated == pytest.approx(np.isin(pixels, (0, 255)).mean())
    with_alpha = np.dstack([pixels, np.zeros_like(pixels[:, :, :1])])
    assert levels(with_alpha, plane) == found


def test_saturation_is_asked_of_the_pictures_own_depth() -> None:
    deep = np.full((4, 5, 3), 65535, np.uint16)
    deep[0] = 65534  # 255 as 8 bits, and not the largest
    assert levels(deep, luma(deep)).saturated == 0.75


def test_a_grid_shows_after_jpeg_wherever_it_lies_and_more_at_lower_quality() -> None:
    smooth = cv2.GaussianBlur(photo(5, 320, 240), (0, 0), 2)
    before = blockiness(luma(smooth)) or 0
    shown = [blockiness(luma(as_jpeg(smooth, quality))) or 0 for quality in (90, 60, 20)]
    assert before < 1.1
    assert before < shown[0] < shown[1] < shown[2]
    shifted = blockiness(luma(as_jpeg(smooth, 20)[3:, 5:])) or 0
    assert shifted == pytest.approx(shown[2], rel=0.05)


def test_what_cannot_be_told_is_none() -> None:
    assert blockiness(np.zeros((31, 200), np.uint8)) is None
    assert blockiness(np.zeros((64, 64), np.uint8)) is None
    assert sharpness(np.zeros((1, 9), np.uint8)) is None
