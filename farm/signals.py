"""SIGINT, SIGTERM, SIGHUP: the first asks the run to stop, a second ends the process at once, and so does a long stop.

SIGHUP, of a terminal that is gone, stays ignored where it was, as under nohup, and with who has a handler of his own.
It never ends at once: a shell that ends sends it, and the kernel once more.

Python runs its handlers between two steps of the main thread, which may be far apart: a library that starts processes,
a store that does not answer. So a thread of its own hears of signals too, and ends what does not end by itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from farm import terminal
from farm.errors import InterruptedRun

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_LIMIT_S = 9.0
"""from the first signal to the end of the process, whatever it is in the middle of"""


class Interrupt(BaseException):
    """Raised by the first signal in the main thread, wherever that is; no handler of errors takes it for one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@dataclass(slots=True)
class Received:
    """Which signal came, if any, and what is done about it."""

    on_first: Callable[[], None] | None = None
    """instead of raising Interrupt; called in the handler, and may raise it"""
    on_end: Callable[[], None] | None = None
    """called, from any thread, before the process is ended in the middle of things: what must not outlive it"""
    signum: int | None = None
    taken: set[int] = field(default_factory=set[int])
    """signals that we handle"""
    _ending: threading.RLock = field(default_factory=threading.RLock)

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is not None:
            if signum != signal.SIGHUP:
                self.end(signum)
            return
        self.signum = signum
        if signum == signal.SIGHUP:
            terminal.leave_if_gone()  # what is still said would fail, and end the stop in the middle
        if self.on_first is None:
            raise Interrupt(signum)
        self.on_first()

    def ask(self, on_first: Callable[[], None], on_end: Callable[[], None]) -> None:
        """From now on a signal calls these.

        One that has come already ends the block: its Interrupt was lost in a place that lets no exception through, such
        as a finaliser.
        """
        self.on_first, self.on_end = on_first, on_end
        if self.signum is not None:
            raise Interrupt(self.signum)

    def end(self, signum: int) -> None:
        """End the process at once; of two threads that want to, one."""
        with self._ending:
            try:
                if self.on_end is not None:
                    self.on_end()
            finally:
                os._exit(128 + signum)

    def arm(self) -> None:
        """Install our handlers; again after a library has put in its own."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in _SIGNALS:
            if signum != signal.SIGHUP or _is_nobodys(signal.getsignal(signum)):
                self.taken.add(signum)
                signal.signal(signum, self.handle)


def _is_nobodys(handler: object) -> bool:
    """Whether a handler is the system's, or ours: a run is stopped by signals within a command that is."""
    return handler is signal.SIG_DFL or getattr(handler, "__func__", None) is Received.handle


@contextmanager
def stopped_by_signals(on_first: Callable[[], None] | None = None) -> Generator[Received]:
    """Inside the block a first SIGINT, SIGTERM or SIGHUP calls `on_first`, or ends the block by InterruptedRun.

    Outside the main thread, where Python allows no handlers, signals stay whoever's they are.
    """
    received = Received(on_first)
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    with _watched(received):
        received.arm()
        try:
            yield received
        except Interrupt as interrupt:
            raise InterruptedRun(received.signum or interrupt.signum) from interrupt
        except SystemExit as ended:
            if ended.code != signal.SIGTERM:  # what a library's own handler makes of a SIGTERM
                raise
            raise InterruptedRun(signal.SIGTERM) from ended
        finally:
            for signum, handler in before.items():
                if handler is not None:  # one that is not Python's
                    signal.signal(signum, handler)


@contextmanager
def _watched(received: Received) -> Generator[None]:
    """A thread is told of every signal as it comes, by the interpreter's own handler, which waits for nothing."""
    ours, told = socket.socketpair()
    told.setblocking(False)
    thread = threading.Thread(target=_watch, args=(ours, received), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        thread.join()
        ours.close()


def _watch(ours: socket.socket, received: Received) -> None:
    """Wait for the first signal; end the process at the second, or when the stop has lasted too long."""
    first = _next(ours, None, received.taken)
    if first is None:
        return
    until_s = time.monotonic() + STOP_LIMIT_S
    second = _next(ours, STOP_LIMIT_S, received.taken)
    while second == signal.SIGHUP:
        second = _next(ours, max(0.0, until_s - time.monotonic()), received.taken)
    if second is None:
        return
    if not second:
        with suppress(OSError):  # nobody may be there any more to read it
            os.write(2, f"\nfarm: {InterruptedRun(first)}\n".encode())
    received.end(second or first)


def _next(ours: socket.socket, limit_s: float | None, taken: Collection[int]) -> int | None:
    """The next of those that we take; 0 when none has come in time, None when the block is over."""
    while select.select([ours], [], [], limit_s)[0]:
        data = ours.recv(1)
        if not data:
            return None
        if data[0] in taken:
            return data[0]
    return 0
