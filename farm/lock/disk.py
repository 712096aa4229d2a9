"""The lock of a disk: flock on ROOT/.farm/lock, freed by the kernel when its holder dies.

Some file systems have none (Lustre without its option flock, some of FUSE): there the file stays empty.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from farm import leftovers
from farm.errors import BusyError
from farm.lock.holder import Holder, busy, this_process
from farm.storage import faults, local
from farm.storage.urls import join, local_path

_PATIENCE_S = 0.5
"""how long a refusal is doubted: `holds` takes the lock, shared, for some microseconds"""
_PAUSE_S = 0.02
_SETTLE_S = 0.002
"""more than a new holder needs from taking the lock to writing its own name into it"""
_UNLOCKABLE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""not ENOLCK: this host has no locks just now, where another may hold one"""


class _UnlockableError(Exception):
    """The file system has no flock."""


class DiskLock:
    """One attempt's hold on a folder of a disk."""

    def __init__(self, root: str, run: str) -> None:
        self._root = root
        self._run = run
        self._descriptor: int | None = None
        self.has_none = False
        """whether the file system has no locks, once it is taken"""

    def take(self) -> None:
        """Raises BusyError where another run holds it, DiskError or CredentialsError where the file cannot be made."""
        path = _lock_path(self._root)
        with faults.run_level(self._root), faults.writing(str(path), 0):
            local.make_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor

    def _take(self, descriptor: int) -> None:
        try:
            self._wait(descriptor)
        except _UnlockableError:
            self.has_none = True
        os.ftruncate(descriptor, 0)
        if not self.has_none:  # or of two runs the second would seem to be the only one
            self._sign(descriptor)

    def _wait(self, descriptor: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise BusyError(busy(self._root, read_holder(self._root)))
            time.sleep(_PAUSE_S)

    def _sign(self, descriptor: int) -> None:
        os.pwrite(descriptor, json.dumps(asdict(this_process(self._run))).encode(), 0)

    def check(self) -> None:
        """Nobody takes a lock of the kernel from a process that is alive."""

    def confirm(self) -> None:
        """As check()."""

    def release(self) -> None:
        """Let others work there. May be called again."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)  # never unlinked: another process may hold the old file open
            os.close(self._descriptor)
            self._descriptor = None

    def abandon(self) -> None:
        """The process is about to end, and the kernel frees what it holds."""


def holds(root: str, run: str) -> bool:
    """Whether the attempt `run` is alive: the lock file names it and is locked.

    For workers on a host that sees the same disk. It never keeps a run from starting. True where there are no locks.
    """
    holder = read_holder(root)
    if holder is not None and holder.run != run:
        return False
    try:
        locked = _is_locked(root)
    except _UnlockableError:
        return True
    if holder is None or not locked:
        return False
    time.sleep(_SETTLE_S)
    holder = read_holder(root)
    return holder is not None and holder.run == run


def _is_locked(root: str) -> bool:
    """Whether anybody holds the lock. Raises _UnlockableError."""
    path = _lock_path(root)
    with faults.run_level(root), faults.writing(str(path), 0):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


def can_tell(root: str) -> bool:
    """Whether the file system has locks, so that nobody's holding one says something."""
    try:
        _is_locked(root)
    except _UnlockableError:
        return False
    return True


def is_process_of(root: str, holder: Holder) -> bool:
    """Whether the process of this machine that has the holder's id is the holder: it has the lock file open."""
    return leftovers.has_open(holder.pid, _lock_path(root))


def read_holder(root: str) -> Holder | None:
    """Who wrote the lock file of a root on a disk; None where it is missing, empty or being written.

    Says nothing about being alive.
    """
    try:
        found = json.loads(_lock_path(root).read_bytes())
        return Holder(run=str(found["run"]), pid=int(found["pid"]), host=str(found["host"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _lock_path(root: str) -> Path:
    return Path(join(str(local_path(root)), ".farm", "lock"))


def _try_lock(descriptor: int, kind: int) -> bool:
    """Whether the lock is ours now. Raises _UnlockableError where there are none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNLOCKABLE:
            raise _UnlockableError from error
        raise
    return True
