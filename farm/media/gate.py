"""Who decodes beside whom: as many threads as like, or one alone, whose decoder's complaints are its own.

libvips keeps one list of complaints for all threads: each takes what others have said, and loses what it has said.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

LONGEST_S = 5.0
"""that one waits to be alone: a thread that waits for a store may take minutes, and the others would wait with it"""


class Gate:
    """Lets threads in together or one by one. Whoever is in alone may go in again."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nobody is in. For a process that was just forked, which has one thread."""
        self._turn = threading.Condition()
        self._together = 0
        self._alone = 0
        """the thread that is"""
        self._waiting = 0
        """threads that want to be"""

    @property
    def is_alone(self) -> bool:
        """Whether the thread that asks is."""
        return self._alone == threading.get_ident()

    @contextmanager
    def together(self) -> Generator[None]:
        """With others, unless somebody is alone or waits to be. Does not nest."""
        if self.is_alone:
            yield
            return
        with self._turn:
            self._turn.wait_for(lambda: not self._alone and not self._waiting)
            self._together += 1
        try:
            yield
        finally:
            with self._turn:
                self._together -= 1
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Nobody else comes in; those who are in have LONGEST_S to leave. Does not nest."""
        with self._turn:
            self._waiting += 1
            self._turn.wait_for(lambda: not self._alone)
            self._alone = threading.get_ident()
            self._waiting -= 1
            self._turn.wait_for(lambda: not self._together, LONGEST_S)
        try:
            yield
        finally:
            with self._turn:
                self._alone = 0
                self._turn.notify_all()


GATE = Gate()
os.register_at_fork(after_in_child=GATE.reset)
