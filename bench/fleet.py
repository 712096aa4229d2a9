"""Does one driver keep a thousand workers busy? The engine and the schedule as they are, over a fleet that is made up.

    python bench/fleet.py [--actors 1000] [--rows 10000000] [--no-limits]

What stands in for Ray answers at once and computes nothing. Its clock counts what the driver takes of its core, so
its workers wait for that, and jumps to what happens next where the driver waits. What Ray itself takes is added as
it was measured: CALL_S for a call, REFERENCE_S for each answer that ray.wait is asked for; the driver's share of a core
and what it could dispatch count both. Of the driver only engine, schedule and pace are here: the ledger, the tally, the
progress and the report take their part of a run's core, too, and are not in these figures.

Rows are made one by one as the driver asks for them, ROW_S of work each on average, and become units of 5 s. One unit
of a hundred takes five times as long as it should. Each minute one worker is lost with its two units; a fresh one
is there after START_S.

busy: what the workers computed, of what they could have in the time, lost work not counted; the limit is 100 %.
steady: the same from the time on when all workers are there until the last row has been handed out.

Exit code 1 where the whole run is busy less than it should be or the driver takes more memory. A run ends with its last
straggler, 25 s in which nearly all are idle: of ten million rows, 1 070 s, that is 2 %, of a million it would be 15 %.
"""

from __future__ import annotations

import argparse
import heapq
import importlib
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.exceptions as rx
from figures import process_mb  # beside this file
from limits import BUSY_LEAST, Limit, add_flag, exit_code, promise
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import Figures, keep, machine, table

from farm import actors, engine
from farm.engine import Engine
from farm.pace import Pace
from farm.params import UpscaleParams
from farm.records import ManifestRow, Part, PartKind, Unit, WorkItem
from farm.schedule import Finished, Schedule, SchedulePolicy
from farm.slots import EngineConfig, Slot
from farm.tasks.base import WorkerContext
from farm.worker import WorkerInfo

ROW_S = 0.1
UNIT_S = 5.0
STRAGGLERS, STRAGGLES = 0.01, 5.0
LOST_EVERY_S = 60.0
START_S = 10.0
CALL_S = 270e-6
"""of the driver for each call with its answer: 3 700 a second, measured with Ray 2.60"""
REFERENCE_S = 1e-6
"""of ray.wait for each reference that it is given"""
MEMORY_MOST_MB = 1000.0
PX = 40_000
SHARD_ROWS = 50_000
sys.path.insert(0, str(Path(__file__).parents[1]))
PARAMS: UpscaleParams = importlib.import_module("tests.farm.items").PARAMS
MODEL = PARAMS.model


class Clock:
    """In place of the module time: what the driver takes of a processor, and what was jumped over."""

    def __init__(self) -> None:
        self._zero = time.process_time()
        self.skipped_s = 0.0

    def monotonic(self) -> float:
        return time.process_time() - self._zero + self.skipped_s

    def sleep(self, seconds: float) -> None:
        self.skipped_s += seconds


@dataclass(slots=True, eq=False)
class Reference:
    """An answer that will come, or has."""

    actor: Actor
    unit: Unit | None
    """None: that the worker is there"""
    begins_s: float
    ends_s: float
    infer_s: float = 0.0
    is_lost: bool = False


@dataclass(slots=True, eq=False)
class Actor:
    """A worker of the made-up fleet: it does one unit after the other."""

    name: str
    free_s: float
    pending: dict[Reference, None] = field(default_factory=dict[Reference, None])
    is_lost: bool = False


@dataclass(slots=True)
class Outcome:
    """As much of a Done as is looked at here."""

    part_id: str
    source_px: int
    infer_s: float


