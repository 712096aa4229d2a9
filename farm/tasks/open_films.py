"""The films that a worker has open between their segments, so that what comes before them is not decoded for each.

Where segments begin with the same packet (one keyframe for many, or no timestamps) a worker decodes the film about once
instead of once a segment: whoever restores the next segment goes on where the last one has stopped. On a CPU, where
decoding two segments at a time gains nothing, a segment waits until those before it are decoded; what feeds a GPU does
not wait, and has as many decoders as threads. All of it is a cache: frames are those of a film that is opened anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from farm.film import Span
from farm.media.video import FilmReader
from farm.tasks.lane import LaneStopped
from farm.tasks.memory import MemoryBudget

_MOST = 8
"""films that are open while nobody uses them"""
_IDLE_S = 600.0
"""after which a film that nobody uses is closed: its last segments were restored elsewhere"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """What a segment wants to decode."""

    url: str
    version: str
    """of the source; another version is another film"""
    span: Span
    held_bytes: int
    """what the film's decoder holds between two segments, at most"""

    def is_before(self, other: Wanted) -> bool:
        """Whether whoever decodes this one comes to the other next, or later."""
        same = (self.url, self.version, self.span.seek_pts) == (other.url, other.version, other.span.seek_pts)
        return same and self.span.followed and self.span.frames[0] < other.span.frames[0]


@dataclass(slots=True, kw_only=True, eq=False)
class _Idle:
    """An open film that nobody uses."""

    reader: FilmReader
    last: Wanted
    """what was decoded last"""
    spare_bytes: int
    timer: threading.Timer


class Turn:
    """A film while one segment is decoded."""

    def __init__(self, reader: FilmReader | None, end: Callable[[bool], None] | None = None) -> None:
        self.reader = reader
        """None for a numbered sequence"""
        self._end = end

    def end(self, *, whole: bool = True) -> None:
        """All is decoded; or, where it is not `whole`, what was done so far is of no use to anybody."""
        end, self._end = self._end, None
        if end is not None:
            end(whole)


class OpenFilms:
    """Those of one worker. Called from any thread."""

    def __init__(self, budget: MemoryBudget, *, in_turn: bool) -> None:
        """Args:

        in_turn: a segment waits for those before it that are decoded from the same packet.
        """
        self._budget = budget
        self._in_turn = in_turn
        self._changed = threading.Condition()
        self._waiting: list[Wanted] = []
        self._decoded: list[Wanted] = []
        self._idle: list[_Idle] = []
        """who was used last comes last"""
        self._stopped = False
        budget.on_want = self.close_idle

    @property
    def idle(self) -> int:
        """Films that are open and not used."""
        return len(self._idle)

    @contextmanager
    def turn(self, wanted: Wanted, opener: Callable[[], AbstractContextManager[BinaryIO]]) -> Generator[Turn]:
        """A reader for one segment, at the end of the block or when the turn ends free for the next one.

        Raises LaneStopped when the worker is told to stop while it waits. Whatever is raised in the block before the
        turn has ended, the reader is closed.
        """
        reader = self._begin(wanted) or FilmReader(opener, wanted.url)
        turn = Turn(reader, lambda whole: self._ended(wanted, reader, whole=whole))
        try:
            yield turn
        except BaseException:
            turn.end(whole=False)
            raise
        turn.end()

    def end_film(self, url: str) -> None:
        """Nothing more of it will be decoded."""
        with self._changed:
            films = [one for one in self._idle if one.last.url == url]
        self._close(films)

    def close_idle(self) -> None:
        """Nothing is kept that is not used now."""
        with self._changed:
            films = list(self._idle)
        self._close(films)

    def stop(self) -> None:
        """Close what is not used, and what is used when it is given back; who waits gets LaneStopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.close_idle()

    def _begin(self, wanted: Wanted) -> FilmReader | None:
        """Wait for one's turn; an open film that helps."""
        with self._changed:
            self._waiting.append(wanted)
            try:
                self._changed.wait_for(lambda: self._stopped or self._is_next(wanted))
                if self._stopped:
                    raise LaneStopped
                found = self._taken(wanted)
                self._decoded.append(wanted)
            finally:
                self._waiting.remove(wanted)
                self._changed.notify_all()
        return found

    def _is_next(self, wanted: Wanted) -> bool:
        return not self._in_turn or not any(one.is_before(wanted) for one in (*self._waiting, *self._decoded))

    def _taken(self, wanted: Wanted) -> FilmReader | None:
        """Of the open films the one that stands nearest before a segment."""
        fitting = [one for one in self._idle if one.last.is_before(wanted) and one.last.version]
        fitting = [one for one in fitting if one.reader.goes_on(wanted.span)]
        if not fitting:
            return None
        nearest = max(fitting, key=lambda one: one.last.span.frames[1])
        self._remove(nearest)
        return nearest.reader

    def _ended(self, wanted: Wanted, reader: FilmReader, *, whole: bool) -> None:
        with self._changed:
            self._decoded.remove(wanted)
            kept = whole and not self._stopped and wanted.span.followed and reader.is_open
            kept = kept and self._keep(wanted, reader)
            surplus = self._idle[:-_MOST]
            self._changed.notify_all()
        if not kept:
            reader.close()
        self._close(surplus)

    def _keep(self, wanted: Wanted, reader: FilmReader) -> bool:
        """Keep a reader for the next segment, which may wait already; else in spare memory only."""
        is_awaited = any(wanted.is_before(other) for other in self._waiting)
        if not is_awaited and not self._budget.spare(wanted.held_bytes):
            return False
        idle = _Idle(
            reader=reader,
            last=wanted,
            spare_bytes=0 if is_awaited else wanted.held_bytes,
            timer=threading.Timer(_IDLE_S, lambda: self._close([idle])),
        )
        idle.timer.daemon = True
        idle.timer.start()
        self._idle.append(idle)
        return True

    def _remove(self, one: _Idle) -> None:
        self._idle.remove(one)
        one.timer.cancel()
        self._budget.give_back(one.spare_bytes)

    def _close(self, films: list[_Idle]) -> None:
        """Close those of them that still nobody uses."""
        with self._changed:
            films = [one for one in films if one in self._idle]
            for one in films:
                self._remove(one)
        for one in films:
            one.reader.close()
