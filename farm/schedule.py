"""What may start, what to try again and what to give up: a pure state machine. No Ray, no clock, no I/O.

The driver owns retries. After a worker's death the units it had in flight are split into their parts, and each part is
run again alone: a strike counts only for a part that was alone in flight. Three strikes set a part aside; when
everything else is finished it gets one last run alone. A death by memory is no strike but one retry at batch 1.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain

from farm.errors import ErrorKind
from farm.expected import Expected, kept_px, model_key, work_px
from farm.pace import Pace
from farm.records import Failed, Outcome, Part, Unit
from farm.waiting import NOT_BEGUN, Waiting

_CRUMBS = 4
"""a unit is no smaller than such a share of its target while more parts follow"""


class DeathCause(str, Enum):
    """Why a worker is gone."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NODE = "node"
    """the machine went away; nobody's fault"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePolicy:
    """The numbers of the state machine."""

    units_in_flight: int = 2
    """units a worker holds; more bought nothing when it was measured"""
    strikes: int = 3
    attempts: int = 3
    """runs of a part that fails with a retryable error"""
    max_parts: int = 64
    """parts of one unit"""
    look_ahead: int = 2048
    """parts that wait in memory, at least; rows are grouped by model within it"""
    ahead_a_worker: int = 64
    """and at least so many for each worker: with few, those that are all free at once would be given crumbs"""
    largest_first: bool = True
    """when no more follow; false where an order was asked for, or the time may be too short for all"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A part has ended for good."""

    part: Part
    outcome: Outcome
    attempts: int


@dataclass(slots=True)
class Mishaps:
    """What went wrong so far, whatever became of it."""

    retries: int = 0
    """parts that were started again"""
    out_of_memory: int = 0
    """runs of a part that failed because memory was out"""
    deaths: Counter[DeathCause] = field(default_factory=Counter[DeathCause])
    """of workers"""


@dataclass(slots=True)
class _Record:
    """What is remembered of a part that has been started at least once."""

    attempts: int = 0
    strikes: int = 0
    last_run: bool = False


@dataclass(slots=True)
class _WorkerState:
    models: list[str] = field(default_factory=list[str])
    """that it has been given, the last one last; it may still hold the earlier ones"""
    running: dict[int, Unit] = field(default_factory=dict[int, Unit])
    running_px: dict[int, int] = field(default_factory=dict[int, int])
    """what those of them keep it busy with that are not alone, by id"""


