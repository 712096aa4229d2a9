"""SIGINT and SIGTERM: the first asks the run to stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Received:
    """Which signal came, if any."""

    on_first: Callable[[], None]
    signum: int | None = None

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)  # the second signal: at once, nothing is cleaned up
        self.signum = signum
        self.on_first()

    def arm(self) -> None:
        """Install our handlers; again after a library has put in its own."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in _SIGNALS:
            signal.signal(signum, self.handle)


@contextmanager
def stopped_by_signals(on_first: Callable[[], None]) -> Generator[Received]:
    """Inside the block a first SIGINT or SIGTERM calls `on_first`.

    Outside the main thread, where Python allows no handlers, signals stay whoever's they are.
    """
    received = Received(on_first)
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    received.arm()
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
