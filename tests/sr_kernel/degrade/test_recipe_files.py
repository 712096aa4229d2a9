"""Recipes come out of upstream's option files as its code would act on them, and go through TOML unchanged."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_kernel.degrade.recipe import (
    KERNEL_KINDS,
    RECIPES,
    RESIZE_MODES,
    Blur,
    Final,
    Jpeg,
    Noise,
    Recipe,
    RecipeError,
    Resize,
    Stage,
    Usm,
    Weights,
)
from sr_kernel.degrade.recipe_basicsr import recipe_from_basicsr
from sr_kernel.degrade.recipe_toml import recipe_from_toml, recipe_to_toml
from tests.sr_kernel.degrade.recipe_files import X4PLUS_YML


def test_the_official_option_file_is_the_official_recipe() -> None:
    assert recipe_from_basicsr(X4PLUS_YML) == RECIPES["x4plus"]
    assert recipe_from_basicsr(X4PLUS_YML.replace("scale: 4", "scale: 2", 1)) == RECIPES["x2plus"]


def test_every_option_reaches_its_field() -> None:
    """Each number is changed by itself, and the recipe must change."""
    lines = X4PLUS_YML.splitlines()
    ignored = re.compile(
        r"\s*(num_gpu|manual_seed|gt_size|queue_size|num_worker|batch_size|dataset_enl|ema_decay|print)"
    )
    sides = re.compile(r"\s*blur_kernel_size")
    changed = 0
    for index, line in enumerate(lines):
        if not re.search(r": \[?[\d.]", line) or ignored.match(line) or sides.match(line):
            continue
        for number in re.finditer(r"(?<![\w.])\d+(\.\d+)?", line.split(":")[1]):
            offset = len(line.split(":")[0]) + 1
            start, end = number.start() + offset, number.end() + offset
            value = float(number[0])
            other = str(int(value) // 2 if "scale:" in line else value * (0.97 if value != 1 else 1.02))
            other = "0.99" if "betap_range" in line and value == 1 else other
            text = "\n".join([*lines[:index], line[:start] + other + line[end:], *lines[index + 1 :]])
            assert recipe_from_basicsr(text) != RECIPES["x4plus"], line
            changed += 1
    assert changed == 55  # every number of the degradation


@pytest.mark.parametrize(
    ("line", "recipe"),
    [
        ("gt_usm: False", Recipe(usm=None)),
        ("gt_usm: True", Recipe(usm=Usm())),
    ],
)
def test_the_first_stage_of_training_says_whether_it_sharpens(line: str, recipe: Recipe) -> None:
    text = X4PLUS_YML.replace("l1_gt_usm: True", line)
    assert recipe_from_basicsr(text).usm == recipe.usm


def test_flips_and_rotations_are_read() -> None:
    recipe = recipe_from_basicsr(
        X4PLUS_YML.replace("use_hflip: True", "use_hflip: false").replace("rot: False", "rot: on")
    )
    assert (recipe.hflip_prob, recipe.rotate) == (0.0, True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sinc_prob: 0.1", "sinc_probability: 0.1", "sinc_probability, which means nothing here"),
        ("queue_size: 180", "noise_range3: [1, 2]", "top level .* noise_range3"),
        ("jpeg_range2: [30, 95]", "", "no jpeg_range2"),
        ("noise_range: [1, 30]", "noise_range: 30", "noise_range = 30 is not a list"),
        ("noise_range: [1, 30]", "noise_range: [1, x]", "noise_range holds 'x', which is not a number"),
        ("noise_range: [1, 30]", "noise_range: [30, 1]", "noise.sigma"),
        ("resize_prob: [0.2, 0.7, 0.1]", "resize_prob: [0.2, 0.8]", "three weights of up, down, keep"),
        ("blur_kernel_size: 21", "blur_kernel_size: 15", "blur_kernel_size = 15: upstream ignores it"),
        ("'plateau_aniso']\n    kernel_prob:", "]\n    kernel_prob:", "kernel_list and kernel_prob differ in length"),
        ("'iso', ", "'skew', ", "skew"),
        ("queue_size: 180", "high_order_degradation: False", "trains on pairs that are ready"),
        ("use_rot: False", "use_rot: 1", "use_rot = 1 is neither true nor false"),
        ("scale: 4", "scale: [4", "not YAML"),
    ],
)
def test_an_option_file_that_says_something_else_is_refused(old: str, new: str, message: str) -> None:
    assert old in X4PLUS_YML
    with pytest.raises(RecipeError, match=message):
        recipe_from_basicsr(X4PLUS_YML.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "- a\n- b", "scale: 4", "datasets: [1]", "!!python/object:os.system {}"])
def test_what_is_no_option_file_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        recipe_from_basicsr(text)


@pytest.mark.parametrize("name", RECIPES)
def test_known_recipes_go_through_toml_unchanged(name: str) -> None:
    text = recipe_to_toml(RECIPES[name])
    assert recipe_from_toml(text) == RECIPES[name]
    assert recipe_to_toml(recipe_from_toml(text)) == text


probs = st.floats(0, 1)


def ranges(least: float, most: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(least, most), st.floats(least, most)).map(lambda pair: (min(pair), max(pair)))


def around_one(least: float, most: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(least, 1), st.floats(1, most))


def weights(names: tuple[str, ...]) -> st.SearchStrategy[Weights]:
    chosen = st.lists(st.sampled_from(names), min_size=1, unique=True)
    return chosen.flatmap(lambda keys: st.tuples(*(st.tuples(st.just(key), st.floats(0.01, 9)) for key in keys)))


sizes = st.lists(st.integers(0, 10).map(lambda half: 2 * half + 1), min_size=1, max_size=5).map(tuple)
blurs = st.builds(
    Blur,
    prob=probs,
    kinds=weights(KERNEL_KINDS),
    sizes=sizes,
    sigma=ranges(0.1, 5),
    rotation=ranges(-math.pi, math.pi),
    beta_generalized=around_one(0.1, 8),
    beta_plateau=around_one(0.1, 8),
    sinc_prob=probs,
    sinc_cutoff=ranges(0.1, math.pi),
    sinc_cutoff_small=ranges(0.1, math.pi),
)
resizes = st.builds(
    Resize,
    direction=weights(("up", "down", "keep")),
    factor=around_one(0.5, 4),
    of=st.sampled_from(["running", "target"]),
    modes=weights(RESIZE_MODES),
)
noises = st.builds(
    Noise, prob=probs, gaussian_prob=probs, sigma=ranges(0, 50), poisson_scale=ranges(0, 5), gray_prob=probs
)
jpegs = st.builds(Jpeg, prob=probs, quality=ranges(1, 100))
stages = st.builds(
    Stage,
    blur=st.none() | blurs,
    resize=st.none() | resizes,
    noise=st.none() | noises,
    jpeg=st.none() | jpegs,
)
recipes = st.builds(
    Recipe,
    scale=st.sampled_from([1, 2, 3, 4]),
    gt_size=st.integers(100, 200).map(lambda size: size * 12),
    hflip_prob=probs,
    rotate=st.booleans(),
    usm=st.none() | st.builds(Usm, weight=probs, radius=st.integers(1, 60), threshold=st.floats(0, 50)),
    stages=st.lists(stages, max_size=3).map(tuple),
    final=st.builds(
        Final,
        modes=weights(RESIZE_MODES),
        sinc_prob=probs,
        sinc_sizes=sizes,
        sinc_cutoff=ranges(0.1, math.pi),
        jpeg=st.none() | jpegs,
        jpeg_first_prob=probs,
    ),
)


@settings(deadline=None, max_examples=60)
@given(recipes)
def test_any_recipe_goes_through_toml_unchanged(recipe: Recipe) -> None:
    assert recipe_from_toml(recipe_to_toml(recipe)) == recipe


def test_what_a_document_leaves_out_is_left_out() -> None:
    assert recipe_from_toml("") == Recipe()
    document = (
        "scale = 2\n[usm]\n[[stages]]\n[stages.blur]\nsigma = [1, 2]\n[[stages]]\n[stages.jpeg]\nquality = [50, 60]\n"
    )
    expected = Recipe(scale=2, usm=Usm(), stages=(Stage(blur=Blur(sigma=(1, 2))), Stage(jpeg=Jpeg(quality=(50, 60)))))
    assert recipe_from_toml(document) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("scale = ", "not TOML"),
        ("scales = 4", "recipe has scales; known are scale, gt_size"),
        ("scale = 4.0", "recipe.scale = 4.0 is not a whole number"),
        ("rotate = 1", "recipe.rotate = 1 is not true or false"),
        ("hflip_prob = true", "hflip_prob = True is not a number"),
        ("usm = 1", "usm = 1 is not a table"),
        ("stages = 1", r"\[\[stages\]\]"),
        ("[[stages]]\n[stages.sharpen]\n", r"stages\[0\] has sharpen; known are blur"),
        ("[[stages]]\n[stages.blur]\nsigma = [1]", r"stages\[0\].blur.sigma = \[1\] is not a list of two numbers"),
        ("[[stages]]\n[stages.blur]\nkinds = ['iso']", r"blur.kinds = \['iso'\] is not a table of names and weights"),
        ("[[stages]]\n[stages.blur]\nsizes = [7.5]", r"blur.sizes = \[7.5\] is not a whole number"),
        ("[[stages]]\n[stages.resize]\nof = 4", "resize.of = 4 is not a text"),
        ("[final]\nsinc_prob = 2", "final.sinc_prob = 2.0 is not a probability"),
        ("[final.jpeg]\nqualities = 2", "final.jpeg has qualities"),
    ],
)
def test_a_document_that_says_something_else_is_refused_by_place(document: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_from_toml(document)
