"""The model in the box: its file is the one of the table, and what it makes is better than plain enlarging."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
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
SIDE = 400
Pixels = NDArray[np.uint8]


def test_the_file_is_the_one_of_the_table_and_small() -> None:
    data = PATH.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (SPEC.bytes, SPEC.sha256)
    assert len(data) <= 3 << 20


@pytest.fixture(scope="module")
def box() -> Upscaler:
    return Upscaler.load(SPEC, PATH)


def photographs() -> Iterator[Pixels]:
    """Crops of two that scikit-image ships; training saw none of them, nor did the choice of how far it goes."""
    for name in ("astronaut", "coffee"):
        picture = np.asarray(getattr(skimage.data, name)())[..., :3]
        for top in (0, picture.shape[0] - SIDE):
            for left in (0, picture.shape[1] - SIDE):
                yield np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE])


def gain_db(box: Upscaler, kind: str, pictures: Iterable[Pixels]) -> float:
    """By how much what it makes is nearer than what Lanczos makes of the same poor pictures, on average."""
    recipe, gains = replace(RECIPES[kind], gt_size=SIDE), list[float]()
    for index, good in enumerate(pictures):
        poor = degrade_crop(good, draw_sample(recipe, 9, "scene", index), recipe)[1]
        made = box.restore(poor, plan_of(SPEC, poor.shape[1], poor.shape[0]), Settings(precision="fp32"))
        gains.append(psnr(np.asarray(made.pixels), good) - psnr(resize(poor, SIDE, SIDE), good))
    return float(np.mean(gains))


@pytest.mark.parametrize(("kind", "least_db"), [("x4plus", 0.55), ("light", 0.4), ("bicubic", 0.25)])
def test_what_it_makes_of_unseen_scenes_is_nearer_than_what_lanczos_makes(
    box: Upscaler, kind: str, least_db: float
) -> None:
    scenes = (make_scene(SceneSpec(seed=1234, index=index, side_px=SIDE)) for index in range(8))
    assert gain_db(box, kind, scenes) >= least_db


@pytest.mark.parametrize(("kind", "least_db"), [("x4plus", 0.3), ("light", 0.25), ("bicubic", 0.15)])
def test_what_it_makes_of_unseen_photographs_is_nearer_than_what_lanczos_makes(
    box: Upscaler, kind: str, least_db: float
) -> None:
    """The model card has figures of more, among them some that are harder."""
    assert gain_db(box, kind, photographs()) >= least_db


def test_flat_pictures_keep_their_level(box: Upscaler) -> None:
    """Every fourth gray, by one level at most; its photographs alone taught it to shift some by six."""
    for level in range(0, 256, 4):
        flat = np.full((32, 32, 3), level, np.uint8)
        made = box.restore(flat, plan_of(SPEC, 32, 32), Settings(precision="fp32"))
        inside = np.asarray(made.pixels)[48:-48, 48:-48].astype(float)
        assert np.abs(inside - level).max() <= 1, level
