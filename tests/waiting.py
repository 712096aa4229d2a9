"""Waits for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(asked: Callable[[], T], what: str, limit_s: float = 120, pause_s: float = 0.05) -> T:
    """What `asked()` gives once that is true; fails with `what` where it is not within the limit."""
    until = time.monotonic() + limit_s
    while not (found := asked()):
        assert time.monotonic() < until, f"not within {limit_s:g} s: {what}"
        time.sleep(pause_s)
    return found
