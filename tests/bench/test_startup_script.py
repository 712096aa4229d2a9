"""A cold start and a finished run within their limits, measured by bench/startup.py's own means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ..runs import REPOSITORY
from .scripts import bench_module

TRIES = 3
"""on a machine that does something else, too: the limit is what a start takes, not what it waits for others"""


@pytest.fixture(scope="module")
def startup() -> Iterator[ModuleType]:
    with bench_module("startup") as module:
        yield module


def least(call: Callable[[], float], limit_s: float) -> float:
    """Seconds of the quickest of some calls; none is made after one within the limit."""
    found: list[float] = []
    while len(found) < TRIES and (not found or found[-1] > limit_s):
        found.append(call())
    return min(found)


def test_a_small_picture_is_written_and_a_finished_run_found_done_in_time(startup: ModuleType, tmp_path: Path) -> None:
    bench = startup.Bench(tmp_path, REPOSITORY, "box", None)
    written_s = least(lambda: bench.cold()[1], startup.COLD_LIMIT_S)
    done_s = least(lambda: bench.run()[0], startup.DONE_LIMIT_S)
    held = startup.limits({"written_s": [written_s], "done_s": [done_s]})
    assert [one.what for one in held if not one.holds] == [], (written_s, done_s)


def test_a_start_that_takes_longer_is_a_missed_limit(startup: ModuleType) -> None:
    held = startup.limits({"written_s": [5.0, 8.1, 9.0], "done_s": [1.0, 2.0, 3.5]})
    assert [one.holds for one in held] == [False, True], "by the medians"
