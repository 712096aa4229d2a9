"""What the engine decides without a cluster; what it does with one is in tests/e2e."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions as rx

from farm import actors, clock, engine, session
from farm.actors import Actors
from farm.calls import Call
from farm.engine import Engine
from farm.errors import ModelError, UnreachableError
from farm.pace import Pace
from farm.records import Done, Unit
from farm.schedule import DeathCause, Mishaps, Schedule, SchedulePolicy
from farm.slots import EngineConfig, Slot
from farm.tasks.base import WorkerContext
from farm.worker import WorkerInfo

from .asleep import sleep_for
from .items import DONE, make_part


def make_engine(
    monkeypatch: pytest.MonkeyPatch, *, there: int, missing: int, min_workers: int, left_s: float = math.inf
) -> tuple[Engine, list[Any]]:
    """An engine whose actors are names, of which some have found a place."""
    killed: list[Any] = []
    monkeypatch.setattr(actors, "_kill", killed.append)
    config = EngineConfig(
        address="10.0.0.1:6379",
        embedded_cpus=1,
        embedded_gpus=0,
        wait_s=3.0,
        min_workers=min_workers,
        deadline_s=lambda unit: 60.0,
        ends_s=clock.now_s() + left_s,
    )
    policy = SchedulePolicy(largest_first=left_s == math.inf)  # as of a run
    made = Engine(config, [], Schedule(policy, Pace(floors_px_s={"m": 1.0}, cap_px=1)))
    for index in range(there + missing):
        context = WorkerContext(
            name=f"gpu-{index}",
            run="r",
            driver_host="h",
            out="/o",
            device="cuda:0",
            io_threads=1,
            units_in_flight=1,
            memory_bytes=1,
        )
        slot = Slot(context=context, num_cpus=1, num_gpus=1)
        waiting = None if index < there else object()
        made._actors.by_name[slot.name] = actors.Actor(slot=slot, handle=slot.name, starting=waiting, started_s=0.0)
    return made, killed


def test_a_run_goes_on_with_the_gpus_it_may_do_with(monkeypatch: pytest.MonkeyPatch) -> None:
    made, killed = make_engine(monkeypatch, there=2, missing=2, min_workers=2)
    made._actors._go_on_without(["gpu-2", "gpu-3"], 3.0)
    assert killed == ["gpu-2", "gpu-3"], "what finds no place is not waited for any longer"
    assert list(made._actors.by_name) == ["gpu-0", "gpu-1"]
    assert made._schedule.expected_workers == 2


@pytest.mark.parametrize("min_workers", [0, 3])
def test_too_few_gpus_are_named(monkeypatch: pytest.MonkeyPatch, min_workers: int) -> None:
    made, _ = make_engine(monkeypatch, there=2, missing=2, min_workers=min_workers)
    with pytest.raises(UnreachableError, match=r"2 of 4 workers found no place on 10\.0\.0\.1:6379 within 3 s"):
        made._actors._go_on_without(["gpu-2", "gpu-3"], 3.0)


def test_what_a_worker_raises_reaches_the_user_as_what_it_was() -> None:
    class Wrapped(rx.RayTaskError):
        def __init__(self, cause: Exception) -> None:
            self.cause = cause

        def __str__(self) -> str:
            return f"Traceback ...\n{type(self.cause).__name__}: {self.cause}"

    known = ModelError("weights are bad")
    assert actors.cause_of(Wrapped(known)) is known
    assert "ValueError: oops; this is a defect" in str(actors.cause_of(Wrapped(ValueError("oops"))))


def test_rays_sockets_fit_whatever_tmpdir_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("d" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    made = session._temp_folder()
    assert made.parent == Path("/tmp")
    made.rmdir()


def test_an_actor_that_does_not_start_says_what_its_process_raised() -> None:
    """Ray names the actor first and what was raised last; whoever reads one line wants the last."""
    text = """The actor died because of an error raised in its creation task, ray::Worker.__init__() (pid=1)
  File "/opt/farm/worker.py", line 40, in __init__
    from farm.tasks import registry
