"""LPIPS is measured where its two files are here; what is missing is said once, or refused where it was asked for."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farm.errors import FarmError, ModelError, UsageError
from farm.fetch import sha256_of
from farm.training import load_config, weights
from farm.training.config import TrainConfig
from farm.training.loop import Progress, Scored
from farm.training.run import Request, run
from farm.training_commands import _line
from tests.farm.training.sets import CONFIG, make_config
from tests.sr_kernel.train.batches import lpips_weights

TRAINED = CONFIG.replace("iterations = 12", "iterations = 2").replace("blocks = 2", "blocks = 1")
FILE = weights.ALEXNET.file


def package(folder: Path, patch: pytest.MonkeyPatch, *, whole: bool = True) -> None:
    """A package lpips that goes before any other one; not `whole`: without its weights."""
    (folder / "lpips/weights/v0.1").mkdir(parents=True)
    (folder / "lpips/__init__.py").write_text("raise ImportError('nobody is to import it')\n")
    if whole:
        torch.save(lpips_weights()[1], folder / "lpips/weights/v0.1/alex.pth")
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, "lpips", raising=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with a seeded AlexNet, which the table of one row takes for the real one."""
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save({**lpips_weights()[0], "classifier.6.bias": torch.zeros(1000)}, folder / FILE)
    size, digest = (folder / FILE).stat().st_size, sha256_of(folder / FILE)
    monkeypatch.setattr(weights, "ALEXNET", replace(weights.ALEXNET, bytes=size, sha256=digest))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FARM_WEIGHTS_DIR", str(folder))
    return folder


def config_of(folder: Path, lpips: str = "auto", text: str = TRAINED) -> TrainConfig:
    made = text.replace('pairs = "pairs"\nevery', f'pairs = "pairs"\nlpips = "{lpips}"\nevery')
    return load_config(str(make_config(folder, made)), "net")


def trained(config: TrainConfig, out: Path) -> tuple[list[str], Scored]:
    """What was said, and what the last validation found."""
    said: list[Progress | Scored | str] = []
    run(Request(config=config, out=str(out), threads=1), said.append)
    (scored,) = (one for one in said if isinstance(one, Scored))
    return [one for one in said if isinstance(one, str)], scored


def test_where_both_are_here_lpips_is_a_figure_of_the_validation(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch)
    said, scored = trained(config_of(tmp_path / "set"), tmp_path / "out")
    assert said == ["starts from random weights"]
    assert scored.scores.lpips is not None
    assert scored.scores.lpips > 0
    assert f", LPIPS {scored.scores.lpips:.4f}" in _line(scored)
    lines = (tmp_path / "out/log/000000002.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["lpips"] == scored.scores.lpips
    assert "lpips" not in sys.modules
    (store / FILE).rename(tmp_path / "set/mine.pth")
    for named in ("mine.pth", str(tmp_path / "set/mine.pth")):
        _, other = trained(config_of(tmp_path / "set", named), tmp_path / named.replace("/", "-"))
        assert other.scores.lpips == scored.scores.lpips
    _, none = trained(config_of(tmp_path / "set", "none"), tmp_path / "none")
    assert none.scores == replace(scored.scores, lpips=None)
    assert "LPIPS" not in _line(none)


@pytest.mark.parametrize(
    ("whole", "named", "error"),
    [
        (False, r"the package lpips is not installed; pip install --no-deps lpips", UsageError),
        (True, rf"{FILE} is not in .*; fetch it with `farm models fetch alexnet`", ModelError),
    ],
    ids=["package", "weights"],
)
def test_what_is_missing_is_said_once_or_refused(
    whole: bool, named: str, error: type[FarmError], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch, whole=whole)
    if whole:
        (store / FILE).unlink()
    text = TRAINED.replace("every = 6", "every = 1")
    said: list[Progress | Scored | str] = []
    run(Request(config=config_of(tmp_path / "set", text=text), out=str(tmp_path / "out"), threads=1), said.append)
    _, only = (one for one in said if isinstance(one, str))
    assert re.match(rf"validation goes without LPIPS: {named}", only)
    assert [one.scores.lpips for one in said if isinstance(one, Scored)] == [None, None]
    with pytest.raises(error, match=rf"^validation.lpips: {named}.*, or set it to none"):
        trained(config_of(tmp_path / "set", "alexnet"), tmp_path / "asked")
    assert not (tmp_path / "asked/weights").exists()


@pytest.mark.parametrize("named", ["auto", "alexnet"])
def test_another_file_of_that_name_is_refused(
    named: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", monkeypatch)
    data = bytearray((store / FILE).read_bytes())
    data[-1] ^= 1
    (store / FILE).write_bytes(data)
    with pytest.raises(ModelError, match="sha256 is"):
        trained(config_of(tmp_path / "set", named), tmp_path / "out")


def test_a_file_that_is_no_alexnet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "site", monkeypatch)
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match=r"validation.lpips: weights of AlexNet: features.0.weight is \(64, 3, 3, 3\)"):
        trained(config_of(tmp_path / "set", str(tmp_path / "vgg.pth")), tmp_path / "out")
    with pytest.raises(UsageError, match=r"validation\.lpips: 'vgg' is not one of auto, alexnet, none"):
        config_of(tmp_path / "set", "vgg")
