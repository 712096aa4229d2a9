"""The schedule and the engine at the size of a thousand workers, in seconds: bench/fleet.py in short."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def fleet() -> Iterator[ModuleType]:
    """The script; it imports what lies beside it."""
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module("fleet")
    sys.path.remove(str(BENCH))
    for name in ("fleet", "recorded", "figures"):
        sys.modules.pop(name, None)


def test_a_driver_keeps_a_thousand_workers_busy_that_straggle_and_are_lost(fleet: ModuleType) -> None:
    """From when all are there until the last row is handed out; what the driver takes its workers wait for."""
    found = fleet.simulate(1000, 500_000)
    assert found["done"] == found["rows"] == 500_000
    assert found["workers_lost"] >= 1
    assert found["retries"] > 0, "the rows of a lost worker were run again"
    assert found["steady"] > 0.95
    assert found["rows_a_unit"] > 10, "no crumbs, which no driver could hand out quickly enough"
    assert found["peak_mb"] < 1000


def test_of_few_workers_none_waits_either(fleet: ModuleType) -> None:
    found = fleet.simulate(8, 10_000)
    assert found["done"] == 10_000
    assert found["steady"] > 0.97, "two of eight are lost for ten seconds each of two minutes"
    assert found["busy"] > 0.85, "the tail of one straggler included"
