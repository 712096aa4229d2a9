"""Takes back the real-time priority that an encoder has given itself. No PyAV."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress


@contextmanager
def ordinary_priority() -> Generator[None]:
    """No thread comes out with real-time priority.

    SVT-AV1, where it runs as root, gives itself and whoever opens it SCHED_FIFO 99, which every later thread and
    process inherits: a busy one then keeps all others from its core.
    """
    try:
        yield
    finally:
        for task in os.listdir("/proc/self/task") if hasattr(os, "SCHED_FIFO") else ():
            with suppress(ProcessLookupError):  # a thread that has ended meanwhile
                if os.sched_getscheduler(int(task)) == os.SCHED_FIFO:
                    os.sched_setscheduler(int(task), os.SCHED_OTHER, os.sched_param(0))
