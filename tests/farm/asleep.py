"""A machine that sleeps, as far as its clocks tell."""

from __future__ import annotations

import time

import pytest


def sleep_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the kernel that goes on meanwhile is so much further; the monotonic one has stood still."""
    show = time.clock_gettime

    def later(kind: int) -> float:
        return show(kind) + (seconds if kind == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", later)
