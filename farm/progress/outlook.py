"""How far a run is, how fast it goes, how long it will take: counted from what happens, at times that are given. Pure.

What is ahead is source pixels by kind; what they cost is learned in seconds of a worker; so many workers share it. What
workers are in the middle of counts by the time that they have been at it: a segment of a film may take a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from farm.progress.cost import Ratio
from farm.progress.crew import Crew, OneWorker
from farm.progress.effort import NOBODY, Effort
from farm.progress.pace import Pace
from farm.progress.work import Likeness, Row, Workload


@dataclass(slots=True)
class Film:
    """A film that is under way."""

    name: str
    total: int
    """frames"""
    before: int
    """frames that earlier runs had restored"""
    pace: Pace

    @property
    def frames(self) -> int:
        """Those that are restored."""
        return self.before + int(self.pace.amount)

    def left_s(self, now_s: float) -> float | None:
        """Seconds; None while nothing tells."""
        return self.pace.left_s(self.total - self.frames, now_s)


class Outlook:
    """Counts rows, frames and work. `total`: rows that are to be done; `work`: what they are, which this counts down;
    `refused`: rows that failed before they came to a worker, by class, counted by somebody else."""

    def __init__(self, total: int, work: Workload, now_s: float, refused: Mapping[str, int] | None = None) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self._failures: Counter[str] = Counter()
        self._refused = refused or {}
        self.films: dict[str, Film] = {}
        """that are under way, by item"""
        self._work = work
        self.begin(now_s)

    def begin(self, now_s: float, crew: Crew | None = None) -> None:
        """Workers are there: speed counts from here."""
        self.px, self.frames = Pace(now_s), Pace(now_s)
        self.crew = crew or Crew(OneWorker(), now_s)
        self._stretch = Ratio()
        """seconds that parts kept their workers, by those that their stages took: below 1 where parts overlap"""

    # -- what happens ------------------------------------------------------------------------------------------

    def cut(self, row: Row, px: int, share: float, name: str, frames: int, effort: Effort, now_s: float) -> None:
        """A row of `px` source pixels is cut; a film has so many frames. Earlier runs had done `share` of it."""
        self._work.measured(row, px, before_px=round(px * share))
        self._spent(row, 0, effort, now_s)
        if frames:
            self.films[row.item_id] = Film(name, frames, before=round(frames * share), pace=Pace(now_s))

    def piece(self, row: Row, px: int, frames: int, effort: Effort, now_s: float) -> None:
        """A band or a segment is restored."""
        self._add(row, px, frames, effort, now_s)
        if film := self.films.get(row.item_id):
            film.pace.add(frames, now_s)

    def finish(self, row: Row, px: int, effort: Effort, now_s: float) -> None:
        """A row is done; `px`: source pixels of one that was not cut, 0 of others."""
        if px:
            self._work.measured(row, px)
            self._add(row, px, 0, effort, now_s)
        else:
            self._spent(row, 0, effort, now_s)
        self.done += 1
        self._end(row)

    def fail(self, row: Row, kind: str, effort: Effort, now_s: float) -> None:
        """A row has failed."""
        self._spent(row, 0, effort, now_s)
        self.failed += 1
        self._failures[kind] += 1
        self._end(row)

    def _add(self, row: Row, px: int, frames: int, effort: Effort, now_s: float) -> None:
        self._work.restored(row, px)
        self.px.add(px, now_s)
        if frames:
            self.frames.add(frames, now_s)
        self._spent(row, px, effort, now_s)

    def _spent(self, row: Row, px: int, effort: Effort, now_s: float) -> None:
        if effort is NOBODY and not px:
            return
        away_s = self.crew.returned(effort, now_s)
        seconds = away_s if effort.seconds is None else effort.seconds
        self._stretch.add(away_s, seconds, now_s)
        if seconds:
            self._work.spent(row, px, seconds, now_s)

    def _end(self, row: Row) -> None:
        self._work.ended(row)
        self.films.pop(row.item_id, None)

    # -- what it comes to --------------------------------------------------------------------------------------

    @property
    def failures(self) -> Counter[str]:
        """Rows that have failed in this run, by class; those that were refused too."""
        return self._failures + Counter(self._refused)

    @property
    def is_sure(self) -> bool:
        """Whether of all that is ahead something like it has been seen; else some is guessed by its bytes alone."""
        return self._work.ahead.sure

    def left_s(self, now_s: float) -> float | None:
        """Seconds until all is done; None while nothing tells."""
        stretch = self._stretch.value
        if stretch is None or not self._work.is_planned:
            return None
        ahead_s = self._work.ahead.work * stretch
        share_s = max(0.0, ahead_s - self.crew.under_way_s(now_s)) / max(1, self.crew.at_work)

        def held_s(held: Mapping[Likeness, int]) -> float:
            return min(self._work.of(held) * stretch, ahead_s)  # nobody holds more than all that is left

        return max(share_s, self.crew.last_s(now_s, held_s, share_s))

    @property
    def reached(self) -> float:
        """How much of all work is done, 0..1; by rows as long as the work is not known."""
        work, ahead = self._work, self._work.ahead
        here = work.before + work.done
        if ahead.sure and here:
            return here / (here + ahead.work)
        return (self.done + self.failed) / max(1, self.total)