ModuleNotFoundError: No module named 'av'
"""
    assert session.start_failure(rx.RayActorError(error_msg=text)) == "ModuleNotFoundError: No module named 'av'"
    assert session.start_failure(OSError("no\nmore")) == "no"


def test_a_slot_is_given_up_for_deaths_in_a_row_and_not_for_those_of_a_long_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The unit that comes back between them is what tells a bad place from a long night."""
    made, _ = make_engine(monkeypatch, there=2, missing=0, min_workers=0)
    monkeypatch.setattr(Actors, "_start_actor", _put_in)
    for name in ("gpu-0", "gpu-1"):
        made.workers[name] = WorkerInfo(name=name, node="n", pid=1, device="cpu")
        made._schedule.add_worker(name)
    for _ in range(3):
        for _ in range(11):
            made._actors.replace("gpu-0", "gone")
            made.workers["gpu-0"] = WorkerInfo(name="gpu-0", node="n", pid=1, device="cpu")
            made._schedule.add_worker("gpu-0")
        assert made._actors.by_name["gpu-0"].deaths == 11
        bring_back(monkeypatch, made, "gpu-0")
        assert made._actors.by_name["gpu-0"].deaths == 0
    for _ in range(11):
        made._actors.replace("gpu-0", "gone")
    assert "gpu-0" in made._actors.by_name
    made._actors.replace("gpu-0", "gone")
    assert list(made._actors.by_name) == ["gpu-1"]


