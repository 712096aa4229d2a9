"""The driver's side of Ray: dispatch and what comes back. Nothing about pixels, nothing about storage.

`Engine.run` pulls parts from an iterator, keeps every worker supplied and yields what ended. Retries, strikes and order
are decided by farm.schedule, who works by farm.actors; here is what Ray tells of calls: that one returned, or of
what its actor died.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import ray
import ray.exceptions as rx

from farm import clock, failpoints
from farm.actors import DEATHS, POLL_S, Actors, cause_of, ready
from farm.calls import Call, Calls, Ends
from farm.records import Outcome, Part
from farm.schedule import DeathCause, Finished, Schedule
from farm.session import Session, first_line
from farm.slots import EngineConfig, Slot
from farm.title import unit_title
from farm.turn import Wait
from farm.worker import WorkerInfo

_STOP_GRACE_S = 6.0
"""for what is in flight, from the signal on; Ray's own end takes two seconds more"""
_ENDING_S = 3.0
"""that the end of Ray and the last writing are given before a run is to be over"""
_FILL_PARTS, _FILL_S = 128, 0.02
"""parts pulled between two looks at the workers; more where they come so quickly that the time is not over"""
_LOOK_SHARE, _LOOK_MOST_S = 0.02, 10.0
"""all calls are looked at as often as takes so much of the time, but at least every so many seconds"""


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
        self._schedule = schedule
        self._calls = Calls()
        self._stop = threading.Event()
        self._stopped_s = 0.0
        """when we were asked to stop"""
        self._look_s = 0.0
        """when deadlines are looked at next: those of a thousand workers take a while"""
        self._ends = Ends(self._expected_end_s) if config.ends_s < math.inf else None
        """of what workers hold; asked for only where the run has an end itself"""
        self._ends_look_s = 0.0
        self._actors = Actors(
            config, slots, self.session, schedule, self._stop, self._stop_in_time, lambda wait: self.on_waiting(wait)
        )
        self.on_waiting: Callable[[Wait], None] = lambda wait: None  # noqa: ARG005
        """called now and then while there are workers that have no place yet, or still start"""
        self.on_turn: Callable[[], None] = lambda: None
        """called several times a second while there is work"""

    @property
    def workers(self) -> dict[str, WorkerInfo]:
        """Those that are there, by name."""
        return self._actors.workers

    # -- Ray comes and goes ------------------------------------------------------------------------------------

    def __enter__(self) -> Engine:
        try:
            self._stop_in_time()
            self.session.connect()
            self._actors.begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        self._actors.end()
        self._calls.clear()
        self.session.disconnect()

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
            self._actors.start_later()
            if (exhausted or self._schedule.is_closing) and self._schedule.empty:
                return
            yield from self._collect(POLL_S)
            yield from self._enforce_deadlines()
            self._actors.poll_starting(timeout_s=0)
            self._actors.check()
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
        self._look_at_ends()
        for name in self._schedule.with_room():
            while not self._stop.is_set() and (unit := self._schedule.next_unit(name, *self._spare_s(name))):
                failpoints.hit("claim.before")
                run = self._actors.by_name[name].handle.run.options(name=unit_title(unit))
                reference = run.remote(unit, self._actors.sharing(name))
                self._calls.add(reference, Call(unit, name, time.monotonic()))
                failpoints.hit("claim.after")
                if self._ends:
                    self._ends.changed(name)

    def _look_at_ends(self) -> None:
        if self._ends is None:
            return
        now = time.monotonic()
        if now < self._ends_look_s:
            self._ends.meet(self.workers.keys())
            return
        self._ends.look(self.workers)
        self._ends_look_s = _next_look_s(now)

    def _left_s(self) -> float:
        """Until the run is to be over."""
        return self._config.ends_s - clock.now_s()

    def _spare_s(self, name: str) -> tuple[float, float]:
        """How long one more unit of a worker may last, and of the one that may have the longest."""
        if self._ends is None:
            return math.inf, math.inf
        busy_s, least_s = self._ends.busy_s(name, time.monotonic())
        spare_s = self._left_s() - _ENDING_S
        return spare_s - busy_s, spare_s - least_s

    def _expected_end_s(self, name: str) -> float:
        """Of what a worker has in flight, on the monotonic clock."""
        call = self._calls.oldest(name)
        if call is None:
            return -math.inf
        return max(call.dispatched_s, self._actors.by_name[name].progressed_s) + self._schedule.backlog_s(name)

    def _collect(self, timeout_s: float) -> Iterator[Finished]:
        if not self._calls:
            time.sleep(0.02 if self._schedule.in_flight else timeout_s / 5)
            return
        for reference in ready(self._calls.references, timeout_s):
            call = self._calls.get(reference)
            if call is None:
                continue  # its worker died with an earlier call of this round
            try:
                outcomes = cast("tuple[Outcome, ...]", ray.get(reference))
            except DEATHS as error:
                cause = self._actors.nodes.death_cause(error, self.workers[call.worker].node_id, self.session.head)
                yield from self._bury(call.worker, cause, first_line(error))
                continue
            except rx.RayTaskError as error:
                raise cause_of(error) from error
            self._calls.remove(reference)
            actor, now = self._actors.by_name[call.worker], time.monotonic()
            self._schedule.took(call.unit, outcomes, now - max(call.dispatched_s, actor.progressed_s))
            actor.progressed_s, actor.deaths = now, 0
            finished = self._schedule.finish(call.worker, call.unit.unit_id, outcomes)
            if self._ends:
                self._ends.changed(call.worker)
            yield from finished

    def _bury(self, name: str, cause: DeathCause, detail: str) -> Iterator[Finished]:
        self._calls.bury(name)
        if self._ends:
            self._ends.changed(name)
        finished = self._schedule.death(name, cause, detail)
        self._actors.replace(name, detail)
        yield from finished

    def _enforce_deadlines(self) -> Iterator[Finished]:
        now = time.monotonic()
        if now < self._look_s:
            return
        late = [
            (call, limit_s)
            for call in self._calls
            if self._waited_s(call, now) > (limit_s := self._config.deadline_s(call.unit))
        ]
        self._look_s = _next_look_s(now)
        for call, limit_s in late:
            if call in self._calls:  # not buried with one before
                yield from self._bury(call.worker, DeathCause.TIMEOUT, f"not finished after {limit_s:.0f} s")

    def _waited_s(self, call: Call, now: float) -> float:
        """How long a call may have been worked on."""
        return now - max(call.dispatched_s, self._actors.by_name[call.worker].progressed_s)

    def _drain(self) -> Iterator[Finished]:
        """After `stop`: what finishes within the grace is kept, the rest is killed with its actor."""
        for name in self.workers:
            self._actors.by_name[name].handle.stop.remote()
        until_s = self._stopped_s + _STOP_GRACE_S
        while self._calls and time.monotonic() < until_s:
            yield from self._collect(POLL_S)


def _next_look_s(begun_s: float) -> float:
    """When all calls should be looked at again, after a look that was begun then and ends now."""
    took_s = time.monotonic() - begun_s
    return begun_s + min(took_s / _LOOK_SHARE, _LOOK_MOST_S)
