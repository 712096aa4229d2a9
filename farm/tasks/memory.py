"""A budget of memory that the pictures of one process share, and what a machine has for all of its workers.

It decides who waits and who is refused, and nothing else: no byte of an output depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from sr_kernel import hardware

MEMORY_SHARE = 0.6
"""of the machine's memory, for the pictures of all its workers together"""
WORKER_BYTES = 512 << 20
"""what each worker holds beside them that it shares with none: torch's and its own data, a small model, its windows.

Measured in runs over eight pictures of 512x384 on a CPU: 442 to 464 MB with box (of 40 features then), 452 to 504 with
animevideov3. The rest of the 830 to 890 MB that one has resident are files of libraries, which are in memory once.
"""


def memory_share(count: int) -> int:
    """Bytes that the pictures of each of so many workers of this machine may take."""
    return int(MEMORY_SHARE * hardware.memory_bytes() / count)


def budget_of(memory_bytes: int) -> MemoryBudget:
    """That of a worker, by what its context says; 0: all of its machine's, until it is told with how many it shares."""
    return MemoryBudget(memory_bytes or memory_share(1))


class MemoryBudget:
    """Hands out bytes; who asks for more than is free waits until others give back.

    One holder is always let in, however much it asks for when nobody else holds anything: whether a single picture may
    be that large is decided before, by rule. What is merely of use later is kept in memory that nobody waits for.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.on_want: Callable[[], None] = lambda: None
        """called, from any thread, when somebody is going to wait: what was kept in spare memory is to go"""
        self._held_bytes = 0
        self._wanting = 0
        """threads that wait"""
        self._changed = threading.Condition()

    def resize(self, total_bytes: int) -> None:
        """Others have come to share the memory, or have gone; what is held stays so."""
        with self._changed:
            self.total_bytes = total_bytes
            self._changed.notify_all()

    @contextmanager
    def hold(self, wanted_bytes: int) -> Generator[None]:
        """Wait until `wanted_bytes` are free, keep them for the length of the block."""
        self._take(wanted_bytes)
        try:
            yield
        finally:
            self.give_back(wanted_bytes)

    def spare(self, wanted_bytes: int) -> bool:
        """Keep `wanted_bytes` until they are given back, if they are free now and nobody waits; whether they are."""
        with self._changed:
            kept = not self._wanting and self._fits(wanted_bytes)
            self._held_bytes += wanted_bytes if kept else 0
            return kept

    def give_back(self, held_bytes: int) -> None:
        """What was kept is free again."""
        with self._changed:
            self._held_bytes -= held_bytes
            self._changed.notify_all()

    def _take(self, wanted_bytes: int) -> None:
        with self._changed:
            if self._fits(wanted_bytes):
                self._held_bytes += wanted_bytes
                return
            self._wanting += 1
        try:
            self.on_want()
            with self._changed:
                self._changed.wait_for(lambda: not self._held_bytes or self._fits(wanted_bytes))
                self._held_bytes += wanted_bytes
        finally:
            with self._changed:
                self._wanting -= 1

    def _fits(self, wanted_bytes: int) -> bool:
        return self._held_bytes + wanted_bytes <= self.total_bytes
