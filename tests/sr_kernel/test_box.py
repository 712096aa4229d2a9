"""The model in the box: its file is the one of the table, and what it makes is better than plain enlarging."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.recipe import RECIPES
from sr_kernel.models import BOX, DATA_FOLDER, MODELS
from sr_kernel.pillow_resize import resize
from sr_kernel.train.scenes import SceneSpec, make_scene
from sr_kernel.train.score import psnr
from sr_kernel.upscale import Settings, Upscaler
from tests.networks import plan_of

SPEC = MODELS[BOX]
PATH = DATA_FOLDER / SPEC.file
SIDE = 256
Pixels = NDArray[np.uint8]


def test_the_file_is_the_one_of_the_table_and_small() -> None:
    data = PATH.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (SPEC.bytes, SPEC.sha256)
    assert len(data) <= 3 << 20


@pytest.fixture(scope="module")
def box() -> Upscaler:
    return Upscaler.load(SPEC, PATH)


def pairs(kind: str) -> Iterator[tuple[Pixels, Pixels]]:
    """(good, poor) of scenes of a seed that training never drew."""
    recipe = replace(RECIPES[kind], gt_size=SIDE)
    for index in range(8):
        good = make_scene(SceneSpec(seed=1234, index=index, side_px=SIDE))
        yield good, degrade_crop(good, draw_sample(recipe, 9, "scene", index), recipe)[1]


@pytest.mark.parametrize(("kind", "least_db"), [("x4plus", 0.5), ("light", 0.1), ("bicubic", 0.3)])
def test_what_it_makes_of_unseen_scenes_is_nearer_than_what_lanczos_makes(
    box: Upscaler, kind: str, least_db: float
) -> None:
    """The model card has figures of photographs."""
    gains: list[float] = []
    for good, poor in pairs(kind):
        made = box.restore(poor, plan_of(SPEC, poor.shape[1], poor.shape[0]), Settings(precision="fp32"))
        plain = resize(poor, SIDE, SIDE)
        gains.append(psnr(np.asarray(made.pixels), good) - psnr(plain, good))
    assert np.mean(gains) >= least_db


def test_flat_pictures_keep_their_level(box: Upscaler) -> None:
    """Every fourth gray, by one level at most; its photographs alone taught it to shift some by six."""
    for level in range(0, 256, 4):
        flat = np.full((32, 32, 3), level, np.uint8)
        made = box.restore(flat, plan_of(SPEC, 32, 32), Settings(precision="fp32"))
        inside = np.asarray(made.pixels)[48:-48, 48:-48].astype(float)
        assert np.abs(inside - level).max() <= 1, level
