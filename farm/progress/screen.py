"""The lines at the end of a terminal that are ours: drawn over themselves, never longer or more than fit."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from farm import terminal

_USUAL = os.terminal_size((80, 24))


class Screen:
    """Of a stream that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows_shown = 0
        """lines on the terminal that are ours"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of ours is there."""
        return not self._rows_shown

    @property
    def rows(self) -> int:
        """Lines that fit."""
        return max(1, self._size().lines - 1)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these in the place of what is there; what does not fit is left out."""
        columns, rows = self._size()
        shown = [cut(line, columns - 1) for line in lines[: max(1, rows - 1)]]
        self._write(self._home() + "\n".join(shown))
        self._rows_shown = len(shown)

    def say(self, text: str) -> None:
        """A line that stays, above ours."""
        self._write(f"{self._home()}{text}\n")
        self._rows_shown = 0

    def clear(self) -> None:
        """Nothing of ours is left."""
        self._write(self._home())
        self._rows_shown = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            if not terminal.leave_if_gone():  # without it a run goes on; a SIGHUP may end it, which may be ignored
                raise

    def _home(self) -> str:
        """Back to the first of our lines, and clear them all."""
        up = f"\x1b[{self._rows_shown - 1}A" if self._rows_shown > 1 else ""
        return f"{up}\r\x1b[J"

    def _size(self) -> os.terminal_size:
        """What is usual where the terminal does not say."""
        try:
            said = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _USUAL
        return os.terminal_size((said.columns or _USUAL.columns, said.lines or _USUAL.lines))


def printable(text: str) -> str:
    """A name without what a terminal would act on, or take for another line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def cut(text: str, columns: int) -> str:
    """As much of a line as fits; East Asian letters take two columns."""
    widths = [2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text]
    if sum(widths) <= columns:
        return text
    kept, used = 0, 1  # the sign that something is left out
    while used + widths[kept] <= columns:
        used += widths[kept]
        kept += 1
    return f"{text[:kept]}…"
