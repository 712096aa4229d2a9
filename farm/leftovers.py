"""Processes that an embedded Ray leaves behind: found by descent from this process, ended by id, never by name alone.

When Ray is shut down while it starts, its agents notice only tens of seconds later that their raylet is gone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process; the start time tells it from a later one of the same id."""

    pid: int
    started: str


def ray_descendants() -> frozenset[Process]:
    """Ray's processes below this one; none where there is no /proc."""
    parents = {process: parent for process, parent in map(_read, _PROC.glob("[0-9]*")) if process is not None}
    below = {os.getpid()}
    found: set[Process] = set()
    grown = True
    while grown:
        fresh = {process for process, parent in parents.items() if parent in below and process not in found}
        grown = bool(fresh)
        found |= fresh
        below |= {process.pid for process in fresh}
    return frozenset(process for process in found if _is_ray(process.pid))


def end(processes: frozenset[Process]) -> None:
    """Kill those that are still there."""
    for process in processes:
        if _read(_PROC / str(process.pid))[0] == process:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _read(folder: Path) -> tuple[Process | None, int]:
    """A process and its parent's id; None when it has ended."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None, 0
    return Process(int(folder.name), fields[19]), int(fields[1])


def _is_ray(pid: int) -> bool:
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(b"ray::") or b"/ray/" in command
