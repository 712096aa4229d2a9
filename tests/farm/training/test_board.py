"""TensorBoard is told what the log is told; where it is not installed nothing is written."""

from __future__ import annotations

import importlib
import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from farm.training import board, load_config
from farm.training.run import Request, run
from tests.farm.training.sets import make_config


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads there, by name and iteration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports
        events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    points = {name: found.Scalars(name) for name in found.Tags()["scalars"]}
    assert all(len({one.step for one in curve}) == len(curve) for curve in points.values())
    return {name: {one.step: one.value for one in curve} for name, curve in points.items()}


def test_the_board_has_the_curves_of_the_log(tmp_path: Path) -> None:
    config = load_config(str(make_config(tmp_path / "set")), "net")
    run(Request(config=config, out=str(tmp_path / "out"), threads=1), lambda _: None)
    if find_spec("tensorboard") is None:
        assert not (tmp_path / "out/tensorboard").exists()
        return
    found = curves(tmp_path / "out/tensorboard")
    lines = [json.loads(line) for file in sorted((tmp_path / "out/log").iterdir()) for line in file.open()]
    scores = ("psnr", "psnr_lanczos", "ssim", "pictures")
    names = {"loss/pixel": "pixel", "rate": "rate", **{f"validation/{name}": name for name in scores}}
    assert found.keys() == {*names, "iterations a second"}
    for name, key in names.items():
        assert found[name] == pytest.approx({one["iteration"]: one[key] for one in lines if key in one}, rel=1e-6), name
    assert list(found["iterations a second"]) == [2, 4, 6, 8, 10, 12]


def test_what_is_done_again_is_on_the_board_once(tmp_path: Path) -> None:
    """As after a kill -9 in iteration 12, which the last checkpoint was before."""
    config, out = load_config(str(make_config(tmp_path / "set")), "net"), tmp_path / "out"
    run(Request(config=config, out=str(out), threads=1), lambda _: None)
    (out / "checkpoints/000000012.ckpt").unlink()
    run(Request(config=config, out=str(out), threads=1), lambda _: None)
    if find_spec("tensorboard") is None:
        assert not (out / "tensorboard").exists()
        return
    assert list(curves(out / "tensorboard")["loss/pixel"]) == [2, 4, 6, 8, 10, 12]


def test_without_tensorboard_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda name: None)
    nowhere = board.open_board(str(tmp_path / "tensorboard"), 1)
    nowhere.figures(1, {"loss/pixel": 0.5})
    nowhere.close()
    assert not (tmp_path / "tensorboard").exists()
