"""The actors of a run: asked for when it is its turn, waited for, replaced when they die, ended.

Which of them works on what is the engine's (farm.engine), what follows from a death is the schedule's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import ray
import ray.exceptions as rx

from farm.errors import FarmError, StalledError, UnreachableError
from farm.node import Nodes, introduce
from farm.schedule import Schedule
from farm.session import Session, start_failure
from farm.sharing import Places, Queue, Turn, too_few
from farm.slots import EngineConfig, Slot
from farm.turn import State, Wait
from farm.worker import Worker, WorkerInfo

DEATHS = (rx.RayActorError, rx.NodeDiedError, rx.WorkerCrashedError, rx.OutOfMemoryError)
POLL_S = 0.25
_START_LIMIT_S = 180.0
_LOST_LIMIT_S = 110.0
_LOG = logging.getLogger("farm.actors")
_RemoteWorker: Any = ray.remote(Worker)


@dataclass(slots=True, eq=False)
class Actor:
    slot: Slot
    handle: Any
    starting: Any
    """reference to the answer of `introduce`; None once it has come"""
    started_s: float
    deaths: int = 0
    """of the slot's actors, since one of them last brought back a unit"""
    progressed_s: float = 0.0
    """when a call last returned; deadlines of queued calls count from here"""


class Actors:
    """One for each slot that is in use. `stop`: set once the run is to end; `stop_in_time` sets it when its time has
    come, and is called while there is nothing but waiting."""

    def __init__(
        self,
        config: EngineConfig,
        slots: list[Slot],
        session: Session,
        schedule: Schedule,
        stop: threading.Event,
        stop_in_time: Callable[[], None],
        on_waiting: Callable[[Wait], None],
    ) -> None:
        self._config = config
        at_first = len(slots) if config.address or config.at_first is None else config.at_first
        self._slots, self._later = slots[:at_first], slots[at_first:]
        self._session = session
        self._schedule = schedule
        self._stop = stop
        self._stop_in_time = stop_in_time
        self._on_waiting = on_waiting
        self.by_name: dict[str, Actor] = {}
        self.workers: dict[str, WorkerInfo] = {}
        """that have come, by name"""
        self.nodes = Nodes()
        self._starts: Counter[str] = Counter()
        """of actors, by slot"""
        self._ready_s = time.monotonic()
        """when there was a worker last"""
        self._queue: Queue | None = None
        """of the runs that share a cluster"""

    # -- they come and go --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Wait for our turn, ask for them, wait until they are there. Raises UnreachableError, StalledError."""
        self._await_turn()
        self._await_workers()

    def end(self) -> None:
        """Kill them all, and leave the queue; where the head is lost nobody is there to do it."""
        head = self._session.head
        if not (head and head.is_lost):
            for actor in self.by_name.values():
                _kill(actor.handle)
        self.by_name.clear()
        if self._queue:
            self._queue.leave(is_lost=head is None or head.is_lost)

    def _await_turn(self) -> None:
        """On a cluster: until it is our turn among the runs that share it, and each worker has a place; so nobody holds
        some while it waits for others."""
        head, config = self._session.head, self._config
        if head is None or self._stop.is_set():
            return
        one = self._slots[0]
        self._queue = Queue(self._session.address, one.context.run, config.priority)
        places = Places(len(self._slots), {"CPU": one.num_cpus, "GPU": one.num_gpus})
        turn = Turn(self._queue, places, config.wait_s, config.min_workers)

        def on_wait(wait: Wait) -> None:
            self._on_waiting(wait)
            self._stop_in_time()

        turn.wait(head, self._stop.is_set, on_wait)
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
        while (missing := [name for name, actor in self.by_name.items() if actor.starting is not None]) and (
            time.monotonic() < until_s and not self._stop.is_set()
        ):
            if self.workers and not self._config.address:
                break  # embedded: the first worker starts at once, the others join
            self._on_waiting(Wait(workers=len(self._slots), missing=len(missing)))
            self.poll_starting(timeout_s=POLL_S)
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

    def start_later(self) -> None:
        """The workers that were not needed at first, once more waits than those that still start will take."""
        if not self._later or self._schedule.queued <= sum(one.starting is not None for one in self.by_name.values()):
            return
        self._slots, later, self._later = [*self._slots, *self._later], self._later, []
        self._schedule.expected_workers += len(later)
        for slot in later:
            self._start_actor(slot)

    def _go_on_without(self, missing: list[str], limit_s: float) -> None:
        there = len(self.by_name) - len(missing)
        if not self._config.min_workers or there < self._config.min_workers:
            raise too_few(len(missing), len(self.by_name), str(self._config.address), limit_s)
        for name in missing:
            _kill(self.by_name.pop(name).handle)
        self._schedule.expected_workers = len(self.by_name)

    def poll_starting(self, timeout_s: float) -> None:
        waiting = {actor.starting: name for name, actor in self.by_name.items() if actor.starting is not None}
        if not waiting:
            return
        for reference in ready(list(waiting), timeout_s):
            name = waiting[reference]
            actor = self.by_name[name]
            try:
                self.workers[name] = ray.get(reference)
            except DEATHS as error:
                self.replace(name, f"did not start: {start_failure(error)}")
                continue
            except rx.RayTaskError as error:
                raise cause_of(error) from error
            self.nodes.learn(self.workers[name].node_id)
            actor.starting = None
            actor.progressed_s = time.monotonic()
            self._schedule.add_worker(name)
            self._tell_places()

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
        self.by_name[slot.name] = Actor(
            slot=slot,
            handle=handle,
            starting=handle.__ray_call__.remote(introduce),
            started_s=now,
            deaths=deaths,
            progressed_s=now,
        )

    def replace(self, name: str, detail: str) -> None:
        """A fresh actor for a slot whose actor is gone; a slot that lost too many is given up. None after `stop`."""
        gone = self.by_name.pop(name)
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
            self._schedule.expected_workers = len(self.by_name)
        if not self.by_name:
            raise UnreachableError(f"every worker died {deaths} times, the last {detail}; see `farm doctor`")

    # -- what is known of them -----------------------------------------------------------------------------------

    def _tell_places(self) -> None:
        """Whoever shares a node with our workers shares its memory, and hears of them."""
        if self._queue:
            self._queue.workers = Counter(info.node_id for info in self.workers.values())

    def sharing(self, name: str) -> int:
        """How many workers share the memory of a worker's node; 0 where it was told how much it has."""
        return self._queue.on_node(self.workers[name].node_id) if self._queue else 0

    def _check_head(self) -> None:
        """Raises StalledError where there is none any more."""
        if self._session.head and self._session.head.is_lost:
            raise self._session.head.error()

    def check(self) -> None:
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
        for name, actor in list(self.by_name.items()):
            if actor.starting is not None and now - actor.started_s > _START_LIMIT_S:
                self.replace(name, f"did not start within {_START_LIMIT_S:.0f} s")


def ready(references: list[Any], timeout_s: float) -> list[Any]:
    """Those of the references that have an answer; waits for the first one."""
    found = _wait(references, 1, timeout_s)
    return _wait(references, len(references), 0) if found and len(references) > 1 else found


def _wait(references: list[Any], count: int, timeout_s: float) -> list[Any]:
    """At most `count` of them, as soon as so many have an answer or the time is over."""
    found = cast("tuple[list[Any], list[Any]]", ray.wait(references, num_returns=count, timeout=timeout_s))
    return found[0]


def _kill(handle: Any) -> None:
    ray.kill(handle, no_restart=True)


def cause_of(error: rx.RayTaskError) -> FarmError:
    """The FarmError that a worker raised; anything else is a defect of ours and says so."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FarmError):
        return cause
    last = str(error).strip().splitlines()[-1]
    return FarmError(f"a worker failed unexpectedly: {last}; this is a defect of the farm, please report it")
