"""What a person sees while a run works: live lines on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TextIO

from farm.progress.figures import duration, pixel_rate
from farm.progress.pace import Pace
from farm.progress.work import Workload
from farm.records import WorkItem

_PLAIN_EVERY_S = 15.0
_LIVE_EVERY_S = 0.1
_FILMS_SHOWN = 4
_NAME_COLUMNS = 24
_USUAL_COLUMNS = 80
_UNKNOWN = "time left unknown yet"


@dataclass(slots=True)
class _Film:
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

    def words(self, now_s: float) -> list[str]:
        """``holiday.mp4``, ``48/181``, ``4.80 frames/s``, ``27 s left``"""
        words = [_cut(_printable(self.name), _NAME_COLUMNS), f"{self.frames}/{self.total}"]
        if rate := self.pace.rate(now_s):
            words.append(f"{rate:.2f} frames/s")
        left_s = self.left_s(now_s)
        if self.frames >= self.total:
            words.append("joining")
        else:
            words.append(_UNKNOWN if left_s is None else f"{duration(left_s)} left")
        return words


class Progress:
    """Counts rows, frames and work; writes to stderr, so that stdout stays clean. A context.

    `total`: rows that are to be done. `work`: what they are, which this counts down.
    """

    def __init__(
        self,
        total: int,
        work: Workload,
        *,
        quiet: bool,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self._work = work
        self._clock = clock
        self._stream = stream or sys.stderr
        self._live = not quiet and self._stream.isatty()
        self._plain = not quiet and not self._live
        self._printed_s = clock()
        self._rows_shown = 0
        """lines on the terminal that are ours"""
        self._note = ""
        self._films: dict[str, _Film] = {}
        """films that are under way, by item"""
        self.begin()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._stream.write(self._home())
            self._stream.flush()

    # -- what happens ------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """What is going on, until something has been done: starting Ray, fetching weights."""
        self._note = text
        self.refresh()

    def say(self, text: str) -> None:
        """A line that stays; `text` has no line breaks."""
        if not self._live and not self._plain:
            return
        self._stream.write(f"{self._home() if self._live else ''}{_printable(text)}\n")
        self._rows_shown = 0
        self._stream.flush()

    def begin(self) -> None:
        """Workers are there: speed counts from here."""
        now_s = self._clock()
        self._pace, self._px, self._frames = Pace(now_s), Pace(now_s), Pace(now_s)
        self._note = ""

    def cut(self, item: WorkItem, px: int, share: float, name: str, frames: int = 0) -> None:
        """An item of `px` source pixels is cut; a film has so many frames. Earlier runs had done `share` of it."""
        self._note = ""
        self._work.measured(item, px, before_px=round(px * share))
        if frames:
            film = _Film(name, frames, before=round(frames * share), pace=Pace(self._clock()))
            self._films[item.item_id] = film
        self.tick()

    def piece(self, item: WorkItem, px: int, frames: int) -> None:
        """A band or a segment is restored."""
        self._add(item, px, frames)
        if film := self._films.get(item.item_id):
            film.pace.add(frames, self._clock())
        self.refresh()

    def finish(self, item: WorkItem, px: int) -> None:
        """A row is done; `px`: source pixels of one that was not cut, 0 of others."""
        if px:
            self._work.measured(item, px)
            self._add(item, px, 0)
        self.done += 1
        self._end(item)

    def fail(self, item: WorkItem) -> None:
        """A row has failed."""
        self.failed += 1
        self._end(item)

    def _add(self, item: WorkItem, px: int, frames: int) -> None:
        now_s, before = self._clock(), self._work.done
        self._work.restored(item, px)
        self._pace.add(self._work.done - before, now_s)
        self._px.add(px, now_s)
        if frames:
            self._frames.add(frames, now_s)

    def _end(self, item: WorkItem) -> None:
        self._note = ""
        self._work.ended(item)
        self._films.pop(item.item_id, None)
        self.refresh()

    # -- what is shown -----------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: a terminal counts on."""
        if self._live:
            self.refresh()

    def refresh(self) -> None:
        """Show how far things are, unless that was shown just now."""
        now_s = self._clock()
        waited_s = now_s - self._printed_s
        if self._live and (waited_s >= _LIVE_EVERY_S or not self._rows_shown):
            columns = _columns(self._stream) - 1
            lines = [_cut("  ".join(words), columns) for words in self.lines(now_s)]
            self._stream.write(self._home() + "\n".join(lines))
            self._rows_shown = len(lines)
        elif self._plain and waited_s >= _PLAIN_EVERY_S:
            overall, *films = self.lines(now_s)
            self._stream.write("  ".join([*overall, *(" ".join(words[1:]) for words in films)]) + "\n")
        else:
            return
        self._printed_s = now_s
        self._stream.flush()

    def _home(self) -> str:
        """Back to the first of our lines, and clear them all."""
        up = f"\x1b[{self._rows_shown - 1}A" if self._rows_shown > 1 else ""
        return f"{up}\r\x1b[J"

    def lines(self, now_s: float) -> list[list[str]]:
        """The words of ``[#####.....] 12/40  0.24 MP/s  1 failed  3 min left``, and of a line for each film under way,
        which begins with nothing."""
        films = [["", *film.words(now_s)] for film in islice(self._films.values(), _FILMS_SHOWN)]
        if len(self._films) > _FILMS_SHOWN:
            films.append(["", f"and {len(self._films) - _FILMS_SHOWN} more films"])
        return [self._overall(now_s), *films]

    def _overall(self, now_s: float) -> list[str]:
        ended = self.done + self.failed
        filled = int(20 * self.reached)
        parts = [f"[{'#' * filled}{'.' * (20 - filled)}] {ended}/{self.total}"]
        if self._note:
            return [*parts, self._note]
        if self._frames.amount:
            parts.append(f"{self._frames.rate(now_s):.2f} frames/s")
        elif self._px.amount:
            parts.append(pixel_rate(self._px.rate(now_s)))
        if self.failed:
            parts.append(f"{self.failed} failed")
        if ended < self.total:
            parts.append(self._left(now_s))
        return parts

    def _left(self, now_s: float) -> str:
        """``3 min 20 s left``; ``at least`` where of some rows nothing can be said yet."""
        left_s = self.left_s(now_s)
        if left_s is None:
            return _UNKNOWN
        return f"{'' if self._work.ahead.sure else 'at least '}{duration(left_s)} left"

    def left_s(self, now_s: float | None = None) -> float | None:
        """Seconds until all is done, at least those where of some rows nothing can be said yet; None while nothing
        tells."""
        now_s = self._clock() if now_s is None else now_s
        ahead = self._work.ahead
        left_s = self._pace.left_s(ahead.work, now_s)
        if left_s is None or not (ahead.sure or ahead.work):
            return None
        if self.done + self.failed + len(self._films) == self.total:  # then it ends with the last of them
            left_s = max(left_s, *(film.left_s(now_s) or 0.0 for film in self._films.values()), 0.0)
        return left_s

    @property
    def reached(self) -> float:
        """How much of all work is done, 0..1; by rows as long as the work is not known."""
        work, ahead = self._work, self._work.ahead
        here = work.before + work.done
        if ahead.sure and here:
            return here / (here + ahead.work)
        return (self.done + self.failed) / max(1, self.total)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _cut(text: str, columns: int) -> str:
    """As much of a line as fits; East Asian letters take two columns."""
    widths = [2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text]
    if sum(widths) <= columns:
        return text
    kept, used = 0, 1  # the sign that something is left out
    while used + widths[kept] <= columns:
        used += widths[kept]
        kept += 1
    return f"{text[:kept]}…"


def _columns(stream: TextIO) -> int:
    """Of the terminal; what is usual where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS
