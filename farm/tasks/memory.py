"""A budget of memory that the pictures of one process share, and what a machine has for all of its workers.

It decides who waits and who is refused, and nothing else: no byte of an output depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from sr_kernel import hardware

MEMORY_SHARE = 0.6
"""of the machine's memory, for the pictures of all its workers together"""


def memory_share(count: int) -> int:
    """Bytes that the pictures of each of so many workers of this machine may take."""
    return int(MEMORY_SHARE * hardware.memory_bytes() / count)


def budget_of(memory_bytes: int) -> MemoryBudget:
    """That of a worker, by what its context says; 0: all of its machine's, until it is told with how many it shares."""
    return MemoryBudget(memory_bytes or memory_share(1))


class MemoryBudget:
    """Hands out bytes; who asks for more than is free waits until others give back.

    One holder is always let in, however much it asks for when nobody else holds anything: whether a single picture may
    be that large is decided before, by rule.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._held_bytes = 0
        self._changed = threading.Condition()

    def resize(self, total_bytes: int) -> None:
        """Others have come to share the memory, or have gone; what is held stays so."""
        with self._changed:
            self.total_bytes = total_bytes
            self._changed.notify_all()

    @contextmanager
    def hold(self, wanted_bytes: int) -> Generator[None]:
        """Wait until `wanted_bytes` are free, keep them for the length of the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held_bytes or self._held_bytes + wanted_bytes <= self.total_bytes)
            self._held_bytes += wanted_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held_bytes -= wanted_bytes
                self._changed.notify_all()
