"""One run at a time in an output root.

disk.py    a disk: flock, freed by the kernel when its holder dies
lease.py   a store that creates conditionally: a lease, taken over when it has run out
holder.py  who holds it

On other stores, and on disks without flock, nothing can be locked, and `RunLock.warning` says so. The lock is taken
before anything heavy is loaded, so that the second of two runs says so at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from farm import storage
from farm.errors import BusyError
from farm.lock import disk, lease
from farm.lock.disk import DiskLock, read_holder
from farm.lock.holder import Holder, begun_unix, busy, new_run_id
from farm.lock.lease import LeaseLock, Witness
from farm.records import FileStat
from farm.storage import faults
from farm.storage.urls import local_path

__all__ = [
    "Holder",
    "RunLock",
    "Standing",
    "busy",
    "current_holder",
    "holds",
    "is_process_of",
    "new_run_id",
    "read_holder",
    "standing",
]


_YOUNG_S = 24 * 3600.0
"""where nothing locks: what is younger may be of a run that is alive"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a root's lock says."""

    holder: Holder | None
    """the run that holds it now"""
    is_told: bool
    """whether it could be asked: where not, that nobody holds it says nothing"""


class RunLock:
    """Context manager: inside, nobody else runs in `root`.

    Entering raises BusyError where another run holds the lock, DiskError, CredentialsError or UnreachableError where
    there can be none. `run` is the unique id of this attempt, fixed when the object is made.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.run = new_run_id()
        self.warning: str | None = None
        """what the lock cannot promise, once it is entered"""
        self._held: DiskLock | LeaseLock | None = None

    def __enter__(self) -> RunLock:
        self._held = self._disk() if local_path(self.root) else self._lease()
        return self

    def __exit__(self, *_: object) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _disk(self) -> DiskLock:
        held = DiskLock(self.root, self.run)
        held.take()
        if held.has_none:
            found = "this file system has no locks (flock), so there is no lock"
            self.warning = f"{self.root}: {found}; see that no other run writes there"
        return held

    def _lease(self) -> LeaseLock | None:
        held = LeaseLock(self.root, self.run)
        held.look()
        with faults.run_level(self.root):
            can_lock = storage.capabilities(self.root).conditional_create
        if can_lock:
            held.take()
            return held
        self.warning = (
            f"{self.root}: this store replaces what it should only make where there is nothing, so there is no lock; "
            "see that no other run writes there"
        )
        return None

    def check(self) -> None:
        """Raise LostLockError when the lock is not ours any more. Costs nothing: asked before each thing is written."""
        if self._held is not None:
            self._held.check()

    def confirm(self) -> None:
        """check(), by the word of the store: before what is there is replaced or removed for good. Costs a request."""
        if self._held is not None:
            self._held.confirm()

    def is_dead(self, attempt: str) -> bool:
        """Whether what an attempt has left may go: it is ours, or nobody else can be alive, or it began a day ago."""
        if self.warning is None or attempt == self.run:
            return True
        begun = begun_unix(attempt)
        return begun is not None and begun < time.time() - _YOUNG_S

    def is_settled(self, found: FileStat) -> bool:
        """Whether nobody who is alive can have written a file, by its date where nothing locks."""
        return self.warning is None or (found.mtime_ns or 0) / 1e9 < time.time() - _YOUNG_S

    def abandon(self) -> None:
        """Free the lock if that takes no time; for a process that is ended in the middle of things."""
        if self._held is not None:
            self._held.abandon()


def current_holder(root: str) -> Holder | None:
    """The run that holds a root's lock now; None where nobody does, or where nothing locks."""
    return standing(root).holder


def standing(root: str) -> Standing:
    """Who holds a root's lock. Writes nothing, and raises what reading there raises.

    On a store a killed run holds its lease until that ends, and of a store on which no run has had a lease nothing is
    known: what it can do is found out by writing.
    """
    if local_path(root):
        found = read_holder(root)
        is_held = found is not None and disk.holds(root, found.run)
        return Standing(holder=found if is_held else None, is_told=is_held or disk.can_tell(root))
    with faults.run_level(root):
        try:
            epoch = lease.newest(root, lease.LIMIT_S)
        except BusyError:
            return Standing(holder=None, is_told=False)
    if epoch is None:
        return Standing(holder=None, is_told=False)
    holder = epoch.holder if epoch.left_s > 0 else None
    return Standing(holder=holder, is_told=holder is not None or epoch.left_s <= 0)


def is_process_of(root: str, holder: Holder) -> bool:
    """Whether the process of this machine that has the holder's id is the holder."""
    return disk.is_process_of(root, holder) if local_path(root) else lease.is_process_of(holder)


def holds(root: str, run: str, *, now: bool = False) -> bool:
    """Whether the attempt `run` is alive and may publish; on a store as it was some seconds ago unless `now` is wanted,
    where it has a lock.

    For workers, on a disk only those of a host that sees it. Raises what reading there raises.
    """
    if local_path(root):
        return disk.holds(root, run)
    with faults.run_level(root):
        return (Witness(root, run) if now else _witness(root, run)).holds()


@lru_cache(maxsize=8)
def _witness(root: str, run: str) -> Witness:
    return Witness(root, run)
