"""Real weights and real pictures give what the official Python package gives, to one level."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sr_kernel.pixels import merge_planes, split_planes
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file
from tests.networks import plan_of
from tests.outside import data_folder

FILES = {"animevideov3": "realesr-animevideov3.pth", "general": "realesr-general-x4v3.fp16-derived.pth"}


@pytest.mark.parametrize("picture", ["0030.jpg", "00017_gray.png"])
@pytest.mark.parametrize("model", FILES)
def test_fp32_agrees_with_the_official_package_to_one_level(model: str, picture: str) -> None:
    folder = data_folder()
    path = folder / "weights" / FILES[model]
    spec = describe_file(path)
    pixels = np.asarray(Image.open(folder / "media" / "images" / picture))
    planes = split_planes(pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis])
    height, width = planes.rgb.shape[:2]
    upscaler = Upscaler.load(spec, path)
    made = upscaler.restore(planes.rgb, plan_of(spec, width, height, tile_px=256), Settings(precision="fp32"))
    golden = np.asarray(Image.open(folder / "media" / "golden" / f"{model}-{picture.split('.')[0]}.png"))
    merged = merge_planes(made.pixels, None, planes.gray)
    difference = np.abs(merged.astype(int) - (golden if golden.ndim == 3 else golden[:, :, np.newaxis]).astype(int))
    assert merged.shape[:2] == golden.shape[:2]
    assert difference.max() <= 1
