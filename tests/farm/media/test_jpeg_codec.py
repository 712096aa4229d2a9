"""A JPEG as other programs write it: same tables, same subsampling."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from farm.media.jpeg_codec import jpeg_bytes_and_back
from tests.pictures import photo


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
def test_a_picture_is_what_pillow_makes_of_it(quality: int) -> None:
    """Up to what two builds of libjpeg-turbo round differently."""
    rgb = photo(2, 75, 51)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file))
    ours = jpeg_bytes_and_back(rgb, quality)
    assert ours.shape == rgb.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 1
