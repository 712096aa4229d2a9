"""A budget of memory that the pictures of one process share."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class MemoryBudget:
    """Hands out bytes; who asks for more than is free waits until others give back.

    One holder is always let in, however much it asks for when nobody else holds anything: whether a single picture may
    be that large is decided before, by rule.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._held_bytes = 0
        self._changed = threading.Condition()

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