def crash(made: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker have a part, of whose call Ray says that it crashed."""
    made._schedule.add_worker("gpu-0")
    made._schedule.add([make_part(1)])
    unit = made._schedule.next_unit("gpu-0")
    assert unit is not None
    made._calls.add("call", Call(unit, "gpu-0", 0.0))
    monkeypatch.setattr(engine, "ready", lambda references, timeout_s: references)

    def died(reference: object) -> None:
        raise rx.WorkerCrashedError

    monkeypatch.setattr(engine.ray, "get", died)


def test_a_worker_that_dies_after_the_signal_gets_no_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would load torch for nothing; and the last one to die does not make a lost cluster of a stopped run."""
    made, killed = make_engine(monkeypatch, there=1, missing=0, min_workers=0)
    started: list[Slot] = []
    monkeypatch.setattr(Actors, "_start_actor", lambda _, slot, deaths=0: started.append(slot))
    asked: list[str] = []
    answering = SimpleNamespace(stop=SimpleNamespace(remote=lambda: asked.append("stop")))
    made._actors.by_name["gpu-0"].handle = answering
    made.workers["gpu-0"] = WorkerInfo(name="gpu-0", node="n", pid=1, device="cpu")
    crash(made, monkeypatch)
    made.stop()
    assert list(made._drain()) == []
    assert (asked, killed, started) == (["stop"], [answering], [])


def test_workers_that_nothing_waits_for_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loads torch: on two cores two take twice as long as one, and one picture is no work for two."""
    made, _ = make_engine(monkeypatch, there=1, missing=0, min_workers=0)
    monkeypatch.setattr(Actors, "_start_actor", _put_in)
    context = replace(made._actors.by_name["gpu-0"].slot.context, name="gpu-1")
    made._actors._later = [Slot(context=context, num_cpus=1, num_gpus=1)]
    made._schedule.expected_workers = 1
    made._schedule.add_worker("gpu-0")
    made._actors.start_later()
    assert list(made._actors.by_name) == ["gpu-0"]
    made._schedule.add([make_part(1), make_part(2)])
    made._schedule.next_unit("gpu-0")
    made._actors.start_later()
    assert list(made._actors.by_name) == ["gpu-0", "gpu-1"], "what waits is more than those there can take at once"
    assert made._schedule.expected_workers == 2
    assert not made._actors._later


@pytest.mark.parametrize(("address", "started"), [(None, 2), ("10.0.0.1:6379", 5)])
def test_on_a_cluster_all_workers_are_asked_for_at_once(address: str | None, started: int) -> None:
    """So that an autoscaler sees what is missing."""
    made, _ = make_engine(pytest.MonkeyPatch(), there=5, missing=0, min_workers=0)
    slots = [actor.slot for actor in made._actors.by_name.values()]
    again = Engine(replace(made._config, address=address, at_first=2), slots, made._schedule)
    assert len(again._actors._slots) == started
    assert len(again._actors._slots) + len(again._actors._later) == 5


def test_deadlines_of_many_calls_are_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = make_engine(monkeypatch, there=1, missing=0, min_workers=0)
    monkeypatch.setattr(Actors, "_start_actor", _put_in)
    made.workers["gpu-0"] = WorkerInfo(name="gpu-0", node="n", pid=1, device="cpu")
    made._schedule.add_worker("gpu-0")
    made._schedule.add([make_part(1)])
    unit = made._schedule.next_unit("gpu-0")
    assert unit is not None
    looked: list[float] = []
    clock = Clock()
    monkeypatch.setattr(engine, "time", clock)

    def deadline_s(_: Unit) -> float:
        looked.append(clock.now)
        clock.now += 0.1  # as of a thousand workers
        return 60.0

    made._config = replace(made._config, deadline_s=deadline_s)
    made._calls.add("call", Call(unit, "gpu-0", 0.0))
    while not (list(made._enforce_deadlines()) or made._schedule.mishaps.deaths):
        clock.now += 0.25
    assert made._schedule.mishaps.deaths[DeathCause.TIMEOUT] == 1
    assert looked[-1] == pytest.approx(62.5, abs=2.5), "a look of 0.1 s is worth one in five seconds"
    assert len(looked) < 16


class Clock:
    """Time as a test makes it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def _put_in(made: Actors, slot: Slot, deaths: int = 0) -> None:
    made.by_name[slot.name] = actors.Actor(slot=slot, handle=slot.name, starting=None, started_s=0.0, deaths=deaths)


def bring_back(monkeypatch: pytest.MonkeyPatch, made: Engine, name: str) -> None:
    """A worker is given a unit, and answers."""
    part = make_part(1)
    made._schedule.add([part])
    unit = made._schedule.next_unit(name)
    assert unit is not None
    made._calls.add("call", Call(unit, name, 0.0))
    monkeypatch.setattr(engine, "ready", lambda references, timeout_s: references)
    monkeypatch.setattr(engine.ray, "get", lambda reference: (replace(DONE, part_id=part.part_id),))
    assert [one.part for one in made._collect(0)] == [part]


def test_what_a_worker_had_goes_back_without_a_strike_when_its_node_is_gone_whatever_ray_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = make_engine(monkeypatch, there=2, missing=0, min_workers=0)
    monkeypatch.setattr(Actors, "_start_actor", _put_in)
    made.workers["gpu-0"] = WorkerInfo(name="gpu-0", node="n", pid=1, device="cpu", node_id="lost")
    crash(made, monkeypatch)
    asked: list[str] = []
    monkeypatch.setattr(made._actors.nodes, "is_gone", lambda node_id, head: not asked.append(node_id))
    assert list(made._collect(0)) == []
    assert asked == ["lost"]
    assert made._schedule.mishaps == Mishaps(deaths=Counter({DeathCause.NODE: 1}))
    made._schedule.add_worker("gpu-1")
    again = made._schedule.next_unit("gpu-1")
    assert again is not None
    assert not again.alone, "nobody is blamed"


def spare_at(made: Engine, now_s: float, left_s: float, name: str) -> tuple[float, float]:
    """What the engine says of a worker at a moment of the monotonic clock, so long before the end of the run."""
    moment = Clock()
    moment.now = now_s
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "time", moment)
        patch.setattr(made, "_left_s", lambda: left_s)
        return made._spare_s(name)


