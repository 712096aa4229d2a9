"""Whose turn it is among runs that share a cluster. Pure: no Ray, no clock.

Each run has one entry, which it alone writes, and it reads those of the others. Its state goes

    WAITING -> CLAIMING -> PLACING -> WORKING

and one run at a time is PLACING: asks for places for its workers. Who has written that it claims the turn, and after
that reads of nobody who places or claims it with a better right, places; whoever claims it later has to read of that.
This holds whatever is read when, and in whichever order, as long as a run's own entry is written before it reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

_FORM = 1
_ROUNDING = 1e-3
"""Ray counts thousandths: three times a third of a GPU is one"""
_TITLES = {"GPU": ("GPU", "GPUs"), "CPU": ("CPU", "CPUs")}


class State(Enum):
    """What a run is about."""

    WAITING = "waiting"
    CLAIMING = "claiming"
    PLACING = "placing"
    WORKING = "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run, as it says itself."""

    run: str
    priority: int
    number: int
    """that it drew when it came: higher than those of all that were there"""
    state: State = State.WAITING
    beat: int = 0
    """another one every few seconds"""
    workers: Mapping[str, int] = field(default_factory=dict[str, int])
    """how many it has, by Ray's id of the node"""

    @property
    def order(self) -> tuple[int, int, str]:
        """Who has less goes first: the higher priority, then who came earlier. No two runs have the same."""
        return -self.priority, self.number, self.run


def to_bytes(entry: Entry) -> bytes:
    """As it is kept."""
    return json.dumps({**asdict(entry), "state": entry.state.value, "form": _FORM}).encode()


def from_bytes(text: bytes) -> Entry | None:
    """An entry; None for what is none that this farm understands."""
    try:
        said: dict[str, Any] = json.loads(text)
        if said.pop("form") != _FORM:
            return None
        workers = {str(node): int(count) for node, count in said["workers"].items()}
        numbers = {name: int(said[name]) for name in ("priority", "number", "beat")}
        return Entry(run=str(said["run"]), state=State(said["state"]), workers=workers, **numbers)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def next_state(mine: Entry, others: Iterable[Entry]) -> State:
    """What a run is to write next, by what it has read since its entry was written as it is."""
    others = list(others)
    if mine.state is State.WORKING:
        return State.WORKING
    if mine.state is State.PLACING:
        is_overtaken = any(one.state is State.WAITING and one.priority > mine.priority for one in others)
        return State.WAITING if is_overtaken else State.PLACING
    if any(one.state is State.PLACING for one in others):
        return State.WAITING
    if mine.state is State.WAITING:
        lined_up = (one for one in others if one.state in (State.WAITING, State.CLAIMING))
        return State.CLAIMING if all(mine.order < one.order for one in lined_up) else State.WAITING
    rivals = [one for one in others if one.state is State.CLAIMING]
    if any(one.order < mine.order for one in rivals):
        return State.WAITING
    return State.CLAIMING if rivals else State.PLACING


def before(mine: Entry, others: Iterable[Entry]) -> tuple[Entry, ...]:
    """The runs that get their workers before this one does, the next first."""
    if mine.state in (State.PLACING, State.WORKING):
        return ()
    places = (State.CLAIMING, State.PLACING)
    ahead = [one for one in others if one.state in places or (one.state is State.WAITING and one.order < mine.order)]
    return tuple(sorted(ahead, key=lambda one: (one.state is not State.PLACING, one.order)))


class Pulse:
    """Which runs are alive: those whose beat has changed lately, by the clock of who looks and no other."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: dict[str, tuple[int, float]] = {}
        """by run the beat that was read last, and when it was read first"""

    def living(self, entries: Iterable[Entry], now_s: float) -> list[Entry]:
        """Those that count. One that was never seen before does: its beat has the time of the others to change."""
        entries = list(entries)
        seen = {one.run: self._seen.get(one.run, (one.beat, now_s)) for one in entries}
        self._seen = {one.run: seen[one.run] if seen[one.run][0] == one.beat else (one.beat, now_s) for one in entries}
        return [one for one in entries if now_s - self._seen[one.run][1] < self._limit_s]


def fitting(free: Iterable[Mapping[str, float]], need: Mapping[str, float]) -> int:
    """How many workers find a place, each of which needs the same, on nodes that have so much left."""
    return sum(
        min(math.floor(node.get(name, 0.0) / amount + _ROUNDING) for name, amount in need.items() if amount)
        for node in free
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a run waits for."""

    workers: int
    missing: int
    """workers that have no place yet, or do not answer yet"""
    wanted: Mapping[str, float] = field(default_factory=dict[str, float])
    """of the cluster's resources, for all workers; empty once they have their places and start"""
    free: Mapping[str, float] = field(default_factory=dict[str, float])
    there: Mapping[str, float] = field(default_factory=dict[str, float])
    before: Sequence[Entry] = ()
    """runs that get their workers before"""
    working: Sequence[Entry] = ()
    """runs that have theirs"""

    @property
    def text(self) -> str:
        """For people: ``waiting for 6 GPUs: 2 of 8 are free, run X (priority 0) is before us``."""
        if not self.wanted:
            return f"waiting for {self.missing} of {self.workers} workers"
        names = self._scarce
        wanted = " and ".join(_amount(name, self.wanted[name]) for name in names)
        free = " and ".join(self._free(name, with_title=len(names) > 1) for name in names)
        is_one = len(names) == 1 and self.free.get(names[0], 0.0) == 1
        return f"waiting for {wanted}: {free} {'is' if is_one else 'are'} free{self._whom}"

    @property
    def _scarce(self) -> list[str]:
        """GPUs, where they are wanted; of what every worker needs beside them only what is lacking."""
        lacking = [name for name, amount in self.wanted.items() if self.free.get(name, 0.0) < amount]
        return [name for name in ("GPU", "CPU") if name in lacking] or [max(self.wanted)]

    def _free(self, name: str, *, with_title: bool) -> str:
        there = self.there.get(name, 0.0)
        return f"{self.free.get(name, 0.0):g} of {_amount(name, there) if with_title else f'{there:g}'}"

    @property
    def _whom(self) -> str:
        runs, at = (self.before, "before us") if self.before else (self.working, "at work")
        if not runs:
            return ""
        first, more = runs[0], len(runs) - 1
        others = f" and {more} more" if more else ""
        return f", run {first.run} (priority {first.priority}){others} {'are' if more else 'is'} {at}"

    @property
    def told(self) -> dict[str, object]:
        """For programs."""
        return {
            "workers": self.workers,
            "missing": self.missing,
            "wanted": dict(self.wanted),
            "free": {name: self.free.get(name, 0.0) for name in self.wanted},
            "there": {name: self.there.get(name, 0.0) for name in self.wanted},
            "before": [{"run": one.run, "priority": one.priority} for one in self.before],
            "working": [{"run": one.run, "priority": one.priority} for one in self.working],
        }


def _amount(name: str, amount: float) -> str:
    """``1 GPU``, ``6 GPUs``"""
    one, many = _TITLES.get(name, (name, name))
    return f"{amount:g} {one if amount == 1 else many}"
