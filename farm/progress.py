"""What a person sees while a run works: one live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TextIO

_PLAIN_EVERY_S = 15.0
_FILMS_SHOWN = 2
_NAME_CHARS = 24


@dataclass(slots=True)
class _Film:
    """A film that is under way."""

    name: str
    first: int
    """frames that earlier runs had restored"""
    started_s: float
    frames: int = 0
    total: int = 0

    def line(self, now: float) -> str:
        """``holiday.mp4 48/181 3 min left``"""
        name = "".join(char if char.isprintable() else "?" for char in self.name)
        made = self.frames - self.first
        left_s = (self.total - self.frames) * (now - self.started_s) / made if made else 0.0
        shown = name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"
        return f"{shown} {self.frames}/{self.total}" + (f" {duration(left_s)} left" if left_s else "")


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min 20 s, 5 h 12 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Counts rows and source pixels; writes to stderr, so that stdout stays clean. A context."""

    def __init__(self, total: int, *, quiet: bool, stream: TextIO | None = None) -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self.px = 0
        self._partial = 0.0
        self._known = 0.0
        self._frames = 0
        self._films: dict[str, _Film] = {}
        """films that are under way, by item"""
        self._stream = stream or sys.stderr
        self._live = not quiet and self._stream.isatty()
        self._plain = not quiet and not self._live
        self._started_s = time.monotonic()
        self._printed_s = self._started_s
        self._film_s = self._started_s
        """when frames were last restored, so that a film counts from the end of what came before it"""
        self._note = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def note(self, text: str) -> None:
        """What is going on before the first row is finished: starting Ray, fetching weights."""
        self._note = text
        self.refresh()

    def advance(self, *, px: int, failed: bool = False) -> None:
        """One row has ended; `px` are its source pixels, but for those that its bands have already counted."""
        self.done += not failed
        self.failed += failed
        self.px += px
        self._note = ""
        self.refresh()

    def advance_part(self, *, px: int, partial: float, known: float = 0.0) -> None:
        """A piece has ended; `partial` items' worth of pieces wait for their join, `known` of that done before."""
        self.px += px
        self._partial, self._known = partial, known
        self._note = ""
        self.refresh()

    def note_film(self, key: str, name: str, frames: int, total: int, *, fresh: int) -> None:
        """`frames` of a film's `total` are restored, `fresh` of them just now; `key` tells films of one name apart."""
        film = self._films.setdefault(key, _Film(name, frames - fresh, self._film_s))
        film.frames, film.total = frames, total
        self._frames += fresh
        self._film_s = time.monotonic()
        if frames >= total:
            del self._films[key]

    def drop_film(self, key: str) -> None:
        """A film has failed; it is not shown any more."""
        self._films.pop(key, None)

    def refresh(self) -> None:
        now = time.monotonic()
        if self._live:
            self._stream.write(f"\r\x1b[K{self.line(now)}")
            self._stream.flush()
        elif self._plain and now - self._printed_s >= _PLAIN_EVERY_S:
            self._printed_s = now
            self._stream.write(self.line(now) + "\n")
            self._stream.flush()

    def line(self, now: float) -> str:
        """``[#####.....] 12/40  0.24 MP/s  1 failed  3 min left``"""
        ended = self.done + self.failed
        elapsed_s = max(1e-6, now - self._started_s)
        reached = ended + self._partial
        filled = int(20 * reached / max(1, self.total))
        parts = [f"[{'#' * filled}{'.' * (20 - filled)}] {ended}/{self.total}"]
        if self._note:
            parts.append(self._note)
        if self._frames:
            parts.append(f"{self._frames / elapsed_s:.2f} frames/s")
        elif self.px:
            parts.append(f"{self.px / 1e6 / elapsed_s:.2f} MP/s")
        parts += [film.line(now) for film in islice(self._films.values(), _FILMS_SHOWN)]
        if self.failed:
            parts.append(f"{self.failed} failed")
        fresh = reached - self._known
        if reached < self.total and fresh > 0:
            parts.append(f"{duration((self.total - reached) * elapsed_s / fresh)} left")
        return "  ".join(parts)
