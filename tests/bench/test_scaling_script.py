"""The rate of several workers counts while all of them are at work, and on the cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

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


def test_more_workers_than_cores_are_refused(scaling: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"this process may use \d+ cores"):
        scaling.measure_network(len(os.sched_getaffinity(0)) + 1, "box", tmp_path)
