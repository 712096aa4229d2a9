"""The lock of a store that creates conditionally: a lease by epochs, objects ROOT/.farm/lock/EPOCH.json.

Each object is made once, by whoever takes over, and replaced by its maker alone. The highest epoch holds, unless it
says that it is released, or is older than its lease: older by the store's clock, which dates both the object and the
answer. To take over is to make the next epoch; of several who try, the store lets one. The winner removes lower
epochs, and nobody ever removes the highest, so no number is used twice.

The holder renews its object four times a lease, and counts by its own clock from before each request. When it could
not for three quarters of the lease it counts itself out, a quarter before anybody else may.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farm import clock, leftovers, storage
from farm.errors import BusyError, ErrorKind, FarmError, ItemError, LostLockError, UsageError
from farm.lock.holder import Holder, busy, this_process
from farm.storage import faults

VARIABLE = "FARM_LOCK_LEASE_S"
_LEASE_S = 60.0
_SHORTEST_S, _LONGEST_S = 2.0, 3600.0
_RENEWALS = 4
"""a lease; one of them is the margin between the holder's own end and everybody else's"""
_TICK_S = 1.0
"""stores date by whole seconds: an age may be that much too high"""
_PAUSE_S = 0.25
"""between two tries to renew"""
LIMIT_S = 30.0
"""of a request while the lock is taken, or looked at"""
_TRIES = 5
"""to find out who holds it, while others come and go"""
_ASKED_S = 5.0
"""a worker asks no more often"""
_ABANDON_S = 1.0
_LOG = logging.getLogger("farm.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One object of a lock."""

    number: int
    holder: Holder | None
    """None where it says nothing that we know"""
    lease_s: float
    is_released: bool
    age_s: float
    """by the store's clock"""

    @property
    def left_s(self) -> float:
        """Seconds for which it still holds; none or fewer when anybody may take over."""
        return 0.0 if self.is_released else self.lease_s + _TICK_S - self.age_s


class LeaseLock:
    """One attempt's hold on an output root of a store."""

    def __init__(self, root: str, run: str) -> None:
        self._root = root
        self._me = this_process(run)
        self._lease_s = lease_s()
        self._next = 0
        """that may be made, as far as is known; 0: nobody has looked"""
        self._epoch = 0
        """ours; 0: none"""
        self._renewed_s = 0.0
        """when the last renewal that came through was begun"""
        self._trouble = ""
        """what kept the last renewal from coming through"""
        self._successor: Holder | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False
        self._mark: int | None = None
        """descriptor of an empty file in memory that is named for the run, by which others tell this process"""

    def look(self) -> None:
        """Raise BusyError where another run holds the lock; writes nothing."""
        with faults.run_level(self._root):
            self._look()

    def take(self) -> None:
        """Raises BusyError where another run holds it, CredentialsError or UnreachableError where nobody can."""
        try:
            with faults.run_level(self._root):
                self._take()
            self._mark = os.memfd_create(_mark(self._me.run))
        except BaseException:
            self.release()
            raise
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        for _ in range(_TRIES):
            if not self._next:
                self._look()
            number, self._next = self._next, 0
            began_s = clock.now_s()
            made = storage.create(_url(self._root, number), self._content(), limit_s=LIMIT_S)
            if not made and not self._is_mine(number):
                continue  # another one was faster, and is asked about
            self._epoch, self._renewed_s = number, began_s
            others = epochs(self._root, LIMIT_S)
            if max(others, default=0) > number:  # it was free because its like had come and gone
                storage.delete(_url(self._root, number))
                self._epoch = 0
                continue
            for other in others:
                if other < number:
                    storage.delete(_url(self._root, other))
            return
        raise BusyError(busy(self._root, None))

    def _look(self) -> None:
        found = newest(self._root, LIMIT_S)
        if found is not None and found.left_s > 0:
            advice = f"wait until it ends, or stop it; killed, it holds for {found.left_s:.0f} s more"
            raise BusyError(busy(self._root, found.holder, advice))
        self._next = found.number + 1 if found else 1

    def _is_mine(self, number: int) -> bool:
        """Whether the object that is there is the one that we made, and were not told of."""
        found = _read(self._root, number, LIMIT_S)
        return found is not None and found.holder == self._me

    def _content(self, *, released: bool = False) -> bytes:
        return json.dumps({**asdict(self._me), "lease_s": self._lease_s, "released": released}).encode()

    # -- while it is held --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise LostLockError when the lease has not been renewed in time, or is another run's. Asks no store."""
        if self._epoch and self._is_over():
            if self._successor is not None:
                found = f"run {self._successor.run} on {self._successor.host} has taken over"
            else:
                found = f"the lease could not be renewed for {clock.now_s() - self._renewed_s:.0f} s{self._trouble}"
            raise LostLockError(f"{self._root}: {found}; nothing more is written, run the same command again")

    def confirm(self) -> None:
        """check(), and ask the store who holds it: a machine that is frozen stands still with its clock, and has lost
        the lock without knowing it. Raises LostLockError, CredentialsError or UnreachableError."""
        self.check()
        if self._epoch:
            with faults.run_level(self._root):
                self._find_successor(LIMIT_S)
            self.check()

    def _find_successor(self, limit_s: float) -> None:
        """Whether there is a later epoch, and whose."""
        highest = max(epochs(self._root, limit_s), default=0)
        if highest > self._epoch:
            found = _read(self._root, highest, limit_s)
            self._successor = found.holder if found else None
            self._lost = True

    def _is_over(self) -> bool:
        self._lost = self._lost or clock.now_s() > self._renewed_s + self._lease_s * (1 - 1 / _RENEWALS)
        return self._lost

    def _keep(self) -> None:
        """Renew until the end, or until it is too late."""
        pause_s = self._lease_s / _RENEWALS
        while not self._ending.wait(pause_s) and not self._is_over():
            began_s = clock.now_s()
            try:
                self._renew()
            except FarmError as error:
                self._trouble = f" ({error})"  # said by check() if it does not pass
                pause_s = _PAUSE_S
                continue
            if not self._is_over():
                self._renewed_s, self._trouble = began_s, ""
                pause_s = self._lease_s / _RENEWALS

    def _renew(self) -> None:
        limit_s = self._lease_s / _RENEWALS
        self._find_successor(limit_s)
        if not self._lost and not self._ending.is_set():
            storage.replace(_url(self._root, self._epoch), self._content(), limit_s=limit_s)

    def release(self) -> None:
        """Let others work there at once. May be called again."""
        if not self._epoch:
            return
        self._ending.set()
        if self._thread is not None:
            self._thread.join(self._lease_s / _RENEWALS)  # or a late renewal would follow what is said now
        mark, self._mark = self._mark, None
        if mark is not None:
            os.close(mark)
        epoch, self._epoch = self._epoch, 0
        if self._is_over():
            return
        try:
            self._say_released(epoch, self._lease_s / _RENEWALS)
        except FarmError as error:  # all work is done, or something worse is being said
            _LOG.warning("the lock of %s is freed only when its lease ends: %s", self._root, error)

    def abandon(self) -> None:
        """release() for a process that ends in the middle of things, from any thread; it waits a second at most."""
        if self._epoch and not self._is_over():
            self._ending.set()
            self._say_released(self._epoch, _ABANDON_S)

    def _say_released(self, epoch: int, limit_s: float) -> None:
        storage.replace(_url(self._root, epoch), self._content(released=True), limit_s=limit_s)


