"""Named points that a test can make fail. Nothing happens unless FARM_FAILPOINTS is set when the process starts.

``FARM_FAILPOINTS="storage.fsync.before=EIO@3;decode=kill@2,once=/scratch/killed"`` holds rules separated by semicolons,
each ``PATTERN[~PATH]=ACTION[@N][,once=FILE]``. PATTERN is matched against the names of `POINTS`, PATH, where it is
given, against the path or URL that the point is about (both shell style). ACTION is one of

* ``kill``: SIGKILL to this process, as the kernel does when memory runs out
* ``EIO``, ``ENOSPC``: the OSError that a broken or a full disk gives
* ``503``: what a store answers that has too much to do, after all tries; at a point that is no request to a store, EIO
* ``hang``: never come back

``@N`` means only the N-th hit of that rule in this process (from 1); without it, every hit. A worker that is killed at
its N-th hit comes back, counts anew and is killed again: with ``once=FILE`` a rule acts once in all processes together,
whichever can make that file.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from farm.errors import UsageError

VARIABLE = "FARM_FAILPOINTS"
POINTS: Mapping[str, str] = {
    "claim.before": "driver: a unit of work is about to be handed to a worker",
    "claim.after": "driver: a unit of work has been handed to a worker",
    "decode": "worker: a picture, some rows of one, a frame of a film or a source of a pack is about to be decoded",
    "infer": "worker: the network, or the operation of a pack, is about to run",
    "assemble": "worker: what the network made is about to be put together: windows of a picture, frames of a segment",
    "encode": "worker: a picture, a band, a frame or the samples of a source are about to be encoded",
    "mux": "worker: a packet is about to go into a film: its own, or one of sound and subtitles",
    "join": "worker: bands, segments or samples are about to become one output",
    "ledger.write.before": "driver: an entry, or a segment of entries, is about to be written",
    "ledger.fsync.before": "driver: an entry is written and about to be made durable; disks only",
    "ledger.fsync.after": "driver: an entry, or a segment of entries, is durable",
    "mark.before": "driver: the last row of a shard has ended; it is about to be compacted and marked",
    "mark.after": "driver: a shard has been compacted and marked",
    "storage.stat": "both: a file or an object is about to be looked at",
    "storage.list": "both: a folder, or a page of a listing, is about to be read",
    "storage.read": "both: a file is about to be opened, an object or a range of one to be read",
    "storage.open_write": "both: a file is about to be begun under a temporary name",
    "storage.part": "both: a part of an upload is about to be sent; stores only",
    "storage.fsync.before": "both: a file is written and about to be made durable; disks only",
    "storage.fsync.after": "both: a file is durable and has no name yet; disks only",
    "storage.publish.before": "both: an output is about to appear under its name",
    "storage.publish.after": "both: an output has appeared under its name",
    "storage.delete": "both: a file, an object or a folder is about to be removed",
}
"""by name: in which process a point is hit, and when"""
_ERRNOS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
ACTIONS = ("kill", "hang", "503", *_ERRNOS)
_ONCE = ",once="


class BusyStoreError(Exception):
    """As botocore's ClientError for an answer of 503: whoever reads those reads this."""

    def __init__(self) -> None:
        super().__init__("a failpoint answered 503 SlowDown")
        self.response = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}


class _Counter:
    """Counts from 1; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def next(self) -> int:
        with self._lock:
            self.value += 1
            return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    pattern: str
    path: str
    """pattern of paths"""
    action: str
    nth: int | None
    once: str
    """file that is made by who acts; empty: everybody acts"""
    hits: _Counter = field(default_factory=_Counter)


Hit = Callable[..., None]
_armed: tuple[_Rule, ...] = ()


def _nothing(point: str, path: str = "") -> None:
    """Pass the point named `point`; `path` goes into the error that a rule may raise here."""


def _hit(point: str, path: str = "") -> None:
    for rule in _armed:
        if fnmatchcase(point, rule.pattern) and fnmatchcase(path, rule.path) and rule.nth in (None, rule.hits.next()):
            _act(rule, point, path)


hit: Hit = _nothing
"""Pass the point named `point`; `path` goes into the error that a rule may raise here. Call it as failpoints.hit(), so
that it can be bound anew: a process that started without rules calls a function that does nothing."""


def arm(text: str) -> None:
    """Obey these rules from now on, in this process, counting from 1. Raises UsageError for rules that say nothing."""
    global hit, _armed
    _armed = tuple(_rule(part.strip()) for part in text.split(";") if part.strip())
    hit = _hit if _armed else _nothing


def disarm() -> None:
    """Do nothing at any point again."""
    arm("")


def are_set() -> bool:
    """Whether any point may fail."""
    return hit is not _nothing


def counted() -> tuple[int, ...]:
    """How often each rule has been met so far."""
    return tuple(rule.hits.value for rule in _armed)


def _rule(text: str) -> _Rule:
    where, _, rest = text.partition("=")
    pattern, _, path = where.partition("~")
    what, _, once = rest.partition(_ONCE)
    action, _, nth = what.partition("@")
    if not pattern or action not in ACTIONS or (nth and not nth.isdecimal()) or (_ONCE in rest and not once):
        form = f"PATTERN[~PATH]=ACTION[@N][{_ONCE}FILE]"
        raise UsageError(f"{VARIABLE}: {text!r} is not {form}; use one of {', '.join(ACTIONS)}")
    if not any(fnmatchcase(point, pattern) for point in POINTS):
        raise UsageError(f"{VARIABLE}: {pattern!r} matches no point; use some of {', '.join(POINTS)}")
    return _Rule(pattern=pattern, path=path or "*", action=action, nth=int(nth) if nth else None, once=once)


def _act(rule: _Rule, point: str, path: str) -> None:
    if rule.once and not _is_first(rule.once):
        return
    if rule.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if rule.action == "hang":
        while True:
            time.sleep(3600)
    if rule.action == "503" and point.startswith("storage.") and "://" in path:
        raise BusyStoreError
    number = _ERRNOS.get(rule.action, errno.EIO)
    raise OSError(number, os.strerror(number), path)


def _is_first(file: str) -> bool:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    except FileExistsError:
        return False
    return True


def _first(point: str, path: str = "") -> None:
    """The first point of a process that was started with rules: not sooner, so that whoever reads them can say why not.

    Raises UsageError.
    """
    arm(os.environ.get(VARIABLE, ""))
    hit(point, path)


if os.environ.get(VARIABLE):
    hit = _first
