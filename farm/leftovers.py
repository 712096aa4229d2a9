"""What an embedded Ray leaves behind: processes, found by descent from this one, ended by id, never by name alone; and
the folder of a Ray whose run was killed, which the next run removes.

When Ray is shut down while it starts, its agents notice only tens of seconds later that their raylet is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_OWNER = "owner"
"""a file in the folder of a Ray that whoever uses it keeps locked"""
_TRIES, _PAUSE_S = 20, 0.05
_STATE, _PARENT, _STARTED = 0, 1, 19
"""fields of /proc/PID/stat behind the name"""
_RAY_SCRIPT = re.compile(rb"\A[^\0]+\0(?:-u\0)?[^\0]*/ray/[^\0]*\.py\0")


@dataclass(frozen=True, slots=True)
class Process:
    """One process; the start time tells it from a later one of the same id."""

    pid: int
    started: str


def ray_descendants() -> frozenset[Process]:
    """Ray's processes below this one; none where there is no /proc."""
    return frozenset(process for process in descendants(os.getpid()) if _is_ray(process.pid))


def process_of(pid: int) -> Process | None:
    """The process that has this id now; None where none has, and where there is no /proc."""
    return _read(_PROC / str(pid))[0]


def is_alive(process: Process) -> bool:
    """Whether a process is still there, and has not merely left its body to a parent that does not ask."""
    fields = _fields(_PROC / str(process.pid))
    return bool(fields) and fields[_STARTED] == process.started and fields[_STATE] != "Z"


def children(pid: int) -> frozenset[Process]:
    """The processes that one has started, of those that are there."""
    found = map(_read, _PROC.glob("[0-9]*"))
    return frozenset(process for process, parent in found if process is not None and parent == pid)


def descendants(pid: int) -> frozenset[Process]:
    """All processes below one; none where there is no /proc."""
    parents = {process: parent for process, parent in map(_read, _PROC.glob("[0-9]*")) if process is not None}
    below = {pid}
    found: set[Process] = set()
    grown = True
    while grown:
        fresh = {process for process, parent in parents.items() if parent in below and process not in found}
        grown = bool(fresh)
        found |= fresh
        below |= {process.pid for process in fresh}
    return frozenset(found)


def ray_scripts() -> frozenset[Process]:
    """Ray's own Python programs that this process has started: its autoscaler, its dashboard, what reads its logs."""
    ours = children(os.getpid())
    return frozenset(process for process in ours if _RAY_SCRIPT.search(_command(process.pid)))


def end(processes: frozenset[Process]) -> None:
    """Kill those that are still there."""
    for process in processes:
        if _read(_PROC / str(process.pid))[0] == process:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def remove_folder(folder: Path) -> None:
    """Remove the folder of a Ray that has ended; who was just being started in it is ended, and writes no more."""
    for _ in range(_TRIES):
        end(started_in(folder))
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


def claim(folder: Path) -> int:
    """Keep a folder from being taken for an abandoned one until the descriptor is closed, which death does as well.

    Where files cannot be locked nobody will remove it but who made it.
    """
    new = folder / f"{_OWNER}.new"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / _OWNER)  # nobody sees it unlocked
    return descriptor


def remove_abandoned(base: Path, prefix: str) -> None:
    """Remove what was claimed by runs of this user that are dead, with whatever of Ray still runs in it."""
    for folder in base.glob(f"{prefix}*"):
        with suppress(OSError):  # somebody else's, in use, or gone by now
            descriptor = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_folder(folder)
            finally:
                os.close(descriptor)


def started_in(folder: Path) -> frozenset[Process]:
    """Ray's processes that have the folder in their command line, or files of it open, whoever's children they are by
    now: actors and agents have a title in place of their command line."""
    listed = [process for process, _ in map(_read, _PROC.glob("[0-9]*")) if process is not None]
    wanted = os.fsencode(folder)
    ray = (process for process in listed if _is_ray(process.pid))
    return frozenset(one for one in ray if wanted in _command(one.pid) or has_open(one.pid, folder))


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file open, or one of a folder."""
    try:
        return any(Path(os.readlink(link)).is_relative_to(path) for link in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False  # it has ended, or is somebody else's


def _read(folder: Path) -> tuple[Process | None, int]:
    """A process and its parent's id; None when it has ended."""
    fields = _fields(folder)
    return (Process(int(folder.name), fields[_STARTED]), int(fields[_PARENT])) if fields else (None, 0)


def _fields(folder: Path) -> list[str]:
    """What the kernel says of a process behind its name; nothing when it has ended."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_ray(pid: int) -> bool:
    command = _command(pid)
    return command.startswith(b"ray::") or b"/ray/" in command


def _command(pid: int) -> bytes:
    """The words of a process's command line, each ended by NUL; empty when it has ended."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""