class Schedule:
    """Parts go in by `add`, units go out by `next_unit`, what ended comes back from `finish` and `death`."""

    def __init__(self, policy: SchedulePolicy, pace: Pace) -> None:
        self.policy = policy
        self._pace = pace
        self._expected = Expected(pace.rate)
        self.expected_workers = 0
        """workers that will be there, counting those that still start"""
        self._waiting = Waiting()
        self._running_px = 0
        """of all workers"""
        self._alone: deque[tuple[Part, int | None]] = deque()
        self._set_aside: list[Part] = []
        self._workers: dict[str, _WorkerState] = {}
        self._room: dict[str, None] = {}
        """workers that may be given more, who has waited longest first"""
        self._records: dict[str, _Record] = {}
        self._dropped: set[str] = set()
        self._next_unit_id = 0
        self.more_follow = False
        """whether there are parts that have not been added yet"""
        self.is_closing = False
        """whether something was left because it would not have ended in time; then no more is wanted"""
        self.mishaps = Mishaps()

    # -- what goes in ------------------------------------------------------------------------------------------

    def add_worker(self, worker: str) -> None:
        self._workers[worker] = _WorkerState()
        self._room[worker] = None

    def remove_worker(self, worker: str) -> None:
        """Forget a worker that holds nothing."""
        if self._workers[worker].running:
            raise ValueError(f"{worker} still has units in flight")
        del self._workers[worker]
        self._room.pop(worker, None)

    def add(self, parts: Iterable[Part], *, first: bool = False) -> None:
        """Queue parts; `first` puts them before everything else (bands and joins of a picture already begun)."""
        (self._waiting.put_first if first else self._waiting.add)(parts)

    def drop_item(self, item_id: str) -> None:
        """Do not start any further part of an item that has already failed."""
        self._dropped.add(item_id)

    def forget_dropped(self) -> set[str]:
        """Forget dropped items of which no part is left; the others, whose parts wait or run."""
        running = (part for state in self._workers.values() for unit in state.running.values() for part in unit.parts)
        parts = chain(running, self._waiting, (part for part, _ in self._alone), self._set_aside)
        self._dropped &= {part.item.item_id for part in parts}
        return set(self._dropped)

    # -- what is asked -----------------------------------------------------------------------------------------

    @property
    def wants_more(self) -> bool:
        return not self.is_closing and self._waiting.parts < self._look_ahead

    @property
    def _look_ahead(self) -> int:
        """Parts that should wait."""
        return max(self.policy.look_ahead, self.policy.ahead_a_worker * len(self._workers))

    @property
    def in_flight(self) -> int:
        return sum(len(state.running) for state in self._workers.values())

    @property
    def queued(self) -> int:
        """Parts that wait for a worker."""
        return self._waiting.parts + len(self._alone) + len(self._set_aside)

    @property
    def workers(self) -> int:
        """Workers that are there."""
        return len(self._workers)

    @property
    def names(self) -> Collection[str]:
        """Of the workers that are there."""
        return self._workers.keys()

    @property
    def empty(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._waiting.parts or self._alone or self._set_aside or self.in_flight)

    def running(self, worker: str) -> tuple[Unit, ...]:
        return tuple(self._workers[worker].running.values())

    def took(self, unit: Unit, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A unit that comes back has kept its worker for so long."""
        self._expected.took(unit, outcomes, seconds)

    def backlog_s(self, worker: str) -> float:
        """Seconds that the units of a worker are expected to take together, from when the first was begun."""
        return sum(self._expected.part_s(part) for unit in self.running(worker) for part in unit.parts)

    # -- what goes out -----------------------------------------------------------------------------------------

    def with_room(self) -> list[str]:
        """Workers that hold less than they may, while something waits: for all others nothing is to be asked."""
        return list(self._room) if self.queued else []

    def next_unit(self, worker: str, spare_s: float = math.inf, most_s: float = math.inf) -> Unit | None:
        """The next unit for a worker, or None when it should wait.

        `spare_s`: how long it may last on this worker, `most_s`: on any. What takes longer than that is left.
        """
        state = self._workers[worker]
        self._release_set_aside()
        if any(unit.alone for unit in state.running.values()):
            return None
        unit = self._next_alone(state, spare_s, most_s) if self._alone else self._next_shared(state, spare_s, most_s)
        if unit is not None:
            state.running[unit.unit_id] = unit
            if unit.alone or len(state.running) >= self.policy.units_in_flight:
                self._room.pop(worker, None)
            for part in unit.parts:
                record = self._records.setdefault(part.part_id, _Record())
                record.attempts += 1
                self.mishaps.retries += record.attempts > 1
        return unit

    def _next_alone(self, state: _WorkerState, spare_s: float, most_s: float) -> Unit | None:
        if state.running:
            return None  # drains first: whoever runs alone must be alone
        while self._alone:
            part, batch_limit = self._alone[0]
            if part.item.item_id not in self._dropped and not self._is_late(part, most_s):
                if not self._fits(part, spare_s):
                    return None
                self._alone.popleft()
                return self._unit((part,), alone=True, batch_limit=batch_limit)
            self._alone.popleft()
        return self._next_shared(state, spare_s, most_s)

    def _fits(self, part: Part, spare_s: float) -> bool:
        return spare_s == math.inf or self._expected.part_s(part) <= spare_s

    def _is_late(self, part: Part, most_s: float) -> bool:
        """Whether no worker would end a part in time: then it is left."""
        late = not self._fits(part, most_s)
        self.is_closing = self.is_closing or late
        return late

    def _next_shared(self, state: _WorkerState, spare_s: float, most_s: float) -> Unit | None:
        if not self._waiting.parts or len(state.running) >= self.policy.units_in_flight:
            return None
        if state.running and self._waiting.parts < self._crew:
            return None  # the last parts are for whoever is free first, not for a queue
        for_later = self._sorts() and bool(state.running)
        queue = self._queue_for(state, may_load=not for_later)
        if not queue or (for_later and self._would_end_last(state, queue[0])):
            return None  # nor is a picture for who would then have more than the others
        parts: list[Part] = []
        cost_px, busy_px, limit_px = 0, 0, self._unit_limit_px(queue)
        while queue and len(parts) < self.policy.max_parts:
            part, px = queue[0], work_px(queue[0])
            if parts and cost_px + px > limit_px:
                break
            is_dropped = part.item.item_id in self._dropped
            if not is_dropped and not self._is_late(part, most_s):
                if not self._fits(part, spare_s):
                    break
                parts.append(part)
                cost_px += px
                busy_px += kept_px(part)
                spare_s -= self._expected.part_s(part) if spare_s < math.inf else 0.0
            self._waiting.leave(queue, px)
        if not parts:
            return self._next_shared(state, spare_s, most_s) if self._waiting.parts and not queue else None
        if key := model_key(parts[0]):
            state.models = [*(one for one in state.models if one != key), key]
        unit = self._unit(tuple(parts))
        state.running_px[unit.unit_id] = busy_px
        self._running_px += busy_px
        return unit

    @property
    def _crew(self) -> int:
        """Workers that are there or will be."""
        return max(self.expected_workers, len(self._workers))

    def _sorts(self) -> bool:
        """Whether the largest of what waits goes out first, as it then does: with one worker no order is shorter."""
        if not self.policy.largest_first or self.more_follow or self._crew < 2:
            return False
        if not self._waiting.is_sorted and self._waiting.may_end_last(self._crew):
            self._waiting.sort()
        return self._waiting.is_sorted

    def _would_end_last(self, state: _WorkerState, part: Part) -> bool:
        """Whether a picture or a film would make what a worker holds more than an even share of what waits and half of
        what runs. Bands and segments are alike: they are made ready while others are computed, as ever."""
        held_px = sum(state.running_px.values()) + kept_px(part)
        left_px = self._waiting.px + self._running_px // 2
        return part.kind in NOT_BEGUN and held_px * len(self._workers) > left_px

    def _queue_for(self, state: _WorkerState, *, may_load: bool) -> deque[Part] | None:
        """Joins first, then the models that the worker holds, then (`may_load`) one that none has, then the longest."""
        queues = self._waiting.queues
        for key in ("", *reversed(state.models)):
            if queue := queues.get(key):
                return queue
        if not may_load:
            return None
        taken = {key for other in self._workers.values() for key in other.models[-1:]}
        free = [queue for key, queue in queues.items() if queue and key not in taken]
        return max(free or queues.values(), key=len, default=None)

    def _unit_limit_px(self, queue: deque[Part] | None) -> int:
        """The target, but where few parts wait so little that every worker gets a share.

        While more follow that is no crumb: a thousand workers would ask for the next one faster than it can be given.
        """
        target_px = self._pace.target_px(model_key(queue[0])) if queue else 0
        if not target_px or self._waiting.parts >= self._look_ahead // 2:
            return target_px
        share_px = self._waiting.px // (2 * max(1, len(self._workers)))
        return min(target_px, max(share_px, target_px // _CRUMBS) if self.more_follow else share_px)

    def _unit(self, parts: tuple[Part, ...], *, alone: bool = False, batch_limit: int | None = None) -> Unit:
        self._next_unit_id += 1
        return Unit(unit_id=self._next_unit_id, parts=parts, alone=alone, batch_limit=batch_limit)

    def _release_set_aside(self) -> None:
        if self._set_aside and not (self._waiting.parts or self._alone or self.in_flight):
            for part in self._set_aside:
                self._records[part.part_id].last_run = True
                self._alone.append((part, None))
            self._set_aside.clear()

    # -- what comes back ---------------------------------------------------------------------------------------

    def finish(self, worker: str, unit_id: int, outcomes: Sequence[Outcome]) -> list[Finished]:
        """A unit came back. Parts without an outcome were stopped; they are not queued again."""
        state = self._workers[worker]
        unit = state.running.pop(unit_id)
        self._running_px -= state.running_px.pop(unit_id, 0)
        self._room[worker] = None
        parts = {part.part_id: part for part in unit.parts}
        finished: list[Finished] = []
        for outcome in outcomes:
            part = parts[outcome.part_id]
            record = self._records[part.part_id]
            self.mishaps.out_of_memory += isinstance(outcome, Failed) and outcome.kind is ErrorKind.OUT_OF_MEMORY
            if isinstance(outcome, Failed) and outcome.retryable and record.attempts < self.policy.attempts:
                self._waiting.put_back([part])
            else:
                finished.append(self._end(part, outcome))
        return finished

    def death(self, worker: str, cause: DeathCause, detail: str) -> list[Finished]:
        """A worker is gone with everything it had in flight; `detail` is one sentence for the message."""
        state = self._workers[worker]
        self.mishaps.deaths[cause] += 1
        units = list(state.running.values())
        state.running.clear()
        self._running_px -= sum(state.running_px.values())
        state.running_px.clear()
        state.models.clear()
        self._room[worker] = None
        finished: list[Finished] = []
        for unit in units:
            if cause is DeathCause.NODE:
                self._waiting.put_first(unit.parts)
            elif not unit.alone:
                self._alone.extend((part, 1 if cause is DeathCause.MEMORY else None) for part in unit.parts)
            else:
                finished.extend(self._died_alone(unit, worker, cause, detail))
        return finished

    def _died_alone(self, unit: Unit, worker: str, cause: DeathCause, detail: str) -> list[Finished]:
        part = unit.parts[0]
        if cause is DeathCause.MEMORY:
            if unit.batch_limit is not None:
                return [self._give_up(part, worker, ErrorKind.OUT_OF_MEMORY, detail)]
            self._alone.append((part, 1))
            return []
        record = self._records[part.part_id]
        record.strikes += 1
        if record.strikes < self.policy.strikes:
            self._alone.append((part, None))
            return []
        if not record.last_run:
            self._set_aside.append(part)
            return []
        kind = ErrorKind.TIMEOUT if cause is DeathCause.TIMEOUT else ErrorKind.WORKER_DIED
        return [self._give_up(part, worker, kind, detail)]

    def _give_up(self, part: Part, worker: str, kind: ErrorKind, detail: str) -> Finished:
        attempts = self._records[part.part_id].attempts
        url = part.item.row.source_url
        message = (
            f"{kind.value}: {url}: its worker was lost {attempts} times while it ran alone ({detail}); "
            "look at this input by hand, the rest of the run is not affected"
        )
        outcome = Failed(part_id=part.part_id, kind=kind, message=message, node="", worker=worker, attempt=attempts)
        return self._end(part, outcome)

    def _end(self, part: Part, outcome: Outcome) -> Finished:
        return Finished(part=part, outcome=outcome, attempts=self._records.pop(part.part_id).attempts)
