"""What pictures cost alone, which the farm's wall clock is held against: measured as the farm plans them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sr_kernel.models import MODELS

from ..runs import REPOSITORY, save_picture
from .scripts import bench_module


def costs(results: Path) -> dict[str, float]:
    core = str(min(os.sched_getaffinity(0)))
    script = [sys.executable, str(REPOSITORY / "bench/picture_alone.py"), str(results), "--model", "box"]
    asked = subprocess.run(
        [*script, "--core", core], env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def written(folder: Path, times: int, status: str = "done") -> Path:
    """Results of a run: small pictures, as PNG and JPEG, and what became of them."""
    rows = [
        {
            "source": str(save_picture(folder / f"{at}.{kind}", 48 + 16 * (at % 2), 40)),
            "output": str(save_picture(folder / f"{at}_4x.{kind}", 4 * (48 + 16 * (at % 2)), 160)),
            "status": status,
        }
        for at, kind in enumerate(("png", "jpg") * times)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "results.parquet")
    return folder / "results.parquet"


def test_every_part_of_every_picture_is_counted(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    few, many = costs(written(tmp_path / "few", 1)), costs(written(tmp_path / "many", 20))
    assert set(few) == {"decode_s", "network_s", "encode_s"}
    assert all(seconds > 0 for seconds in few.values())
    assert np.isclose(many["network_s"] / few["network_s"], 20, rtol=0.6), "by sizes, of which there are two in both"
    assert many["encode_s"] > 4 * few["encode_s"]


def test_alpha_is_counted_where_a_network_restores_it() -> None:
    """The farm's wall clock was held against the colours alone."""
    with bench_module("network") as network, bench_module("picture_alone") as alone:
        plan = network.plan_of(MODELS["animevideov3"], 700, 64, 256)
        tiles = len(plan.tiles)
        assert tiles > 1
        pixels = np.full((64, 700, 4), 255, np.uint8)
        assert alone.windows_in(pixels[:, :, :3], plan) == alone.windows_in(pixels, plan) == tiles
        pixels[30, 690, 3] = 128
        assert alone.windows_in(pixels, plan) == tiles + 1
        pixels[:, :, 3] = 128
        assert alone.windows_in(pixels, plan) == 2 * tiles


def test_a_run_that_lacks_pictures_is_refused(tmp_path: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "bench/picture_alone.py"), str(written(tmp_path, 1, "failed"))]
    asked = subprocess.run(
        [*script, "--model", "box"], env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert asked.returncode == 1
    assert "0.png is not done" in asked.stderr
