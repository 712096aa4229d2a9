"""The good crop is a window of the picture, turned as drawn, whatever the picture's depth and size."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from sr_kernel.degrade.crop import crop_origin, cut_crop
from sr_kernel.degrade.drawn import Drawn

STILL = Drawn(
    seed=0,
    source="a.png",
    index=0,
    crop_x=0.0,
    crop_y=0.0,
    hflip=False,
    vflip=False,
    transpose=False,
    stages=(),
    final_mode="area",
)
LAST = float(np.nextafter(1, 0))


def picture(width: int, height: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 200, (height, width, 3)).astype(dtype)


def test_every_place_is_reached_and_none_beyond() -> None:
    places = {crop_origin(dataclasses.replace(STILL, crop_x=x), 10, 9, 8)[0] for x in (0.0, 0.34, 0.67, LAST)}
    assert places == {0, 1, 2}
    assert crop_origin(dataclasses.replace(STILL, crop_x=LAST, crop_y=LAST), 8, 5, 8) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_crop_is_a_window_of_the_picture(dtype: type) -> None:
    pixels = picture(50, 40, dtype)
    drawn = dataclasses.replace(STILL, crop_x=0.5, crop_y=LAST)
    crop = cut_crop(pixels, drawn, 16)
    assert crop.dtype == dtype
    np.testing.assert_array_equal(crop, pixels[24:40, 17:33])


def test_flips_are_upstreams() -> None:
    """Horizontal, then vertical, then the transpose: eight ways, all different."""
    pixels = picture(20, 20)
    seen: set[bytes] = set()
    for hflip, vflip, transpose in itertools.product((False, True), repeat=3):
        crop = cut_crop(pixels, dataclasses.replace(STILL, hflip=hflip, vflip=vflip, transpose=transpose), 20)
        expected = pixels[:: -1 if vflip else 1, :: -1 if hflip else 1]
        np.testing.assert_array_equal(crop, expected.transpose(1, 0, 2) if transpose else expected)
        assert crop.flags.c_contiguous
        seen.add(crop.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize(("width", "height"), [(12, 30), (30, 12), (7, 5), (1, 1), (3, 1)])
def test_a_smaller_picture_is_reflected_to_the_right_and_downwards(width: int, height: int) -> None:
    pixels = picture(width, height)
    crop = cut_crop(pixels, STILL, 24)
    assert crop.shape == (24, 24, 3)
    inside = pixels[:24, :24]
    np.testing.assert_array_equal(crop[: inside.shape[0], : inside.shape[1]], inside)
    if 1 < width < 24:
        np.testing.assert_array_equal(crop[0, width], pixels[0, width - 2])
