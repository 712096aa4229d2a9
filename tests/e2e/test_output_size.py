"""Sizes as a user asks for them, over whole runs: one job makes what two commands make, on any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips

from ..runs import Farm, files, identity, results

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def farm(farm: Farm, cluster: dict[str, str]) -> Farm:
    return replace(farm, environment=cluster)


def pixels_of(path: Path) -> np.ndarray:
    return pyvips.Image.new_from_file(str(path)).numpy()


def test_sixteen_times_is_two_commands_on_any_number_of_workers(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    source = tmp_path / "in"
    make_picture(source / "photo.png", 41, 130, seed=1)
    make_picture(source / "clear.png", 33, 70, seed=2, bands=4)
    make_picture(source / "gray.png", 30, 20, seed=3, bands=1)
    flags = ("--band-px", "20000", "--tile-px", "64")
    for workers in ("1", "2"):
        made = farm.submit(source, tmp_path / workers, "--outscale", "16", *flags, "--workers", workers)
        assert made.returncode == 0, made.stderr
    assert identity(tmp_path / "1") == identity(tmp_path / "2")
    first = farm.submit(source, tmp_path / "once", "--workers", "1")
    second = farm.submit(tmp_path / "once", tmp_path / "twice", "--workers", "1", "--name", "{stem}.{ext}")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    for name in ("photo", "clear", "gray"):
        at_once, repeated = (tmp_path / "1" / f"{name}_16x.png", tmp_path / "twice" / f"{name}_4x.png")
        assert np.array_equal(pixels_of(at_once), pixels_of(repeated)), name
    sizes = {Path(str(row["output"])).name: (row["width"], row["height"]) for row in results(tmp_path / "1")}
    assert sizes == {"photo_16x.png": (656, 2080), "clear_16x.png": (528, 1120), "gray_16x.png": (480, 320)}


def test_a_size_is_said_in_names_and_results(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "wide.png", 64, 36)
    make_picture(tmp_path / "in" / "tall.png", 30, 50)
    made = farm.submit(tmp_path / "in", tmp_path / "out", "--size", "384x216", "--light", "linear", "--workers", "1")
    assert made.returncode == 0, made.stderr
    assert files(tmp_path / "out") == {"wide_384x216.png", "tall_384x216.png", "results.parquet"}
    sizes = {Path(str(row["source"])).name: (row["width"], row["height"]) for row in results(tmp_path / "out")}
    assert sizes == {"wide.png": (384, 216), "tall.png": (130, 216)}
    for flags, said in ((("--outscale", "2"), "contradicts --outscale"), (("--resize", "official"), "--light: linear")):
        wrong = farm.submit(tmp_path / "in", tmp_path / "no", "--size", "384x216", "--light", "linear", *flags)
        assert wrong.returncode == 2
        assert said in wrong.stderr