class Fleet:
    """In place of the module ray, and of the class of its actors."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._due: list[tuple[float, int, Reference]] = []
        self._sequence = 0
        self._ready: dict[bool, deque[Reference]] = {True: deque(), False: deque()}
        """those that have come, by whether they are of a unit"""
        self._actors: dict[str, Actor] = {}
        self._next_loss_s = LOST_EVERY_S
        self.intervals: list[tuple[float, float]] = []
        """that were computed and came back"""
        self.lost_s = 0.0
        """that were computed for nothing"""
        self.ray_s = 0.0
        """of the driver's core that Ray itself would have taken"""
        self.losses = self.calls = self.waits = 0

    # -- what the engine calls ---------------------------------------------------------------------------------

    def options(self, **_: Any) -> Fleet:
        return self

    def remote(self, context: WorkerContext) -> Handle:
        actor = self._actors[context.name] = Actor(context.name, self._clock.monotonic() + START_S)
        return Handle(self, actor)

    def wait(self, references: list[Reference], num_returns: int, timeout: float) -> tuple[list[Reference], list[Any]]:
        self._take(REFERENCE_S * len(references))
        self.waits += 1
        ready = self._ready[references[0].unit is not None]
        until_s = self._clock.monotonic() + timeout
        while True:
            self._come(self._clock.monotonic())
            if ready or self._clock.monotonic() >= until_s:
                break
            next_s = min(until_s, self._next_loss_s, self._due[0][0] if self._due else until_s)
            self._clock.sleep(max(0.0, next_s - self._clock.monotonic()))
        return [ready[at] for at in range(min(num_returns, len(ready)))], []

    def get(self, reference: Reference) -> Any:
        ready = self._ready[reference.unit is not None]
        if reference.is_lost:  # nobody asks for the others of this worker any more
            self._ready[reference.unit is not None] = deque(one for one in ready if one.actor is not reference.actor)
            raise rx.RayActorError
        ready.remove(reference)
        if reference.unit is None:
            return WorkerInfo(name=reference.actor.name, node="n", pid=1, device="cpu")
        px = sum(part.cost_px for part in reference.unit.parts)
        return tuple(
            Outcome(part.part_id, part.cost_px, reference.infer_s * part.cost_px / px) for part in reference.unit.parts
        )

    def kill(self, handle: Handle, no_restart: bool) -> None:
        """Nothing has to be ended."""

    # -- what happens ------------------------------------------------------------------------------------------

    def begin(self, actor: Actor, unit: Unit | None) -> Reference:
        """A call: it lasts as long as its rows take."""
        now = self._clock.monotonic()
        if unit is None:
            reference = Reference(actor, None, now, actor.free_s)
        else:
            self.calls += 1
            self._take(CALL_S)
            lasts_s = ROW_S * sum(part.cost_px for part in unit.parts) / PX
            if self._random.random() < STRAGGLERS:
                lasts_s *= STRAGGLES
            begins_s = max(now, actor.free_s)
            reference = Reference(actor, unit, begins_s, begins_s + lasts_s, lasts_s)
            actor.free_s = reference.ends_s
        actor.pending[reference] = None
        self._sequence += 1
        heapq.heappush(self._due, (reference.ends_s, self._sequence, reference))
        return reference

    def _take(self, seconds: float) -> None:
        """Of the driver's core, by Ray."""
        self._clock.sleep(seconds)
        self.ray_s += seconds

    def _come(self, now: float) -> None:
        """All that has happened until now."""
        while self._next_loss_s <= now:
            self._lose(self._next_loss_s)
            self._next_loss_s += LOST_EVERY_S
        while self._due and self._due[0][0] <= now:
            _, _, reference = heapq.heappop(self._due)
            if reference.is_lost:
                continue
            del reference.actor.pending[reference]
            self._ready[reference.unit is not None].append(reference)
            if reference.unit is not None:
                self.intervals.append((reference.begins_s, reference.ends_s))

    def _lose(self, now: float) -> None:
        """One worker that has units, with all of them."""
        there = [actor for actor in self._actors.values() if actor.pending and next(iter(actor.pending)).unit]
        if not there:
            return
        actor = self._random.choice(there)
        self.losses += 1
        for reference in actor.pending:
            reference.is_lost = True
            self.lost_s += max(0.0, min(now, reference.ends_s) - reference.begins_s)
            self._ready[reference.unit is not None].append(reference)
        actor.pending.clear()


class Handle:
    """Of an actor: handle.run.options(name=...).remote(unit), handle.__ray_call__.remote(introduce)."""

    def __init__(self, fleet: Fleet, actor: Actor, *, is_info: bool = False) -> None:
        self._fleet, self._actor, self._is_info = fleet, actor, is_info

    @property
    def __ray_call__(self) -> Handle:
        return Handle(self._fleet, self._actor, is_info=True)

    @property
    def run(self) -> Handle:
        return self

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, given: Any, *_: object) -> Reference:
        return self._fleet.begin(self._actor, None if self._is_info else given)


class NoSession:
    """As farm.session.Session, of a cluster that is always there."""

    head = None

    def connect(self) -> None:
        """There is nothing to start."""

    def disconnect(self) -> None:
        """There is nothing to end."""


