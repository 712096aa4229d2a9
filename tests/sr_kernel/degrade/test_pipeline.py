"""Whole pairs: the order of upstream, and bytes that depend on the sample alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import types
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.drawn import Drawn, DrawnKernel, DrawnNoise
from sr_kernel.degrade.kernels import make_kernel
from sr_kernel.degrade.noise import PixelGenerator
from sr_kernel.degrade.pipeline import degrade
from sr_kernel.degrade.recipe import RECIPES, Recipe
from tests.basicsr_reference import reference_module
from tests.sr_kernel.degrade.test_ops import pictures

SMALL = replace(RECIPES["x4plus"], gt_size=128)


def draws(count: int, recipe: Recipe = SMALL, seed: int = 3) -> list[Drawn]:
    return [draw_sample(recipe, seed, f"{index}.png", 0) for index in range(count)]


def padded(kernel: DrawnKernel | None) -> torch.Tensor:
    """As upstream's dataset gives kernels: 21 x 21, a pulse where there is none."""
    made = torch.ones(1, 1) if kernel is None else make_kernel(kernel)
    rim = (21 - made.shape[0]) // 2
    return F.pad(made, (rim, rim, rim, rim))[None]


def transcript(gt: torch.Tensor, drawn: Drawn, scale: int) -> torch.Tensor:
    """Real-ESRGAN's feed_data (realesrgan/models/realesrgan_model.py) on one picture, with basicsr's functions and with
    every random choice replaced by what was drawn."""
    process = reference_module("utils.img_process_util")
    jpeg = reference_module("utils.diffjpeg").DiffJPEG(differentiable=False)
    height, width = gt.shape[-2:]
    first, second = drawn.stages
    out = process.USMSharp()(gt)
    out = process.filter2D(out, padded(first.blur))
    assert first.resize is not None
    assert first.jpeg_quality is not None
    factor = 1 if first.resize.direction == "keep" else first.resize.factor
    out = F.interpolate(out, scale_factor=factor, mode=first.resize.mode)
    out = noisy(out, first.noise)
    out = jpeg(torch.clamp(out, 0, 1), torch.tensor([first.jpeg_quality]))
    if second.blur is not None:
        out = process.filter2D(out, padded(second.blur))
    assert second.resize is not None
    assert drawn.final_jpeg_quality is not None
    factor = second.resize.factor
    size = (int(height / scale * factor), int(width / scale * factor))
    out = F.interpolate(out, size=size, mode=second.resize.mode)
    out = noisy(out, second.noise)
    target = (height // scale, width // scale)
    quality = torch.tensor([drawn.final_jpeg_quality])
    if drawn.final_jpeg_first:
        out = jpeg(torch.clamp(out, 0, 1), quality)
        out = process.filter2D(F.interpolate(out, size=target, mode=drawn.final_mode), padded(drawn.final_sinc))
    else:
        out = process.filter2D(F.interpolate(out, size=target, mode=drawn.final_mode), padded(drawn.final_sinc))
        out = jpeg(torch.clamp(out, 0, 1), quality)
    return torch.clamp((out * 255.0).round(), 0, 255) / 255.0


def noisy(picture: torch.Tensor, drawn: DrawnNoise | None) -> torch.Tensor:
    """basicsr's noise as drawn, clamped."""
    if drawn is None:
        return picture
    made = reference_module("data.degradations")
    add = made.add_gaussian_noise_pt if drawn.kind == "gaussian" else made.add_poisson_noise_pt
    strength, gray = torch.tensor([drawn.strength]), torch.tensor([float(drawn.gray)])
    return add(picture, strength, gray_noise=gray, clip=True, rounds=False)


def normal_pattern(shape: Sequence[int]) -> torch.Tensor:
    """Stands for normal noise: always the same of one shape."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(5))


def counted(mean: torch.Tensor) -> torch.Tensor:
    """Stands for counting photons: each pixel by its own mean alone, so that one that differs moves no other."""
    return torch.floor(mean + torch.rand(mean.shape, generator=torch.Generator().manual_seed(6)))


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides draw the same pixels: no two generators do by themselves."""
    monkeypatch.setattr(PixelGenerator, "normal", lambda _, shape: normal_pattern(shape))
    monkeypatch.setattr(PixelGenerator, "poisson", lambda _, mean: counted(mean))
    theirs = types.SimpleNamespace(**vars(torch))
    theirs.randn = lambda *shape, **_: (
        normal_pattern(shape[1:])[None] if len(shape) == 4 else normal_pattern((1, *shape))[0]
    )
    theirs.poisson = lambda mean: counted(mean[0])[None]
    monkeypatch.setattr(reference_module("data.degradations"), "torch", theirs)


def silent(recipe: Recipe) -> Recipe:
    return replace(recipe, stages=tuple(replace(stage, noise=None) for stage in recipe.stages))


@pytest.mark.parametrize("index", range(12))
def test_a_pair_is_what_upstreams_order_gives_with_the_same_draws(index: int) -> None:
    """Sizes in between are cropped to whole blocks by no one, so JPEG's black border of the reference is in the way:
    samples are drawn until all sizes fit 16. Levels may differ where a coefficient lay between two steps."""
    recipe = silent(replace(RECIPES["x4plus"], gt_size=256))
    drawn = fitting(recipe, index)
    gt = pictures(1, 256, 256, seed=index)
    with torch.no_grad():
        expected = transcript(gt, drawn, 4)
    made = degrade(gt, [drawn], recipe)
    levels = ((made.lq - expected) * 255).abs()
    assert levels.mean() < 0.05
    assert levels.quantile(0.98) < 0.5
    torch.testing.assert_close(made.gt, gt, atol=0, rtol=0)


@pytest.mark.parametrize("index", range(16))
def test_noise_has_its_place_in_the_order(same_noise: None, index: int) -> None:
    """As above with all that a recipe has; that pixels of noise have the right statistics is test_noise's to say."""
    recipe = replace(RECIPES["x4plus"], gt_size=256)
    drawn = fitting(recipe, index)
    gt = pictures(1, 256, 256, seed=index)
    with torch.no_grad():
        expected = transcript(gt, drawn, 4)
    levels = ((degrade(gt, [drawn], recipe).lq - expected) * 255).abs()
    assert levels.mean() < 0.002
    assert levels.quantile(0.999) == 0


def fitting(recipe: Recipe, number: int) -> Drawn:
    """The draw of that number with sizes in between that are multiples of 16."""
    drawn = draw_sample(recipe, 1, f"{number}.png", 0)
    first, second = drawn.stages
    assert first.resize is not None
    assert second.resize is not None
    factor = {"up": 1.25, "down": 0.5, "keep": 1.0}[first.resize.direction]
    after = {"up": 1.0, "down": 0.75, "keep": 1.0}[second.resize.direction]
    stages = (
        replace(first, resize=replace(first.resize, factor=factor)),
        replace(second, resize=replace(second.resize, factor=after)),
    )
    return replace(drawn, stages=stages)


def digests(lq: torch.Tensor) -> list[str]:
    return [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in lq]


def test_bytes_depend_on_no_batch_and_no_order() -> None:
    drawn, gt = draws(6), pictures(6, 128, 128)
    together = degrade(gt, drawn, SMALL)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = degrade(gt[order], [drawn[place] for place in order], SMALL)
    alone = [degrade(gt[place : place + 1], [drawn[place]], SMALL).lq[0] for place in range(6)]
    assert digests(together.lq) == digests(torch.stack(alone))
    assert digests(shuffled.lq) == [digests(together.lq)[place] for place in order]
    channels_last = degrade(gt.to(memory_format=torch.channels_last), drawn, SMALL)
    assert digests(channels_last.lq) == digests(together.lq)
    assert digests(channels_last.gt_usm) == digests(together.gt_usm)


PROGRAM = """
import torch
from sr_kernel.degrade.kernels import usm_kernel
from tests.sr_kernel.degrade.test_pipeline import SMALL, degrade, digests, draws, pictures
for threads in (1, 2, 3):
    torch.set_num_threads(threads)
    usm_kernel.cache_clear()
    assert torch.get_num_threads() == threads
    made = degrade(pictures(4, 128, 128), draws(4), SMALL)
    print(*digests(made.lq), *digests(made.gt_usm))
"""


def test_bytes_depend_on_no_number_of_threads() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    said = ran.stdout.splitlines()
    assert len(said) == 3
    assert len(set(said)) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_pairs_of_its_sizes_in_8_bits(name: str) -> None:
    recipe = replace(RECIPES[name], gt_size=160)
    made = degrade(pictures(2, 160, 160), draws(2, recipe), recipe)
    assert made.lq.shape == (2, 3, recipe.lq_size, recipe.lq_size)
    assert torch.equal((made.lq * 255).round() / 255, made.lq)
    assert torch.equal(made.gt, made.gt_usm) == (recipe.usm is None)
    assert not torch.equal(made.lq[0], made.lq[1])


def test_nothing_in_gives_nothing_out() -> None:
    made = degrade(torch.empty(0, 3, 128, 128), [], SMALL)
    assert made.lq.shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("gt", "drawn", "message"),
    [
        (torch.zeros(1, 3, 64, 64), draws(1), "128, 128"),
        (torch.zeros(1, 3, 128, 128, dtype=torch.uint8), draws(1), "float32"),
        (torch.zeros(2, 3, 128, 128), draws(1), "draws for 1"),
        (torch.zeros(1, 3, 128, 128), draws(1, RECIPES["bicubic"]), "0 stages"),
    ],
)
def test_what_does_not_fit_is_refused(gt: torch.Tensor, drawn: Sequence[Drawn], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        degrade(gt, drawn, SMALL)
