"""How full forward passes are, and how often a device's memory was not enough: counted where it happens. No torch."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PassFigures:
    """What was counted of forward passes. Pictures whose body runs whole go one by one and fill no batch."""

    windows: int = 0
    """that went through in batches"""
    slots: int = 0
    """windows that these batches had room for, as they were asked for"""
    out_of_memory: int = 0
    """times that something was tried again smaller because the device's memory did not hold it"""
    slow_s: float = 0.0
    """of first passes on a GPU that took long: kernels are compiled in them"""


NO_PASSES = PassFigures()


class Passes:
    """Counts for everything that runs on one device. Any thread may ask what there is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows = self._slots = self._out_of_memory = 0
        self._slow_s = 0.0

    def batch(self, windows: int, slots: int) -> None:
        """One forward pass has been sent to the device."""
        with self._lock:
            self._windows += windows
            self._slots += slots

    def no_memory(self) -> None:
        """The device's memory did not hold something, of which less is tried now."""
        with self._lock:
            self._out_of_memory += 1

    def slow(self, seconds: float) -> None:
        """A first pass has taken as long."""
        with self._lock:
            self._slow_s += seconds

    def take(self) -> PassFigures:
        """What was counted since this was asked last."""
        with self._lock:
            taken = PassFigures(
                windows=self._windows, slots=self._slots, out_of_memory=self._out_of_memory, slow_s=self._slow_s
            )
            self._windows = self._slots = self._out_of_memory = 0
            self._slow_s = 0.0
        return taken