class Rows:
    """The rows of the manifest, made as they are asked for; of sizes that differ by a half."""

    def __init__(self, rows: int, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self.exhausted_s = 0.0

    def parts(self) -> Iterator[Part]:
        row = ManifestRow(index=0, source_url="/in/a.png", relative_path="a.png")
        for index in range(self._rows):
            px = PX // 2 + index * 7919 % PX
            item = WorkItem(
                item_id=f"{index:040x}",
                shard=index // SHARD_ROWS,
                row=row,
                task="upscale_image",
                params=PARAMS,
                params_hash="p",
                source_version="v",
                output_url=f"/out/{index}_4x.png",
                cost_px=px,
            )
            yield Part(item=item, kind=PartKind.PICTURE, cost_px=px)
        self.exhausted_s = self._clock.monotonic()


def slots(actors: int) -> list[Slot]:
    made = []
    for index in range(actors):
        context = WorkerContext(
            name=f"w{index}",
            run="r",
            driver_host="h",
            out="/o",
            device="cpu",
            io_threads=1,
            units_in_flight=2,
            memory_bytes=1,
        )
        made.append(Slot(context=context, num_cpus=1, num_gpus=0))
    return made


def simulate(count: int, rows: int, seed: int = 1) -> Figures:
    """Run all rows; gives what became of the time."""
    clock = Clock()
    fleet = Fleet(clock, seed)
    with ExitStack() as stack:
        for room, name, made in (
            (engine, "time", clock),
            (actors, "time", clock),
            (engine, "ray", fleet),
            (actors, "ray", fleet),
            (actors, "_RemoteWorker", fleet),
            (engine, "Session", lambda *_, **__: NoSession()),
        ):
            stack.callback(setattr, room, name, getattr(room, name))
            setattr(room, name, made)
        return _simulate(clock, fleet, count, rows)


def _simulate(clock: Clock, fleet: Fleet, workers: int, rows: int) -> Figures:
    pace = Pace(floors_px_s={MODEL: 1000.0}, unit_s=UNIT_S, cap_px=4_194_304)
    schedule = Schedule(SchedulePolicy(), pace)
    config = EngineConfig(
        address="made-up",
        embedded_cpus=0,
        embedded_gpus=0,
        wait_s=600.0,
        min_workers=0,
        deadline_s=pace.deadline_s,
    )
    driven = Engine(config, slots(workers), schedule)
    made, done, turns = Rows(rows, clock), 0, 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    driven.on_turn = turn
    begun_s = time.process_time()
    with driven:
        ready_s = clock.monotonic()
        for finished in driven.run(made.parts()):
            done += _observe(pace, finished)
    driver_s = time.process_time() - begun_s
    ends_s = clock.monotonic()
    return {
        "actors": workers,
        "rows": rows,
        "done": done,
        "units": fleet.calls,
        "rows_a_unit": rows / fleet.calls,
        "workers_lost": fleet.losses,
        "seconds": ends_s,
        "busy": _share(fleet.intervals, workers, ready_s, ends_s),
        "steady": _share(fleet.intervals, workers, ready_s, made.exhausted_s),
        "lost": fleet.lost_s / (workers * (ends_s - ready_s)),
        "driver_cpu_s": driver_s,
        "ray_s": fleet.ray_s,
        "driver_busy": (driver_s + fleet.ray_s) / (ends_s - ready_s),
        "dispatches_a_second": fleet.calls / (driver_s + fleet.ray_s),
        "rows_a_second": rows / (driver_s + fleet.ray_s),
        "turns": turns,
        "peak_mb": process_mb(),
        "retries": schedule.mishaps.retries,
    }


def _observe(pace: Pace, finished: Finished) -> int:
    """As a run does with what has ended."""
    outcome = finished.outcome
    pace.observe(finished.part, outcome.source_px, outcome.infer_s)  # type: ignore[union-attr]
    return isinstance(outcome, Outcome)


def _share(intervals: list[tuple[float, float]], actors: int, first_s: float, last_s: float) -> float:
    """Of the time of all workers between two moments that was computed, of work that came back."""
    computed = sum(max(0.0, min(end, last_s) - max(begin, first_s)) for begin, end in intervals)
    return computed / (actors * (last_s - first_s))


def shown(found: Figures) -> str:
    rows = [
        ("rows, all done", f"{found['rows']:,}, {found['done'] == found['rows']}"),
        ("workers; lost on the way", f"{found['actors']}; {found['workers_lost']}"),
        ("units; rows a unit; rows run again", f"{found['units']:,}; {found['rows_a_unit']:.1f}; {found['retries']}"),
        ("time of the fleet", f"{found['seconds']:,.0f} s"),
        ("**busy, whole run** (limit 100 %)", f"**{found['busy']:.2%}**"),
        ("busy, steady (limit 100 %)", f"{found['steady']:.2%}"),
        ("idle share, whole run", f"{1 - found['busy'] - found['lost']:.2%}"),
        ("computed for nothing, by lost workers", f"{found['lost']:.3%}"),
        (
            "driver: seconds of processor; of Ray's calls and waits",
            f"{found['driver_cpu_s']:.0f} s; {found['ray_s']:.0f} s",
        ),
        ("driver: share of one core, both together", f"{found['driver_busy']:.1%}"),
        (
            "driver: units (rows) it could dispatch in a second",
            f"{found['dispatches_a_second']:,.0f} ({found['rows_a_second']:,.0f})",
        ),
        ("driver: largest memory", f"{found['peak_mb']:.0f} MB"),
    ]
    return table(("what", "figure"), rows)


def limits(found: Figures) -> list[Limit]:
    return [
        promise("all rows done", holds=found["done"] == found["rows"]),
        Limit(what="workers busy, whole run", found=found["busy"], least=BUSY_LEAST, digits=4),
        Limit(what="driver's memory, MB", found=found["peak_mb"], most=MEMORY_MOST_MB, digits=0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    add_flag(parser)
    arguments = parser.parse_args()
    found = {**machine("ray"), **simulate(arguments.actors, arguments.rows, arguments.seed)}
    held = limits(found)
    print(shown(found), shown_limits(held), sep="\n\n")
    keep("fleet", found | {"limits": kept_limits(held)})
    return exit_code(held, arguments)


if __name__ == "__main__":
    sys.exit(main())
