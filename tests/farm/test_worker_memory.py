"""What a worker's pictures may take: a share of its own machine's memory, by who shares it now."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from farm.records import Unit
from farm.tasks.memory import WORKER_BYTES, MemoryBudget, memory_share
from farm.tasks.station import Station
from farm.worker import Worker
from sr_kernel import hardware

from ..runs import REPOSITORY
from .test_resident import context

GIB = 1 << 30
SHIPPED = REPOSITORY / "sr_kernel/data/box.safetensors"


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


RESTORES = """
import os
import sys
from pathlib import Path
from tests.farm.picture_bench import picture_bench, write_png
from tests.pictures import photo

def main():
    folder = Path(sys.argv[1])
    source = write_png(folder / "in.png", photo(1, 512, 384))
    (folder / "out").mkdir()
    with picture_bench(Path(sys.argv[2]), folder / "out") as bench:
        bench.run(source)
        print(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")), flush=True)

main()
os._exit(0)  # threads of a worker may outlive it here, and C++ aborts a process that ends in order around them
"""


def test_a_worker_holds_no_more_beside_pictures_than_its_number_is_reckoned_with(tmp_path: Path) -> None:
    """In a process of its own, which hands no freed memory back to the system: what it holds now is what it held."""
    ran = subprocess.run(
        [sys.executable, "-c", RESTORES, str(tmp_path), str(SHIPPED)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    held = int(ran.stdout.split()[1]) << 10
    assert 0.4 * WORKER_BYTES < held < WORKER_BYTES, "the picture of 512x384 included"
