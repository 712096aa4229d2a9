"""Who works, since when, on what, and how much of the time; cheap enough for a thousand workers. Pure.

Workers say with each result where its time went. Whether one has something to do is looked up now and then. A run
lasts as long as the worker does that has most to do: what each holds counts once that may be more than an even share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from farm.progress.effort import Effort
from farm.progress.work import Likeness, held_px
from farm.records import Part, PartKind, Unit

_LOOK_EVERY_S = 0.25
_HELD_AT_ONCE = 2
"""units"""
_TRUSTED_S = 60.0
"""that a worker may have been away and be believed to be at work, though nothing has taken so long yet"""


class Roster(Protocol):
    """Whoever knows the workers: the schedule."""

    @property
    def names(self) -> Collection[str]:
        """Of the workers that are there."""
        ...

    def running(self, worker: str) -> tuple[Unit, ...]:
        """What one of them holds."""
        ...


class OneWorker:
    """For whoever does not care who works."""

    names: Collection[str] = ("",)

    def running(self, worker: str) -> tuple[Unit, ...]:  # noqa: ARG002
        return (Unit(unit_id=0, parts=()),)


@dataclass(slots=True)
class Hand:
    """One worker's time; whoever replaces a lost one goes on with it."""

    since_s: float
    back_s: float
    """when it last brought something back, or was last seen with nothing to do"""
    idle_s: float | None = None
    """when it was first seen with nothing to do; what has just come back may be waiting for its next"""
    network_s: float = 0.0
    parts: int = 0
    """that it has made"""

    @property
    def is_idle(self) -> bool:
        return self.idle_s is not None and self.back_s > self.idle_s

    @property
    def busy(self) -> float | None:
        """Share of its time, up to what it last brought back, that its network ran; None while nothing tells."""
        here_s = self.back_s - self.since_s
        return min(1.0, self.network_s / here_s) if self.parts and here_s > 0 else None

    def returned(self, effort: Effort, now_s: float) -> float:
        """How long it was away with a part."""
        away_s = now_s - self.back_s
        self.back_s, self.idle_s = now_s, None
        self.parts += effort.seconds != 0
        self.network_s += effort.network_s
        return away_s


class Crew:
    """All workers of a run."""

    def __init__(self, roster: Roster, now_s: float) -> None:
        self._roster = roster
        self._hands: dict[str, Hand] = {}
        self._looked_s = float("-inf")
        self._longest_s = _TRUSTED_S
        self._starts: list[float] = []
        """seconds that workers took before they were at their first part: models are loaded, memory is got"""
        self._held: dict[str, tuple[tuple[int, ...], Mapping[Likeness, int]]] = {}
        """by worker: the units of which it was last asked for, and what they hold"""
        self.look(now_s)

    def look(self, now_s: float) -> None:
        """See who is there, and who has nothing to do, unless that was seen just now."""
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        for name in self._roster.names:
            hand = self._hands.setdefault(name, Hand(since_s=now_s, back_s=now_s))
            if self._roster.running(name):
                hand.idle_s = None
            elif hand.idle_s is None:
                hand.idle_s = now_s
            else:
                hand.back_s = now_s

    def returned(self, effort: Effort, now_s: float) -> float:
        """A part came back; how long it has kept its worker, which has started before its first one."""
        hand = self._hands.setdefault(effort.worker, Hand(since_s=now_s, back_s=now_s))
        if not hand.parts and effort.seconds is not None:
            if not effort.seconds:
                return 0.0  # it only looked into something: its models are not there yet
            self._starts.append(max(0.0, now_s - hand.back_s - effort.seconds))
            hand.back_s += self._starts[-1]
        away_s = hand.returned(effort, now_s)
        self._longest_s = max(self._longest_s, away_s)
        return away_s

    @property
    def names(self) -> list[str]:
        """Of those that are there and have one, by their numbers."""
        return sorted(filter(None, self._roster.names), key=lambda name: (len(name), name))

    def hand(self, name: str) -> Hand | None:
        """None before anybody has looked."""
        return self._hands.get(name)

    def running(self, name: str) -> tuple[Unit, ...]:
        """What a worker holds."""
        return self._roster.running(name)

    @property
    def at_work(self) -> int:
        """Workers that have something to do, as was last seen."""
        return sum(1 for hand in self._present() if not hand.is_idle)

    def held(self, name: str) -> Mapping[Likeness, int]:
        """Source pixels of what a worker holds."""
        units = self.running(name)
        known, numbers = self._held.get(name), tuple(unit.unit_id for unit in units)
        if known is None or known[0] != numbers:
            known = self._held[name] = numbers, held_px(part for unit in units for part in unit.parts)
        return known[1]

    def under_way_s(self, now_s: float) -> float:
        """Seconds that workers have spent on what they have not brought back. Beyond the longest that anything has
        taken they only mean that things are slower."""
        return sum(min(self._away_s(hand, now_s), self._longest_s) for hand in self._present())

    def last_s(self, now_s: float, seconds: Callable[[Mapping[Likeness, int]], float], share_s: float) -> float:
        """Until what one worker holds is done, of those that hold most; `seconds`: that a worker takes for so much.
        0 where an even share of `share_s` is surely more: then nobody is asked."""
        if share_s > _HELD_AT_ONCE * self._longest_s:
            return 0.0
        present = ((name, self._hands[name]) for name in self._roster.names if name in self._hands)
        left = (seconds(self.held(name)) - self._away_s(hand, now_s) for name, hand in present if not hand.is_idle)
        return max(left, default=0.0)

    def _away_s(self, hand: Hand, now_s: float) -> float:
        """How long a worker has been at what it has not brought back; its start does not count."""
        if hand.is_idle:
            return 0.0
        start_s = sum(self._starts) / len(self._starts) if self._starts else float("inf")
        return max(0.0, now_s - hand.back_s - (0.0 if hand.parts else start_s))

    def busy(self, names: Collection[str]) -> float | None:
        """As that of one, of several together."""
        network_s, here_s = 0.0, 0.0
        for hand in (self._hands[name] for name in names if name in self._hands):
            if hand.busy is not None:
                network_s += hand.network_s
                here_s += hand.back_s - hand.since_s
        return min(1.0, network_s / here_s) if here_s > 0 else None

    def _present(self) -> list[Hand]:
        return [self._hands[name] for name in self._roster.names if name in self._hands]


def doing(units: Collection[Unit]) -> tuple[str, int]:
    """What a worker that holds these is at, as ``holiday.mp4 frames 96-143``, and how many parts wait behind it there;
    empty for nothing. The name in it is as it is: anything may be in it."""
    parts = [part for unit in units for part in unit.parts]
    return (_at(parts[0]), len(parts) - 1) if parts else ("", 0)


def _at(part: Part) -> str:
    name = part.item.row.source_url.rstrip("/").rpartition("/")[2]
    if part.kind is PartKind.SEGMENT and part.span is not None:
        first, end = part.span.frames
        return f"{name} frames {first}-{end - 1}"
    if part.kind is PartKind.BAND:
        return f"{name} part {part.index + 1}"
    return f"{name} joining" if part.kind is PartKind.JOIN else name