def test_a_worker_has_the_time_for_more_that_its_units_in_flight_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds before the run's last three; two workers, one of which has a unit of about four seconds."""
    made, _ = make_engine(monkeypatch, there=2, missing=0, min_workers=0, left_s=13)
    now = time.monotonic()
    for name in ("gpu-0", "gpu-1"):
        made.workers[name] = WorkerInfo(name=name, node="n", pid=1, device="cpu")
        made._schedule.add_worker(name)
    made._schedule.add([make_part(1), make_part(2)])
    unit = made._schedule.next_unit("gpu-0")
    assert unit is not None
    made._calls.add("call", Call(unit, "gpu-0", now))
    made._look_at_ends()
    assert made._ends is not None
    assert made._ends.busy_s("gpu-0", now) == pytest.approx((4, 0))
    assert made._ends.busy_s("gpu-0", now + 3) == pytest.approx((1, 0)), "what is begun goes on meanwhile"
    assert made._ends.busy_s("gpu-0", now + 5) == (0, 0), "and may take longer than it should"
    assert spare_at(made, now, 13, "gpu-0") == pytest.approx((6, 10))
    assert spare_at(made, now + 3, 10, "gpu-0") == pytest.approx((6, 7)), "what is begun goes on meanwhile"
    assert spare_at(made, now + 5, 8, "gpu-0") == pytest.approx((5, 5)), "and may take longer than it should"
    assert spare_at(made, now, 13, "gpu-1") == pytest.approx((10, 10))
    assert made._spare_s("gpu-1") == pytest.approx((10, 10), abs=1), "by the clocks, which go on"
    made._stop_in_time()
    assert not made._stop.is_set()
    sleep_for(10, monkeypatch)
    assert made._spare_s("gpu-1") == pytest.approx((0, 0), abs=1), "also while the machine sleeps"
    made._stop_in_time()
    assert not made._stop.is_set()
    sleep_for(13, monkeypatch)
    made._stop_in_time()
    assert made._stop.is_set()


def test_an_end_of_the_run_is_not_reckoned_with_all_workers_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand bring back two hundred units a second: at each turn one comes back and another goes."""
    made, _ = make_engine(monkeypatch, there=1000, missing=0, min_workers=0, left_s=3600)
    moment, asked = Clock(), Counter[str]()
    monkeypatch.setattr(engine, "time", moment)
    let_all_work(made, monkeypatch)
    backlog_s = made._schedule.backlog_s

    def asks(worker: str) -> float:
        asked[worker] += 1
        moment.now += 1e-4
        return backlog_s(worker)

    monkeypatch.setattr(made._schedule, "backlog_s", asks)
    made._schedule.add([make_part(index) for index in range(4000)])
    made._dispatch()
    assert len(made._calls) == 2000
    asked.clear()
    for _ in range(200):
        moment.now += 0.005
        assert list(made._collect(0))
        made._dispatch()
    assert len(made._calls) == 2000
    assert asked.total() < 2 * 200 + 3 * 1000, "each that changes, and all of them two or three times in that second"


def let_all_work(made: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are there, and bring back one unit whenever Ray is asked."""
    units: dict[object, Unit] = {}

    def run(unit: Unit, sharing: int) -> object:
        reference = object()
        units[reference] = unit
        return reference

    def get(reference: object) -> tuple[Done, ...]:
        return tuple(replace(DONE, part_id=part.part_id) for part in units.pop(reference).parts)

    handle = SimpleNamespace(run=SimpleNamespace(options=lambda name: SimpleNamespace(remote=run)))
    for name, actor in made._actors.by_name.items():
        actor.handle = handle
        made.workers[name] = WorkerInfo(name=name, node="n", pid=1, device="cpu")
        made._schedule.add_worker(name)
    monkeypatch.setattr(engine, "ready", lambda references, timeout_s: references[:1])
    monkeypatch.setattr(engine.ray, "get", get)
