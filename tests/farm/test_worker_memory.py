"""What a worker's pictures may take: a share of its own machine's memory, by who shares it now."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from farm.records import Unit
from farm.tasks.memory import MemoryBudget, memory_share
from farm.tasks.station import Station
from farm.worker import Worker
from sr_kernel import hardware

from .test_resident import context

GIB = 1 << 30


def test_a_worker_shares_its_machine_with_as_many_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a control group that is smaller than the machine says it: a worker's own, not the command's."""
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 10 * GIB)
    worker = Worker(context(0))
    budget = worker._memory
    assert budget.total_bytes == memory_share(1) == 6 * GIB
    worker.run(Unit(unit_id=0, parts=()), 4)
    assert budget.total_bytes == int(1.5 * GIB)
    worker.run(Unit(unit_id=1, parts=()), 2)
    assert budget.total_bytes == 3 * GIB, "two of them have gone"
    told = Worker(context(77))
    told.run(Unit(unit_id=0, parts=()))
    assert told._memory.total_bytes == 77
    for one in (worker, told):
        one.stop()


def test_all_of_a_station_follows_the_budget() -> None:
    budget = MemoryBudget(100)
    station = Station(context(100), budget)
    assert station.budget is budget
    assert station.resident._budget is budget
    station.stop()


def test_who_waits_for_memory_goes_on_when_there_is_more() -> None:
    budget, entered = MemoryBudget(100), threading.Event()

    def second() -> None:
        with budget.hold(90):
            entered.set()

    with budget.hold(80):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert not entered.wait(0.1)
        budget.resize(200)
        assert entered.wait(5)
        thread.join(5)
