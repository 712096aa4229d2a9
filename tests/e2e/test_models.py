"""Several models in one run, and weights that are refused, as a user meets them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farm.fetch import resolve
from sr_kernel.weights import describe_file

from ..networks import seeded_state, srvgg_spec
from ..runs import Farm, files, results
from ..seeded import save_srvgg

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def farm(farm: Farm, cluster: dict[str, str]) -> Farm:
    return replace(farm, environment=cluster)


def test_without_a_model_the_one_in_the_box_works_with_no_weights_and_no_network(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    source, out = make_picture(tmp_path / "a.png", 40, 30), tmp_path / "out"
    alone = {"FARM_WEIGHTS_DIR": "", "FARM_WEIGHTS_MIRROR": str(tmp_path / "nothing")}
    done = farm.run("submit", source, "--gpus", "0", "--workers", "1", "--out", out, env=alone)
    assert done.returncode == 0, done.stderr
    assert "box is the small model that ships with the farm; --model x4plus" in done.stderr
    (row,) = results(out)
    assert (row["model"], row["width"], row["height"]) == ("box", 160, 120)
    other = farm.run("submit", source, "--model", "x4plus", "--gpus", "0", "--out", tmp_path / "other", env=alone)
    assert other.returncode == 78
    for way in (
        "RealESRGAN_x4plus.pth is not in",
        "--weights-dir or FARM_WEIGHTS_DIR",
        "FARM_WEIGHTS_MIRROR",
        "--model box",
    ):
        assert way in other.stderr
    again = farm.run("submit", source, "--gpus", "0", "--workers", "1", "--out", out, env=alone)
    assert "box is the small model" not in again.stderr, "nothing was to do"


def test_every_row_is_restored_by_each_model_and_the_second_run_does_nothing(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for index in range(3):
        make_picture(source / f"{index}.png", 40, 30, seed=index)
    (source / "broken.png").write_bytes(b"no picture")
    other = save_srvgg(tmp_path / "other.pth", features=8, convs=1, scale=2, seed=5)
    models = f"{farm.model},{other}"
    first = farm.submit(source, out, "--models", models)
    assert first.returncode == 3, first.stderr
    assert "6 done, 2 failed of 8" in first.stderr
    made = {f"{index}_{label}x.png" for index in range(3) for label in ("tiny_4", "other_2")}
    assert files(out) == {*made, "results.parquet"}
    rows = results(out)
    assert [row["row"] for row in rows] == list(range(8))
    assert [Path(str(row["source"])).name for row in rows[:4]] == ["0.png", "0.png", "1.png", "1.png"]
    assert [(row["model"], row["width"]) for row in rows[:2]] == [("file:tiny", 160), ("file:other", 80)]
    again = farm.submit(source, out, "--models", models)
    assert again.returncode == 3
    assert "6 done before, 2 failed of 8" in again.stderr
    limited = farm.submit(source, out, "--models", models, "--limit", "2")
    assert limited.returncode == 0, limited.stderr
    assert "4 done before of 4" in limited.stderr


def test_rows_that_contradict_the_list_are_named(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        make_picture(tmp_path / name, 30, 20, seed=1)
    manifest = tmp_path / "m.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("source", "model"), ("a.png", ""), ("b.png", "realesr-animevideov3-x9")])
    other = save_srvgg(tmp_path / "other.pth", features=8, convs=1, seed=5)
    models = f"{farm.model},{other}"
    wrong = farm.submit(manifest, tmp_path / "out", "--models", models)
    assert wrong.returncode == 65
    assert "column model: 'realesr-animevideov3-x9' is not a model" in wrong.stderr
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("source", "output"), ("a.png", ""), ("b.png", "same.png")])
    clash = farm.submit(manifest, tmp_path / "out", "--models", models)
    assert clash.returncode == 65
    assert "'same.png' would be written by each of 2 models" in clash.stderr


def nan_file(folder: Path) -> Path:
    state = seeded_state(srvgg_spec(features=8, convs=2))
    state["body.2.weight"][0, 0, 0, 0] = float("nan")
    torch.save({"params": state}, folder / "nan.pth")
    return folder / "nan.pth"


def test_weights_that_are_not_finite_end_the_run_before_it_starts(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    picture = make_picture(tmp_path / "a.png", 30, 20)
    refused = farm.run("submit", picture, "--model", nan_file(tmp_path), "--out", tmp_path / "out", "--gpus", "0")
    assert refused.returncode == 78
    assert len(refused.stderr.splitlines()) == 1
    assert "body.2.weight holds values that are not finite" in refused.stderr
    assert not files(tmp_path / "out")


def test_weights_that_only_a_worker_sees_are_refused_the_same_way(
    farm: Farm, make_picture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver goes by a description that it remembers, of a file that is then found to be another one."""
    picture = make_picture(tmp_path / "a.png", 30, 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = save_srvgg(tmp_path / "nan.pth", features=8, convs=2)
    resolve(str(good))
    (remembered,) = (tmp_path / "cache").rglob("*.json")
    told = json.loads(remembered.read_text())
    bad = nan_file(tmp_path)
    asked: list[str] = []
    monkeypatch.setattr("farm.fetch.model._ask", lambda path: asked.append(path) or json.dumps(told))
    resolve.__globals__["_describe"].cache_clear()
    resolve(str(bad))
    assert asked == [str(bad)]
    with pytest.raises(ValueError, match="not finite"):
        describe_file(bad)
    seen = replace(farm, cache=tmp_path / "cache")
    refused = seen.run("submit", picture, "--model", bad, "--out", tmp_path / "out", "--gpus", "0", "--workers", "1")
    assert refused.returncode == 78, refused.stderr
    assert "holds values that are not finite" in refused.stderr
    assert "Traceback" not in refused.stderr
