"""The measurement that runs on a lent GPU, run here on the CPU in small: its tables are whole, whatever fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sr_kernel.hardware import cpu_runs_bf16

from ..outside import data_folder
from .scripts import bench_module

ROOT = Path(__file__).parents[2]
MODELS = ["x4plus", "x2plus", "x4plus-anime", "animevideov3", "general-x4v3"]
PRECISIONS = ["fp32", "bf16"] if cpu_runs_bf16() else ["fp32"]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(ROOT / "bench/gpu.py"), "--device", "cpu", "--quick", "--out", str(out), *options]
    return subprocess.run(
        program, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, the line below the columns left out."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if set(cells) != {"---"}:
                found[-1].append(cells)
        before = line
    return found


def test_every_model_in_every_precision_fills_its_row(tmp_path: Path) -> None:
    done = run(tmp_path / "gpu.md", "--no-jobs")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "gpu.md").read_text()
    holds, costs = tables(text)
    for columns, *rows in (holds, costs):
        assert [(row[0], row[3]) for row in rows] == [(name, kind) for name in MODELS for kind in PRECISIONS]
        assert {row[2] for row in rows} == {"plain"}, "a CPU has no other kernels"
        assert all(len(row) == len(columns) and all(row) for row in rows)
    names = holds[0][4:]
    for row in holds[1:]:
        cells = dict(zip(names, row[4:], strict=True))
        assert [cells[name] for name in names if "fp32" not in name and "body" not in name] == ["identical"] * 4
        assert cells["windows against body"] == ("no body" if row[0] in MODELS[3:] else "exact: identical")
    assert "FAILED" not in text
    assert text == done.stdout.removesuffix("\n")
    (kept,) = map(json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines())
    assert [row["model"] for row in kept["holds"]] == [row[0] for row in holds[1:]]
    assert all(row["network s"] > 0 and row["network % of matmul"] > 0 for row in kept["costs"])
    assert (kept["jobs"], kept["failures"]) == ([], [])


def test_a_model_that_fails_stops_no_other_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "realesr-animevideov3.pth").write_bytes(b"damaged")
    models = ["animevideov3", "general-x4v3"]
    done = run(tmp_path / "gpu.md", "--no-jobs", "--weights", str(tmp_path), "--models", *models)
    assert done.returncode == 1, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    for columns, *rows in tables(text):
        assert all(len(row) == len(columns) for row in rows)
        assert [(row[0], "FAILED" in "".join(row[4:])) for row in rows] == [
            (name, name == "animevideov3") for name in models for _ in PRECISIONS
        ]
    assert "1. animevideov3 fp32, fp32, same device: CheckError: not loaded: WeightsError: " in text


JOBS = [
    ("tutorial, x4", "x4plus-anime", 1),
    ("tutorial, x16", "x4plus-anime", 1),
    ("tutorial, x4, 8 GiB", "x4plus-anime", 1),
    ("tutorial, x16, 8 GiB", "x4plus-anime", 1),
    ("folder", "x4plus", 5),
    ("folder", "animevideov3", 11),
    ("film", "animevideov3", 5),
]


def test_every_job_goes_from_files_to_files(tmp_path: Path) -> None:
    """One pass and two, pictures and a film, by a worker of a CPU, and the official package beside some."""
    weights = str(data_folder() / "weights")
    done = run(tmp_path / "gpu.md", "--models", "general-x4v3", "--weights", weights)
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, (columns, *rows), *_ = tables((tmp_path / "gpu.md").read_text())
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(cell["job"], cell["model"], int(cell["done"])) for cell in cells] == JOBS
    (kept,) = map(json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines())
    for row in kept["jobs"]:
        is_official = row["model"] == "animevideov3"  # the others are smaller networks here
        assert row["weights"] == ("official" if is_official else "passing")
        assert row["a second"] == pytest.approx(row["done"] / row["wall s"])
        assert row["network s"] == "CPU: not measured"
        has_rival = is_official and find_spec("realesrgan") is not None  # whose films go through ffmpeg
        has_rival = has_rival and (row["job"] != "film" or shutil.which("ffmpeg") is not None)
        assert isinstance(row["times official"], float) == has_rival, row


def test_what_has_no_time_left_is_not_begun_and_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path / "gpu.md", "--models", "animevideov3", "--budget-s", "0")
    assert done.returncode == 1, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    for columns, *rows in tables(text):
        assert rows
        assert all(len(row) == len(columns) for row in rows)
    assert "1. tutorial, x4, x4plus-anime: CheckError: not begun: the time is over" in text


def test_a_folder_is_held_to_its_wall_clock_whatever_it_lasts_and_a_film_from_a_minute_on() -> None:
    ran = [("folder", 5.0, 1.06), ("folder", 5.0, "-"), ("film", 59.0, 1.06), ("film", 60.0, 1.06)]
    jobs = [
        {"job": job, "model": "x4plus", "times official": 5.0, "wall s": wall_s, "wall by network": wall}
        for job, wall_s, wall in ran
    ]
    with bench_module("gpu") as gpu:
        report = gpu.Report([], (), (), 0.0, jobs=jobs)
        held = gpu.limits(report, torch.device("cuda"), 1.0)
    walls = [one for one in held if one.what.endswith("wall by network")]
    assert [(one.what.partition(",")[0], one.holds) for one in walls] == [("folder", False)] * 2 + [("film", False)]
    assert all(one.holds for one in held if one not in walls)
