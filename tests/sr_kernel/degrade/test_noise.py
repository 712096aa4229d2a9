"""Noise has basicsr's statistics, and each sample has its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sr_kernel.degrade.drawn import DrawnNoise
from sr_kernel.degrade.noise import add_noise
from tests.basicsr_reference import reference_module

SIDE = 200
LEAST_P = 1e-3


def noise(kind: str = "gaussian", strength: float = 10.0, *, gray: bool = False, seed: int = 5) -> DrawnNoise:
    return DrawnNoise(kind=kind, strength=strength, gray=gray, pixel_seed=seed)


def flat(level: float, side: int = SIDE) -> torch.Tensor:
    return torch.full((3, side, side), level)


def ramp() -> torch.Tensor:
    """Many levels, none near the ends, where clamping would hide the noise."""
    return torch.linspace(0.35, 0.65, SIDE).expand(3, SIDE, SIDE).contiguous()


@pytest.mark.parametrize("strength", [1.0, 12.0, 30.0])
def test_gaussian_noise_is_normal_with_the_drawn_deviation(strength: float) -> None:
    added = (add_noise(flat(0.5), noise(strength=strength)) - 0.5).numpy().ravel() * 255
    assert stats.kstest(added, "norm", args=(0, strength)).pvalue > LEAST_P


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_poisson_noise_has_the_distribution_of_basicsrs(scale: float, gray: bool) -> None:
    """Two-sample KS over the whole picture: mean, variance and how both follow the level."""
    torch.manual_seed(1)
    picture = ramp()
    add = reference_module("data.degradations").add_poisson_noise_pt
    reference = add(picture[None], scale, gray_noise=int(gray))[0] - picture
    ours = add_noise(picture, noise("poisson", scale, gray=gray)) - picture
    for part in (slice(0, SIDE // 2), slice(SIDE // 2, SIDE)):
        result = stats.ks_2samp(ours[0, :, part].numpy().ravel(), reference[0, :, part].numpy().ravel())
        assert result.pvalue > LEAST_P


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_gray_noise_is_the_same_in_all_channels_and_colour_noise_is_not(kind: str) -> None:
    picture = ramp()
    gray = add_noise(picture, noise(kind, 2.0, gray=True)) - picture
    assert torch.allclose(gray[0], gray[1], atol=1e-6)
    assert torch.allclose(gray[0], gray[2], atol=1e-6)
    colour = (add_noise(picture, noise(kind, 2.0)) - picture).flatten(1).numpy()
    assert abs(np.corrcoef(colour)[0, 1]) < 0.02


def test_two_samples_have_two_patterns_where_basicsr_gives_a_batch_one() -> None:
    """basicsr makes one gray pattern and lays it on every picture of the batch: it cannot even take two."""
    reference = reference_module("data.degradations").generate_gaussian_noise_pt
    with pytest.raises(RuntimeError, match="invalid for input"):
        reference(torch.stack([flat(0.5), flat(0.5)]), 10, torch.tensor([1.0, 1.0]))
    made = [add_noise(flat(0.5), noise(gray=True, seed=seed)) for seed in (1, 2)]
    assert not torch.equal(made[0], made[1])


def test_noise_depends_on_its_seed_alone() -> None:
    first = add_noise(flat(0.5), noise(seed=3))
    add_noise(flat(0.5, 31), noise(seed=4))
    torch.rand(7)
    assert torch.equal(first, add_noise(flat(0.5), noise(seed=3)))


def test_values_stay_in_range_and_an_unknown_kind_is_refused() -> None:
    made = add_noise(flat(0.99), noise(strength=30))
    assert made.max() == 1.0
    with pytest.raises(ValueError, match="'salt'"):
        add_noise(flat(0.5), noise("salt"))