class Witness:
    """What a worker knows of who holds the lock, asked now and then."""

    def __init__(self, root: str, run: str) -> None:
        self._root = root
        self._run = run
        self._asked_s = float("-inf")
        self._holds = True
        self._lock = threading.Lock()

    def holds(self) -> bool:
        """Whether the run held the lock some seconds ago at most; once it does not, it never does again.

        True where there is no lock at all: the store cannot have one. Raises as reading does.
        """
        with self._lock:
            if self._holds and clock.now_s() - self._asked_s > min(_ASKED_S, lease_s() / _RENEWALS):
                began_s = clock.now_s()
                found = newest(self._root, LIMIT_S)
                self._holds = found is None or (_is_of(found, self._run) and found.left_s > 0)
                self._asked_s = began_s
            return self._holds


def is_process_of(holder: Holder) -> bool:
    """Whether the process of this machine that has the holder's id is the holder: it has the run's mark open."""
    return leftovers.has_open(holder.pid, Path(f"/memfd:{_mark(holder.run)} (deleted)"))


def _mark(run: str) -> str:
    return f"farm-{run}"


def _is_of(found: Epoch, run: str) -> bool:
    return found.holder is not None and found.holder.run == run


def lease_s() -> float:
    """How long a lease lasts that this process takes. Raises UsageError for what FARM_LOCK_LEASE_S must not be."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return _LEASE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise UsageError(f"{VARIABLE}: {text!r} is no number of seconds in {_SHORTEST_S:.0f}..{_LONGEST_S:.0f}")
    return seconds


def newest(root: str, limit_s: float) -> Epoch | None:
    """The highest epoch, which holds or has held the lock; None where nobody ever did."""
    for _ in range(_TRIES):
        highest = max(epochs(root, limit_s), default=0)
        found = _read(root, highest, limit_s) if highest else None
        if found is not None or not highest:
            return found
    raise BusyError(busy(root, None))


def epochs(root: str, limit_s: float) -> list[int]:
    """The numbers of all that are there."""
    names = storage.names(_folder(root), limit_s=limit_s)
    return [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal()]


def _read(root: str, number: int, limit_s: float) -> Epoch | None:
    """One epoch; None where a later holder has removed it."""
    try:
        data, age_s = storage.read_aged(_url(root, number), limit_s=limit_s)
    except ItemError as error:
        if error.kind is ErrorKind.MISSING:
            return None
        raise
    return _epoch_of(number, data, age_s)


def _epoch_of(number: int, data: bytes, age_s: float) -> Epoch:
    """What nobody of ours has written holds as long as one of ours would."""
    holder, lease, released = None, _LEASE_S, False
    try:
        said: Any = json.loads(data)
        holder = Holder(run=str(said["run"]), pid=int(said["pid"]), host=str(said["host"]))
        lease, released = min(_LONGEST_S, float(said["lease_s"])), said["released"] is True
    except (ValueError, KeyError, TypeError):
        holder = None
    return Epoch(number=number, holder=holder, lease_s=lease, is_released=released, age_s=age_s)


def _folder(root: str) -> str:
    return storage.join(root, ".farm", "lock")


def _url(root: str, number: int) -> str:
    return storage.join(_folder(root), f"{number:010d}.json")
