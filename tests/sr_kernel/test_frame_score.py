"""Sharpness and change of frames: what they must say of frames whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from sr_kernel.frame_score import histogram_change, luma_histogram
from sr_kernel.measures import sharpness


def direct(luma: np.ndarray) -> float:
    """The definition, by a loop over the whole reflected plane."""
    padded = np.pad(luma.astype(float), 1, mode="reflect")
    response = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    return float(response.var())


@pytest.mark.parametrize("shape", [(40, 56), (2, 2), (3, 70_000), (300, 1000)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sharpness_is_the_variance_of_the_reflected_laplacian(shape: tuple[int, int], dtype: type) -> None:
    luma = np.random.default_rng(3).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    assert sharpness(luma) == pytest.approx(direct(luma), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_what_has_no_neighbours_has_no_sharpness(shape: tuple[int, int]) -> None:
    assert sharpness(np.zeros(shape, np.uint16)) is None


def test_depths_and_ranges_compare() -> None:
    luma = np.random.default_rng(3).integers(16, 236, (30, 30)).astype(np.uint8)
    deep = luma.astype(np.uint16) * 4
    assert sharpness(deep, 219 * 4) == pytest.approx(sharpness(luma, 219))
    assert histogram_change(luma_histogram(luma, 8), luma_histogram(deep, 10)) == 0


def test_change_is_the_share_of_pixels_that_changed() -> None:
    black, white = np.full((31, 47), 16, np.uint8), np.full((31, 47), 235, np.uint8)
    half = black.copy()
    half[:, :23] = 235
    change = histogram_change(luma_histogram(black, 8), luma_histogram(white, 8))
    assert change == 1
    assert histogram_change(luma_histogram(black, 8), luma_histogram(half, 8)) == pytest.approx(23 / 47)
    assert histogram_change(luma_histogram(half, 8), luma_histogram(half, 8)) == 0


def test_levels_that_move_between_quarters_are_a_change_and_within_them_none() -> None:
    left = np.full((32, 32), 16, np.uint8)
    left[:, :16] = 200
    rolled = np.roll(left, 3, axis=0)
    assert histogram_change(luma_histogram(left, 8), luma_histogram(left[:, ::-1], 8)) == 1
    assert histogram_change(luma_histogram(left, 8), luma_histogram(rolled, 8)) == 0


@pytest.mark.parametrize("level", range(0, 255, 5))
def test_one_level_more_is_little_change_wherever_bins_end(level: int) -> None:
    one, other = (luma_histogram(np.full((8, 8), value, np.uint8), 8) for value in (level, level + 1))
    assert histogram_change(one, other) <= 0.25


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_the_narrowest_frames_have_a_histogram(shape: tuple[int, int]) -> None:
    one, other = luma_histogram(np.zeros(shape, np.uint8), 8), luma_histogram(np.full(shape, 255, np.uint8), 8)
    assert histogram_change(one, other) == 1
