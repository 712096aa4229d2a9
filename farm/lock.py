"""One run at a time in an output root: flock on ROOT/.farm/lock, freed by the kernel when its holder dies.

The lock is taken before anything heavy is loaded, so that the second of two runs says so at once. Leases across hosts
come later; on object stores there is no lock yet, and `RunLock.warning` says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from farm.errors import BusyError
from farm.storage import faults, local
from farm.storage.urls import join, local_path

_PATIENCE_S = 0.5
"""how long a refusal is doubted: `holds` takes the lock, shared, for some microseconds"""
_PAUSE_S = 0.02
_SETTLE_S = 0.002
"""more than a new holder needs from taking the lock to writing its own name into it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What the lock file says about the run that holds it."""

    run: str
    pid: int
    host: str


def new_run_id() -> str:
    """A unique name of an attempt that sorts by time: 20260131T235959Z-1a2b3c4d (UTC)."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class RunLock:
    """Context manager: inside, nobody else runs in `root`.

    Entering raises BusyError where another run holds the lock, DiskError or CredentialsError where the lock file
    cannot be made. `run` is the unique id of this attempt, fixed when the object is made.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.run = new_run_id()
        self.warning = (
            None if local_path(root) else f"{root}: object stores have no lock yet; see that no other run writes there"
        )
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        path = _lock_path(self.root)
        if path is None:
            return self
        with faults.run_level(self.root), faults.writing(str(path), 0):
            local.make_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._take(descriptor, path)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)  # never unlinked: another process may hold the old file open
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, descriptor: int, path: Path) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise BusyError(_busy(self.root, read_holder(path)))
            time.sleep(_PAUSE_S)
        me = {"run": self.run, "pid": os.getpid(), "host": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)


def holds(root: str, run: str) -> bool:
    """Whether the attempt `run` is alive: the lock file names it and is locked.

    For workers on a host that sees the same disk, before they publish. It never keeps a run from starting. True on
    object stores, where nothing can be asked.
    """
    path = _lock_path(root)
    if path is None:
        return True
    holder = read_holder(path)
    if holder is None or holder.run != run:
        return False
    with faults.run_level(root), faults.writing(str(path), 0):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            locked = not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)
    if not locked:
        return False
    time.sleep(_SETTLE_S)
    holder = read_holder(path)
    return holder is not None and holder.run == run


def read_holder(path: Path) -> Holder | None:
    """Who wrote the lock file; None where it is missing, empty or being written. Says nothing about being alive."""
    try:
        found = json.loads(path.read_bytes())
        return Holder(run=str(found["run"]), pid=int(found["pid"]), host=str(found["host"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _lock_path(root: str) -> Path | None:
    path = local_path(root)
    return Path(join(str(path), ".farm", "lock")) if path else None


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(root: str, holder: Holder | None) -> str:
    who = f"run {holder.run} (process {holder.pid} on {holder.host})" if holder else "another run"
    return f"{root}: {who} is working there; wait until it ends, or stop it"
