"""The clock of leases and of times to end at: nobody sets it, and it goes on while the machine sleeps.

What asks how long something was worked on takes `time.monotonic`, which stands still with the work. Pure but for that.
"""

from __future__ import annotations

import time

_KIND = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""of Linux; elsewhere what there is"""


def now_s() -> float:
    """Seconds since some moment of the past."""
    return time.clock_gettime(_KIND)
