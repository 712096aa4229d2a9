"""The known recipes are the published ones, and a recipe that cannot be is refused with its reason."""

from __future__ import annotations

import dataclasses
import math

import pytest

from sr_kernel.degrade.recipe import (
    RECIPES,
    Blur,
    Final,
    Jpeg,
    Noise,
    Recipe,
    RecipeError,
    Resize,
    Stage,
    Usm,
)
from tests.sr_kernel.degrade.recipe_files import KINDS


@pytest.mark.parametrize(("name", "scale"), [("x4plus", 4), ("x2plus", 2)])
def test_the_official_recipes_are_the_published_table(name: str, scale: int) -> None:
    recipe = RECIPES[name]
    first, second = recipe.stages
    assert (recipe.scale, recipe.gt_size, recipe.hflip_prob, recipe.rotate) == (scale, 400, 0.5, False)
    assert recipe.usm == Usm(radius=50, weight=0.5, threshold=10)
    for stage, prob, sigma in ((first, 1.0, (0.2, 3)), (second, 0.8, (0.2, 1.5))):
        assert stage.blur is not None
        assert dict(stage.blur.kinds) == KINDS
        assert stage.blur.sizes == (7, 9, 11, 13, 15, 17, 19, 21)
        assert (stage.blur.prob, stage.blur.sigma, stage.blur.sinc_prob) == (prob, sigma, 0.1)
        assert stage.blur.rotation == (-math.pi, math.pi)
        assert (stage.blur.beta_generalized, stage.blur.beta_plateau) == ((0.5, 4), (1, 2))
        assert (stage.blur.sinc_cutoff_small, stage.blur.sinc_cutoff) == (
            (math.pi / 3, math.pi),
            (math.pi / 5, math.pi),
        )
    for stage, direction, factor, of in (
        (first, (0.2, 0.7, 0.1), (0.15, 1.5), "running"),
        (second, (0.3, 0.4, 0.3), (0.3, 1.2), "target"),
    ):
        assert stage.resize is not None
        assert stage.resize.direction == tuple(zip(("up", "down", "keep"), direction, strict=True))
        assert (stage.resize.factor, stage.resize.of) == (factor, of)
        assert dict(stage.resize.modes) == {"area": 1, "bilinear": 1, "bicubic": 1, "nearest": 0}
    assert first.noise == Noise(gaussian_prob=0.5, sigma=(1, 30), poisson_scale=(0.05, 3), gray_prob=0.4)
    assert second.noise == Noise(gaussian_prob=0.5, sigma=(1, 25), poisson_scale=(0.05, 2.5), gray_prob=0.4)
    assert (first.jpeg, second.jpeg, recipe.final.jpeg) == (Jpeg(quality=(30, 95)), None, Jpeg(quality=(30, 95)))
    assert (recipe.final.sinc_prob, recipe.final.sinc_cutoff) == (0.8, (math.pi / 3, math.pi))
    assert recipe.final.sinc_sizes == (7, 9, 11, 13, 15, 17, 19, 21)
    assert recipe.final.jpeg_first_prob == 0.5


def test_first_order_recipes_have_at_most_one_stage() -> None:
    assert RECIPES["bicubic"].stages == ()
    assert RECIPES["bicubic"].final == Final(modes=(("matlab", 1.0),))
    assert len(RECIPES["bsrgan"].stages) == 1


WRONG = {
    "a probability above 1": (lambda: Blur(prob=1.2), "blur.prob = 1.2 is not a probability"),
    "an unknown kind": (lambda: Blur(kinds=(("skew", 1.0),)), "blur.kinds.*plateau_aniso"),
    "a kind twice": (lambda: Blur(kinds=(("iso", 1.0), ("iso", 1.0))), "at most once"),
    "no weight": (lambda: Resize(modes=(("nearest", 0.0),)), "resize.modes.*no weight above 0"),
    "a negative weight": (lambda: Resize(modes=(("area", -1.0), ("bicubic", 2.0))), "or one below"),
    "an even side": (lambda: Blur(sizes=(7, 8)), "blur.sizes.*odd"),
    "a range upside down": (lambda: Noise(sigma=(30, 1)), r"noise.sigma = \(30, 1\) is not a range"),
    "not a number": (lambda: Noise(sigma=(math.nan, 1)), "is not a range"),
    "a cutoff above pi": (lambda: Final(sinc_cutoff=(1.0, 3.2)), "final.sinc_cutoff"),
    "a quality of 0": (lambda: Jpeg(quality=(0, 95)), "jpeg.quality"),
    "exponents that leave out 1": (lambda: Blur(beta_plateau=(1.5, 2)), "beta_plateau.*must hold 1"),
    "factors that leave out 1": (lambda: Resize(factor=(0.2, 0.9)), "factor.*must hold 1"),
    "an unknown base": (lambda: Resize(of="gt"), "resize.of = 'gt' is not one of running, target"),
    "a size that the scale does not divide": (lambda: Recipe(gt_size=402), "no multiple of the scale 4"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_value_that_cannot_be_is_refused_by_name(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(RecipeError, match=message):
        make()


def test_crops_too_small_for_a_kernel_are_refused_before_any_work() -> None:
    with pytest.raises(
        RecipeError, match=r"stages\[1\].blur may meet a side of 10 px, and its kernel of 21 px needs 11"
    ):
        dataclasses.replace(RECIPES["x4plus"], gt_size=68)
    assert dataclasses.replace(RECIPES["x4plus"], gt_size=76).lq_size == 19
    with pytest.raises(RecipeError, match="usm may meet a side of 24 px"):
        Recipe(gt_size=24, usm=Usm())
    with pytest.raises(RecipeError, match="final may meet a side of 8 px"):
        Recipe(gt_size=32, final=Final(sinc_prob=0.1))
    with pytest.raises(RecipeError, match=r"stages\[0\].resize may leave no pixel"):
        Recipe(gt_size=4, stages=(Stage(resize=Resize()),))
