"""The rate of several workers counts while all of them are at work, and on the cores that this process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ..runs import REPOSITORY
from .scripts import bench_module


@pytest.fixture(scope="module")
def scaling() -> Iterator[ModuleType]:
    with bench_module("scaling") as module:
        yield module


def rows(*workers: str) -> list[dict[str, object]]:
    return [{"worker": worker, "at_s": float(at), "px": 1_000_000} for at, worker in enumerate(workers)]


def test_two_rows_of_one_worker_are_no_two_workers(scaling: ModuleType) -> None:
    made = rows("a", "a", "a", "b", "a", "b", "a", "b")
    assert scaling.all_at_work(made, 2, tail=1) == (3, 5)
    assert scaling.all_at_work(made, 1, tail=1) == (0, 6)
    with pytest.raises(SystemExit, match="3 workers were never all at work"):
        scaling.all_at_work(made, 3, tail=1)
    with pytest.raises(SystemExit, match="never all at work"):
        scaling.all_at_work(made, 2, tail=2)


def test_what_two_workers_bring_has_a_limit(scaling: ModuleType) -> None:
    def held(one: float, two: float) -> list[bool]:
        farm = {"kind": "network", "megapixels_s": {"farm": {"1": one, "2": two}}}
        return [limit.holds for limit in scaling.limits(farm)]

    assert (held(1.0, 1.91), held(1.0, 1.89)) == ([True], [False])
    asleep = {"kind": "stand-in", "workers": {"4": {"busy": 0.998}, "48": {"busy": 0.9}}}
    assert [limit.holds for limit in scaling.limits(asleep)] == [True, False]


def test_a_worker_with_the_stand_in_sleeps_and_enlarges_to_the_nearest() -> None:
    """Whatever way the farm goes into a compact network on a CPU."""
    code = """
import time, torch, stand_in
from sr_kernel.backend import Backend
from sr_kernel.pixels import to_unit
from sr_kernel.tiles import Box
from tests.networks import seeded_state, srvgg_spec
spec = srvgg_spec(4)
x = torch.arange(6 * 5 * 3, dtype=torch.uint8).view(1, 6, 5, 3)
begun = time.monotonic()
made = Backend(spec, seeded_state(spec), "cpu").run(to_unit(x, torch.float32), Box(x0=1, y0=2, x1=4, y1=6), "fp32")
assert time.monotonic() - begun >= 12 * 0.02
nearest = x[:, 2:6, 1:4].repeat_interleave(4, 1).repeat_interleave(4, 2)
assert torch.equal((made * 255).round().to(torch.uint8), nearest)
"""
    path = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "bench/in_workers")))
    environment = {**os.environ, "FARM_STAND_IN_S": "0.02", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_more_workers_than_cores_are_refused(scaling: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"this process may use \d+ cores"):
        scaling.measure_network(len(os.sched_getaffinity(0)) + 1, "box", tmp_path)
