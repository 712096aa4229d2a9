"""The schedule and the engine at the size of a thousand workers, in seconds: bench/fleet.py in short."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from ..runs import REPOSITORY


def simulate(workers: int, rows: int) -> dict[str, Any]:
    """In a process of its own, whose memory is the driver's alone."""
    asked = f"import json, fleet; print(json.dumps(fleet.simulate({workers}, {rows})))"
    said = subprocess.check_output([sys.executable, "-c", asked], cwd=REPOSITORY / "bench", text=True)
    return json.loads(said.splitlines()[-1])


def test_a_driver_keeps_a_thousand_workers_busy_that_straggle_and_are_lost() -> None:
    """From when all are there until the last row is handed out; what the driver takes its workers wait for."""
    found = simulate(1000, 800_000)  # eighty seconds: the worker that is lost after sixty has work in its hands
    assert found["done"] == found["rows"] == 800_000
    assert found["workers_lost"] >= 1
    assert found["retries"] > 0, "the rows of a lost worker were run again"
    assert found["steady"] >= 0.97, (
        "as the whole run of ten million rows, of whose 18 minutes the last straggler is 2 %"
    )
    assert found["busy"] > 0.7, "eighty seconds and the 25 of the last straggler"
    assert found["rows_a_unit"] > 10, "no crumbs, which no driver could hand out quickly enough"
    assert found["peak_mb"] < 1000


def test_what_ray_takes_of_the_driver_counts_as_its_work() -> None:
    found = simulate(100, 40_000)
    ray_s, cpu_s = found["ray_s"], found["driver_cpu_s"]
    assert ray_s > found["units"] * 270e-6, "each call, and what its answer is waited for"
    assert found["dispatches_a_second"] == pytest.approx(found["units"] / (cpu_s + ray_s))
    assert (cpu_s + ray_s) / found["seconds"] <= found["driver_busy"] < 1


def test_of_few_workers_none_waits_either() -> None:
    found = simulate(8, 10_000)
    assert found["done"] == 10_000
    assert found["steady"] > 0.97, "two of eight are lost for ten seconds each of two minutes"
    assert found["busy"] > 0.85, "the tail of one straggler included"
