"""Every draw of every recipe can be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.drawn import Drawn, DrawnKernel, DrawnNoise, DrawnResize, DrawnStage
from sr_kernel.degrade.recipe import RECIPES, Final, Jpeg, Recipe, Stage
from sr_kernel.degrade.words import in_words

DRAWN = Drawn(
    seed=0,
    source="a.png",
    index=0,
    crop_x=0.0,
    crop_y=0.0,
    hflip=False,
    vflip=False,
    transpose=False,
    stages=(
        DrawnStage(
            blur=DrawnKernel(kind="plateau_aniso", size=13, sigma_x=1.5, sigma_y=0.25, rotation=1.0, beta=1.2),
            resize=DrawnResize(direction="down", factor=0.456, mode="area"),
            noise=DrawnNoise(kind="gaussian", strength=12.34, gray=True, pixel_seed=1),
            jpeg_quality=67.4,
        ),
        DrawnStage(
            resize=DrawnResize(direction="keep", factor=1.0, mode="bilinear"),
            noise=DrawnNoise(kind="poisson", strength=1.5, gray=False, pixel_seed=1),
        ),
    ),
    final_mode="bicubic",
    final_sinc=DrawnKernel(kind="sinc", size=9, cutoff=1.234),
    final_jpeg_quality=40.0,
    final_jpeg_first=True,
)


def test_a_draw_is_told_in_the_order_of_its_steps() -> None:
    assert in_words(DRAWN, RECIPES["x4plus"]) == (
        "1. plateau anisotropic blur 13 px, sigma 1.50 x 0.25 at 57°, beta 1.20, resize down x 0.46 (area), "
        "gray Gaussian noise, sigma 12.3, JPEG 67",
        "2. no blur, resize to 1.00 x the target size (bilinear), colour Poisson noise x 1.50",
        "End: JPEG 40, then resize to 1/4 (bicubic) and sinc filter 9 px, cutoff 1.23 rad/px",
    )
    other = replace(DRAWN, final_jpeg_first=False, final_sinc=None)
    assert in_words(other, RECIPES["x4plus"])[-1] == "End: resize to 1/4 (bicubic), then JPEG 40"


def test_steps_that_a_recipe_lacks_are_not_told() -> None:
    assert in_words(draw_sample(RECIPES["bicubic"], 0, "a.png", 0), RECIPES["bicubic"]) == (
        "End: resize to 1/4 (matlab)",
    )
    recipe = Recipe(stages=(Stage(), Stage(jpeg=Jpeg(prob=0.0))), final=Final(jpeg=Jpeg()))
    lines = in_words(draw_sample(recipe, 0, "a.png", 0), recipe)
    assert lines[:2] == ("1. nothing", "2. no JPEG")


@pytest.mark.parametrize("name", RECIPES)
def test_every_draw_of_every_recipe_has_words(name: str) -> None:
    recipe = RECIPES[name]
    for index in range(300):
        lines = in_words(draw_sample(recipe, 1, "a.png", index), recipe)
        assert len(lines) == len(recipe.stages) + 1
        assert "None" not in "".join(lines)
