"""What a process holds and held at most, by the kernel's own count (proc_pid_status(5)).

getrusage's ru_maxrss is of no use here: a process takes over its parent's when it is started from it.
"""

from __future__ import annotations

from pathlib import Path


def held_bytes() -> int:
    """Resident memory of this process."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most that this process held, since it was started or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> int:
    """Lets `peak_bytes` start again (proc_pid_clear_refs(5)) from what is held now, which is returned."""
    Path("/proc/self/clear_refs").write_text("5")
    return held_bytes()


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))
