"""A terminal on a pty, and what stands on it: the few things that our live view makes a terminal do, and no others."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import termios
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECES = re.compile(r"\x1b\[(\d*)([A-Za-z])|\r|\n|[^\x00-\x1f\x7f]+|[\x00-\x1f\x7f]")


@dataclass
class Terminal:
    """Lines of characters and a cursor. Fails on whatever a view of lines has no business to send."""

    columns: int = 80
    rows: int = 24
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    """of cells, from the first that was ever there; the last `rows` of them are seen"""
    at: int = 0
    """line of the cursor"""
    column: int = 0
    screens: list[list[str]] = field(default_factory=list)
    """how it stood after each writing"""
    everything: list[str] = field(default_factory=list)
    """all that was sent"""

    def write(self, text: str) -> None:
        self.everything.append(text)
        for match in _PIECES.finditer(text):
            piece = match[0]
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self._down()
            elif match[2] == "A":
                top = max(0, len(self.lines) - self.rows)
                self.at = max(top, self.at - int(match[1] or 1))
            elif match[2] == "J" and not match[1]:
                self.lines[self.at :] = [self.lines[self.at][: self.column]]
            else:
                assert piece >= " ", f"sent {piece!r}"
                self._print(piece)
        self.screens.append(self.seen)

    def _down(self) -> None:
        self.at += 1
        if self.at == len(self.lines):
            self.lines.append([])

    def _print(self, text: str) -> None:
        for char in text:
            width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self.column + width > self.columns:
                self.column = 0
                self._down()
            line = self.lines[self.at]
            line += [" "] * (self.column - len(line))
            line[self.column : self.column + width] = [char, *[""] * (width - 1)]
            self.column += width

    @property
    def seen(self) -> list[str]:
        """What stands there, without empty lines at the end."""
        lines = ["".join(line).rstrip() for line in self.lines[-self.rows :]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


@dataclass
class Pty:
    """Both ends of a pseudo-terminal of some size."""

    ours: int
    theirs: int
    terminal: Terminal
    decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    def read(self, wait_s: float = 0.0) -> bool:
        """Show what has come; whether there may be more."""
        while select.select([self.ours], [], [], wait_s)[0]:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                return False
            if not data:
                return False
            self.terminal.write(self.decoder.decode(data))
        return True


@contextmanager
def open_pty(columns: int = 80, rows: int = 24) -> Iterator[Pty]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    try:
        yield Pty(ours, theirs, Terminal(columns, rows))
    finally:
        os.close(ours)
        os.close(theirs)
