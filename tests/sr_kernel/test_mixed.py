"""Denoise strength: what upstream's interpolation gives, mixed once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_kernel import mixed
from sr_kernel.mixed import mixed_state
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import WeightsError, load_state, mix
from tests.networks import plan_of, random_picture, seeded_state, srvgg_spec
from tests.outside import data_folder

GENERAL = replace(MODELS["general-x4v3"], bytes=0, sha256="")
"""the real network, of files that are equal to the official ones but for the rounding of their weights"""


def derived(folder: Path) -> tuple[Path, Path]:
    """The general model and its denoise partner."""
    names = ("realesr-general-x4v3.fp16-derived.pth", "realesr-general-wdn-x4v3.fp16-derived.pth")
    return folder / "weights" / names[0], folder / "weights" / names[1]


def by_upstream(one: Path, other: Path, strength: float) -> dict[str, Tensor]:
    """What RealESRGANer's `dni` does with `[strength, 1 - strength]`: the sum of the two, key by key."""
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (one, other))
    key = "params" if "params" in a else "params_ema"
    return {name: strength * value.float() + (1 - strength) * b[key][name].float() for name, value in a[key].items()}


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_each_strength_is_the_official_packages_to_one_level(
    strength: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.basicsr_reference import reference_network

    one, other = derived(data_folder())
    monkeypatch.setattr("sr_kernel.upscale.MODELS", {**MODELS, str(GENERAL.partner): GENERAL})
    picture = random_picture(48, 40, seed=7) // 4 + np.linspace(20, 190, 48, dtype=np.uint8)[None, :, None]
    upscaler = Upscaler.load(GENERAL, one, denoise=strength, partner_path=other, mixed=tmp_path)
    ours = upscaler.restore(picture, plan_of(GENERAL, 48, 40), Settings(precision="fp32")).pixels
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        made = reference_network(GENERAL, by_upstream(one, other, strength))(x)
    theirs = (made.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).max() <= 1
    assert len({*np.unique(ours).tolist()}) > 50, "a flat picture would agree with anything"


@pytest.fixture
def files(tmp_path: Path) -> tuple[ModelSpec, Path, Path]:
    spec = srvgg_spec()
    for seed in (1, 2):
        torch.save({"params": seeded_state(spec, seed)}, tmp_path / f"{seed}.pth")
    return spec, tmp_path / "1.pth", tmp_path / "2.pth"


def test_what_was_mixed_is_read_the_next_time(
    files: tuple[ModelSpec, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, one, other = files
    first = mixed_state((spec, one), (spec, other), 0.25, tmp_path / "cache")
    assert all(
        torch.equal(first[name], t) for name, t in mix(seeded_state(spec, 1), seeded_state(spec, 2), 0.25).items()
    )
    monkeypatch.setattr(mixed, "load_state", lambda *_: pytest.fail("the files are not needed any more"))
    again = mixed_state((spec, one), (spec, other), 0.25, tmp_path / "cache")
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_other_files_and_strengths_are_other_mixtures(files: tuple[ModelSpec, Path, Path], tmp_path: Path) -> None:
    spec, one, other = files
    cache = tmp_path / "cache"
    mixed_state((spec, one), (spec, other), 0.25, cache)
    mixed_state((spec, one), (spec, other), 0.5, cache)
    mixed_state((spec, other), (spec, one), 0.25, cache)
    assert len(list(cache.iterdir())) == 3
    torch.save({"params": seeded_state(spec, 3)}, one)
    changed = mixed_state((spec, one), (spec, other), 0.25, cache)
    assert len(list(cache.iterdir())) == 4
    assert torch.equal(changed["body.0.bias"], mix(seeded_state(spec, 3), seeded_state(spec, 2), 0.25)["body.0.bias"])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_copy_is_made_again(files: tuple[ModelSpec, Path, Path], tmp_path: Path, damage: str) -> None:
    spec, one, other = files
    cache = tmp_path / "cache"
    first = mixed_state((spec, one), (spec, other), 0.25, cache)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    kept.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b""}[damage])
    again = mixed_state((spec, one), (spec, other), 0.25, cache)
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_mixing(
    files: tuple[ModelSpec, Path, Path], tmp_path: Path
) -> None:
    spec, one, other = files
    (tmp_path / "cache").write_text("a file, not a folder")
    made = mixed_state((spec, one), (spec, other), 0.25, tmp_path / "cache")
    assert torch.equal(made["body.0.bias"], mix(load_state(one, spec), load_state(other, spec), 0.25)["body.0.bias"])


def test_a_partner_that_is_not_finite_is_refused_and_leaves_nothing(
    files: tuple[ModelSpec, Path, Path], tmp_path: Path
) -> None:
    spec, one, other = files
    state = seeded_state(spec, 2)
    state["body.0.bias"][0] = float("nan")
    torch.save(state, other)
    with pytest.raises(WeightsError, match="not finite"):
        mixed_state((spec, one), (spec, other), 0.25, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
