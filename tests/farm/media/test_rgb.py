"""Plain RGB of 8 bits from every kind of picture, and what was done to get there."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips

from farm.media.image import ReadLimits, decode
from farm.media.rgb import to_rgb8
from tests.pictures import photo


def png(pixels: np.ndarray) -> bytes:
    image = pyvips.Image.new_from_array(pixels)
    if pixels.dtype == np.uint16:
        image = image.copy(interpretation="grey16" if pixels.shape[2] < 3 else "rgb16")
    return image.pngsave_buffer()


@pytest.mark.parametrize(
    ("bands", "depth", "rules"),
    [
        (3, 8, ()),
        (1, 8, ("gray_expanded",)),
        (2, 8, ("alpha_dropped", "gray_expanded")),
        (4, 8, ("alpha_dropped",)),
        (3, 16, ("depth_reduced",)),
        (2, 16, ("alpha_dropped", "depth_reduced", "gray_expanded")),
    ],
)
def test_a_picture_becomes_rgb_by_rules_that_are_told(bands: int, depth: int, rules: tuple[str, ...]) -> None:
    pixels = photo(4, 33, 21, bands, depth)
    rgb, applied = to_rgb8(decode(png(pixels), "a.png", ReadLimits()))
    assert applied == rules
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    colour = pixels[:, :, : bands - (bands in (2, 4))]
    expected = np.round(colour / 257.0) if depth == 16 else colour
    assert np.array_equal(rgb, np.broadcast_to(expected, rgb.shape))
