"""The driver's side of Ray: actors, dispatch, liveness. Nothing about pixels, nothing about storage.

`Engine.run` pulls parts from an iterator, keeps every worker supplied and yields what ended. Retries, strikes and order
are decided by farm.schedule; here is only what Ray can tell: that a call returned, that an actor died, and of what.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import ray
import ray.exceptions as rx

from farm import clock, failpoints
from farm.errors import FarmError, StalledError, UnreachableError
from farm.node import Nodes, introduce
from farm.records import Outcome, Part, Unit
from farm.schedule import DeathCause, Finished, Schedule
from farm.session import Session, first_line, start_failure
from farm.sharing import Places, Queue, Turn, too_few
from farm.tasks.base import WorkerContext
from farm.title import unit_title
from farm.turn import State, Wait
from farm.worker import Worker, WorkerInfo

_DEATHS = (rx.RayActorError, rx.NodeDiedError, rx.WorkerCrashedError, rx.OutOfMemoryError)
_POLL_S = 0.25
_QUEUE_S = 0.5
"""between two looks at the other runs of a cluster, while we wait for our turn"""
_STOP_GRACE_S = 6.0
"""for what is in flight, from the signal on; Ray's own end takes two seconds more"""
_START_LIMIT_S = 180.0
_LOST_LIMIT_S = 110.0
_ENDING_S = 3.0
"""that the end of Ray and the last writing are given before a run is to be over"""
_FILL_PARTS, _FILL_S = 128, 0.02
"""parts pulled between two looks at the workers; more where they come so quickly that the time is not over"""
_LOOK_SHARE, _LOOK_MOST_S = 0.02, 10.0
"""deadlines are looked at as often as takes so much of the time, but at least every so many seconds"""
_LOG = logging.getLogger("farm.engine")
_RemoteWorker: Any = ray.remote(Worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One place for a worker; a fresh actor is put into it after a death."""

    context: WorkerContext
    num_cpus: float
    num_gpus: float

    @property
    def name(self) -> str:
        return self.context.name


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What the engine needs to know; everything else is in the schedule and the slots."""

    address: str | None
    """a Ray cluster, or None for an embedded one that ends with the run"""
    embedded_cpus: int
    embedded_gpus: int
    wait_s: float
    """how long to wait for all workers on a cluster, while no other run of ours has some there or gets some before"""
    priority: int = 0
    """among the runs that share a cluster; higher ones get their workers first"""
    dashboard: bool = False
    """whether an embedded one serves its dashboard"""
    min_workers: int
    """go on with so many when the wait is over; 0 means all are needed"""
    deaths_per_slot: int = 12
    """in a row, without a unit that came back: more than a part's strikes; then the slot is given up"""
    ends_s: float = math.inf
    """by `farm.clock`, when the run is to be over; no unit is begun that would last longer"""
    deadline_s: Callable[[Unit], float]
    metrics_port: int | None = None
    """where an embedded one serves metrics; None: nowhere, unless with its dashboard"""
    at_first: int | None = None
    """workers that an embedded one starts with, the others once more waits than those can take; None: all of them"""


@dataclass(slots=True, eq=False)
class _Call:
    unit: Unit
    worker: str
    dispatched_s: float


@dataclass(slots=True, eq=False)
class _Actor:
    slot: Slot
    handle: Any
    starting: Any
    """reference to the answer of `introduce`; None once it has come"""
    started_s: float
    deaths: int = 0
    """of the slot's actors, since one of them last brought back a unit"""
    progressed_s: float = 0.0
    """when a call last returned; deadlines of queued calls count from here"""


class Engine:
    """A context: Ray is there inside it, and gone with everything it started after it."""

    def __init__(self, config: EngineConfig, slots: list[Slot], schedule: Schedule) -> None:
        self.session = Session(
            config.address,
            config.embedded_cpus,
            config.embedded_gpus,
            metrics_port=config.metrics_port,
            dashboard=config.dashboard,
            at_first=len(slots) if config.at_first is None else config.at_first,
        )
        self._config = config
        at_first = len(slots) if config.address or config.at_first is None else config.at_first
        self._slots, self._later = slots[:at_first], slots[at_first:]
        self._schedule = schedule
        self._actors: dict[str, _Actor] = {}
        self._calls: dict[Any, _Call] = {}
        self._starts: Counter[str] = Counter()
        """of actors, by slot"""
        self._stop = threading.Event()
        self._stopped_s = 0.0
        """when we were asked to stop"""
        self._ready_s = time.monotonic()
        """when there was a worker last"""
        self._look_s = 0.0
        """when deadlines are looked at next: those of a thousand workers take a while"""
        self._queue: Queue | None = None
        """of the runs that share a cluster"""
        self.on_waiting: Callable[[Wait], None] = lambda wait: None  # noqa: ARG005
        """called now and then while there are workers that have no place yet, or still start"""
        self.on_turn: Callable[[], None] = lambda: None
        """called several times a second while there is work"""
        self.workers: dict[str, WorkerInfo] = {}
        self._nodes = Nodes()

    # -- Ray comes and goes ------------------------------------------------------------------------------------

    def __enter__(self) -> Engine:
        try:
            self._stop_in_time()
            self.session.connect()
            self._await_turn()
            self._await_workers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        if not (self.session.head and self.session.head.is_lost):  # nobody is there to do it
            for actor in self._actors.values():
                _kill(actor.handle)
        self._actors.clear()
        self._calls.clear()
        if self._queue:
            self._queue.leave(is_lost=self.session.head is None or self.session.head.is_lost)
        self.session.disconnect()

    # -- workers -----------------------------------------------------------------------------------------------

    def _start_actor(self, slot: Slot, deaths: int = 0) -> None:
        concurrency = self._schedule.policy.units_in_flight + 2  # and `introduce`, and `stop`
        before = self._starts[slot.name]
        self._starts[slot.name] += 1
        handle = _RemoteWorker.options(
            name=f"{slot.name}-again-{before}" if before else slot.name,  # Ray may not know yet that the last is dead
            namespace=f"farm-{slot.context.run}",
            num_cpus=slot.num_cpus,
            num_gpus=slot.num_gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=concurrency,
        ).remote(slot.context)
        now = time.monotonic()
        self._actors[slot.name] = _Actor(
            slot=slot,
            handle=handle,
            starting=handle.__ray_call__.remote(introduce),
            started_s=now,
            deaths=deaths,
            progressed_s=now,
        )

    def _await_turn(self) -> None:
        """On a cluster: until it is our turn among the runs that share it, and each worker has a place; so nobody holds
        some while it waits for others."""
        head, config = self.session.head, self._config
        if head is None or self._stop.is_set():
            return
        one = self._slots[0]
        self._queue = Queue(self.session.address, one.context.run, config.priority)
        places = Places(len(self._slots), {"CPU": one.num_cpus, "GPU": one.num_gpus})
        turn = Turn(self._queue, places, config.wait_s, config.min_workers)
        try:
            while not self._stop.is_set() and (wait := turn.poll()) is not None:
                self.on_waiting(wait)
                time.sleep(_QUEUE_S)
                self._check_head()
                self._stop_in_time()
        finally:
            if not head.is_lost:
                places.give_back()
        self._slots = self._slots[: turn.workers]

    def _await_workers(self) -> None:
        """All actors are asked for at once, so that an autoscaler sees what is missing."""
        if self._stop.is_set():
            return
        self._schedule.expected_workers = len(self._slots)
        for slot in self._slots:
            self._start_actor(slot)
        limit_s = max(self._config.wait_s, _START_LIMIT_S) if self._config.address else _START_LIMIT_S
        until_s = time.monotonic() + limit_s
        while (missing := [name for name, actor in self._actors.items() if actor.starting is not None]) and (
            time.monotonic() < until_s and not self._stop.is_set()
        ):
            if self.workers and not self._config.address:
                break  # embedded: the first worker starts at once, the others join
            self.on_waiting(Wait(workers=len(self._slots), missing=len(missing)))
            self._poll_starting(timeout_s=_POLL_S)
            self._check_head()
            self._stop_in_time()
        if self._stop.is_set():
            return
        if missing and self._config.address:
            self._go_on_without(missing, limit_s)
        elif not self.workers:
            raise UnreachableError(f"no worker started within {limit_s:.0f} s; see `farm doctor`")
        self._ready_s = time.monotonic()
        if self._queue:
            self._queue.say(State.WORKING)

    def _start_later(self) -> None:
        """The workers that were not needed at first, once more waits than those that still start will take."""
        if not self._later or self._schedule.queued <= sum(one.starting is not None for one in self._actors.values()):
            return
        self._slots, later, self._later = [*self._slots, *self._later], self._later, []
        self._schedule.expected_workers += len(later)
        for slot in later:
            self._start_actor(slot)

    def _go_on_without(self, missing: list[str], limit_s: float) -> None:
        there = len(self._actors) - len(missing)
        if not self._config.min_workers or there < self._config.min_workers:
            raise too_few(len(missing), len(self._actors), str(self._config.address), limit_s)
        for name in missing:
            _kill(self._actors.pop(name).handle)
        self._schedule.expected_workers = len(self._actors)

    def _poll_starting(self, timeout_s: float) -> None:
        waiting = {actor.starting: name for name, actor in self._actors.items() if actor.starting is not None}
        if not waiting:
            return
        for reference in _ready(list(waiting), timeout_s):
            name = waiting[reference]
            actor = self._actors[name]
            try:
                self.workers[name] = ray.get(reference)
            except _DEATHS as error:
                self._replace(name, f"did not start: {start_failure(error)}")
                continue
            except rx.RayTaskError as error:
                raise _cause(error) from error
            self._nodes.learn(self.workers[name].node_id)
            actor.starting = None
            actor.progressed_s = time.monotonic()
            self._schedule.add_worker(name)
            self._tell_places()

    def _tell_places(self) -> None:
        """Whoever shares a node with our workers shares its memory, and hears of them."""
        if self._queue:
            self._queue.workers = Counter(info.node_id for info in self.workers.values())

    def _sharing(self, name: str) -> int:
        """How many workers share the memory of a worker's node; 0 where it was told how much it has."""
        return self._queue.on_node(self.workers[name].node_id) if self._queue else 0

    def _replace(self, name: str, detail: str) -> None:
        """A fresh actor for a slot whose actor is gone; a slot that lost too many is given up. None after `stop`."""
        gone = self._actors.pop(name)
        _kill(gone.handle)
        if self.workers.pop(name, None) is not None:
            self._schedule.remove_worker(name)
            self._tell_places()
        deaths = gone.deaths + 1
        _LOG.warning("worker %s lost (%d): %s", name, deaths, detail)
        if self._stop.is_set():
            return  # for it there is no work any more
        if deaths < self._config.deaths_per_slot:
            self._start_actor(gone.slot, deaths)
        else:
            self._schedule.expected_workers = len(self._actors)
        if not self._actors:
            raise UnreachableError(f"every worker died {deaths} times, the last {detail}; see `farm doctor`")

    # -- the loop ----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop dispatching; `run` ends once what is in flight has stopped. For a signal handler of the main thread.

        The start of Ray, which lasts seconds, is broken off, by raising Interrupt into it.
        """
        self._stop.set()
        self._stopped_s = time.monotonic()
        self.session.break_off()

    def add(self, parts: Iterable[Part]) -> None:
        """Parts that follow from what has ended: bands of a picture, its join."""
        self._schedule.add(parts, first=True)

    def run(self, parts: Iterator[Part]) -> Iterator[Finished]:
        """Run everything; yields each part that has ended, in no order. Raises FarmError when the run cannot go on."""
        exhausted = False
        while not self._stop.is_set():
            self.on_turn()
            self._stop_in_time()
            exhausted = exhausted or self._fill(parts)
            self._schedule.more_follow = not exhausted
            self._dispatch()
            self._start_later()
            if (exhausted or self._schedule.is_closing) and self._schedule.empty:
                return
            yield from self._collect(_POLL_S)
            yield from self._enforce_deadlines()
            self._poll_starting(timeout_s=0)
            self._check_alive()
        yield from self._drain()

    def _stop_in_time(self) -> None:
        """As a signal would, when the run is to be over."""
        if self._left_s() <= 0 and not self._stop.is_set():
            self.stop()

    def _fill(self, parts: Iterator[Part]) -> bool:
        """Pull parts up to the look-ahead; True when there are no more."""
        until_s = time.monotonic() + _FILL_S
        for count in itertools.count():
            if not self._schedule.wants_more or self._stop.is_set():
                break
            if count >= _FILL_PARTS and time.monotonic() >= until_s:
                break
            part = next(parts, None)
            if part is None:
                return True
            self._schedule.add([part])
        return False

    def _dispatch(self) -> None:
        """Give each worker that has room what it should have. Only with an end of the run its spare time counts."""
        spare_s = self._spare_all() if self._config.ends_s < math.inf else {}
        most_s = max(spare_s.values(), default=math.inf)
        for name in self._schedule.with_room():
            while not self._stop.is_set() and (
                unit := self._schedule.next_unit(name, spare_s.get(name, math.inf), most_s)
            ):
                failpoints.hit("claim.before")
                run = self._actors[name].handle.run.options(name=unit_title(unit))
                reference = run.remote(unit, self._sharing(name))
                self._calls[reference] = _Call(unit, name, time.monotonic())
                failpoints.hit("claim.after")
                if spare_s:
                    spare_s[name] = self._spare_s(name, time.monotonic(), self._left_s())
                    most_s = max(spare_s.values())

    def _spare_all(self) -> dict[str, float]:
        now, left_s = time.monotonic(), self._left_s()
        return {name: self._spare_s(name, now, left_s) for name in self.workers}

    def _left_s(self) -> float:
        """Until the run is to be over."""
        return self._config.ends_s - clock.now_s()

    def _spare_s(self, name: str, now: float, left_s: float) -> float:
        """How long one more unit of a worker may last, `left_s` before the end, at `now` on the monotonic clock."""
        begun_s = min((call.dispatched_s for call in self._calls.values() if call.worker == name), default=now)
        begun_s = max(begun_s, self._actors[name].progressed_s)
        busy_s = max(0.0, begun_s + self._schedule.backlog_s(name) - now)
        return left_s - _ENDING_S - busy_s

    def _collect(self, timeout_s: float) -> Iterator[Finished]:
        if not self._calls:
            time.sleep(0.02 if self._schedule.in_flight else timeout_s / 5)
            return
        for reference in _ready(list(self._calls), timeout_s):
            call = self._calls.get(reference)
            if call is None:
                continue  # its worker died with an earlier call of this round
            try:
                outcomes = cast("tuple[Outcome, ...]", ray.get(reference))
            except _DEATHS as error:
                cause = self._nodes.death_cause(error, self.workers[call.worker].node_id, self.session.head)
                yield from self._bury(call.worker, cause, first_line(error))
                continue
            except rx.RayTaskError as error:
                raise _cause(error) from error
            del self._calls[reference]
            actor, now = self._actors[call.worker], time.monotonic()
            self._schedule.took(call.unit, outcomes, now - max(call.dispatched_s, actor.progressed_s))
            actor.progressed_s, actor.deaths = now, 0
            yield from self._schedule.finish(call.worker, call.unit.unit_id, outcomes)

    def _bury(self, name: str, cause: DeathCause, detail: str) -> Iterator[Finished]:
        self._calls = {reference: call for reference, call in self._calls.items() if call.worker != name}
        finished = self._schedule.death(name, cause, detail)
        self._replace(name, detail)
        yield from finished

    def _enforce_deadlines(self) -> Iterator[Finished]:
        now = time.monotonic()
        if now < self._look_s:
            return
        late = [
            (call, limit_s)
            for call in self._calls.values()
            if self._waited_s(call, now) > (limit_s := self._config.deadline_s(call.unit))
        ]
        took_s = time.monotonic() - now
        self._look_s = now + min(took_s / _LOOK_SHARE, _LOOK_MOST_S)
        for call, limit_s in late:
            if call.worker in self._actors and call in self._calls.values():  # not buried with one before
                yield from self._bury(call.worker, DeathCause.TIMEOUT, f"not finished after {limit_s:.0f} s")

    def _waited_s(self, call: _Call, now: float) -> float:
        """How long a call may have been worked on; nothing where its worker is gone."""
        actor = self._actors.get(call.worker)
        return now - max(call.dispatched_s, actor.progressed_s) if actor else -math.inf

    def _check_head(self) -> None:
        """Raises StalledError where there is none any more."""
        if self.session.head and self.session.head.is_lost:
            raise self.session.head.error()

    def _check_alive(self) -> None:
        """Replace actors that do not come up; give up when there has been none for too long, or the head is lost."""
        self._check_head()
        now = time.monotonic()
        if self.workers:
            self._ready_s = now
        elif now - self._ready_s > _LOST_LIMIT_S:
            raise StalledError(
                f"no worker has come back for {_LOST_LIMIT_S:.0f} s; run the same command again to finish, "
                "and see `farm doctor` or the cluster's state"
            )
        for name, actor in list(self._actors.items()):
            if actor.starting is not None and now - actor.started_s > _START_LIMIT_S:
                self._replace(name, f"did not start within {_START_LIMIT_S:.0f} s")

    def _drain(self) -> Iterator[Finished]:
        """After `stop`: what finishes within the grace is kept, the rest is killed with its actor."""
        for name in self.workers:
            self._actors[name].handle.stop.remote()
        until_s = self._stopped_s + _STOP_GRACE_S
        while self._calls and time.monotonic() < until_s:
            yield from self._collect(_POLL_S)


def _ready(references: list[Any], timeout_s: float) -> list[Any]:
    """Those of the references that have an answer; waits for the first one."""
    found = _wait(references, 1, timeout_s)
    return _wait(references, len(references), 0) if found and len(references) > 1 else found


def _wait(references: list[Any], count: int, timeout_s: float) -> list[Any]:
    """At most `count` of them, as soon as so many have an answer or the time is over."""
    found = cast("tuple[list[Any], list[Any]]", ray.wait(references, num_returns=count, timeout=timeout_s))
    return found[0]


def _kill(handle: Any) -> None:
    ray.kill(handle, no_restart=True)


def _cause(error: rx.RayTaskError) -> FarmError:
    """The FarmError that a worker raised; anything else is a defect of ours and says so."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FarmError):
        return cause
    last = str(error).strip().splitlines()[-1]
    return FarmError(f"a worker failed unexpectedly: {last}; this is a defect of the farm, please report it")
