"""Writing the ledger: one writer a run, one file or row of segments a shard."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from farm import failpoints, storage
from farm.errors import FarmError
from farm.ledger.codec import encode
from farm.ledger.files import ledger_folder, shard_name
from farm.records import LedgerEntry
from farm.storage import faults, local

SEGMENT_ENTRIES = 256
SEGMENT_S = 5.0
_STEP_S = 0.001

_OPEN_FILES = 64


class _Log(Protocol):
    def append(self, shard: int, line: bytes, *, durable: bool) -> None: ...
    def flush(self) -> None: ...
    def release(self, shard: int) -> None: ...
    def close(self) -> None: ...


class Ledger:
    """The one writer of a run's entries; threads may share it. Use as a context manager, or call close().

    Every method may raise DiskError, CredentialsError or UnreachableError: the run cannot go on then.
    """

    def __init__(self, root: str, run: str, may_write: Callable[[], None] = lambda: None) -> None:
        """`may_write` is called before anything appears on a store; it raises where the run must write no more."""
        path = storage.local_path(root)
        self._log: _Log = _FileLog(path, run) if path else _SegmentLog(root, run, may_write)
        self.may_write = may_write
        self._least_unix = 0.0

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seen(self, asserted_unix: float) -> None:
        """Entries of that time are there: what is recorded from now on is later, whatever this machine's clock says."""
        self._least_unix = max(self._least_unix, round(asserted_unix + _STEP_S, 3))

    def _later(self, entry: LedgerEntry) -> LedgerEntry:
        if entry.asserted_unix >= self._least_unix:
            return entry
        if entry.noted_unix:
            return replace(entry, noted_unix=self._least_unix)
        return replace(entry, finished_unix=self._least_unix)

    def append(self, entry: LedgerEntry) -> None:
        """Record one entry: durable on return on a local disk, within SEGMENT_S on an object store."""
        self._log.append(entry.shard, encode(self._later(entry)) + b"\n", durable=True)

    def note(self, entry: LedgerEntry) -> None:
        """Record what the next run would find out by itself, such as where a row stands; durable after flush()."""
        self._log.append(entry.shard, encode(self._later(entry)) + b"\n", durable=False)

    def touch(self, shard: int) -> None:
        """See that a shard has a segment, and so no done mark any more; durable on return."""
        self._log.append(shard, b"", durable=True)
        self._log.flush()

    def release(self, shard: int) -> None:
        """flush() for one shard, and let go of its file: it is about to be compacted."""
        self._log.release(shard)

    def flush(self) -> None:
        """Make everything that was appended durable."""
        self._log.flush()

    def close(self) -> None:
        """flush(), then let go of the files. May be called again."""
        self._log.close()


class _FileLog:
    """One file a shard; an entry that could not be written whole is cut off again."""

    def __init__(self, root: Path, run: str) -> None:
        self._root = root
        self._run = run
        self._lock = threading.Lock()
        self._files: dict[int, int] = {}
        self._unsynced: set[int] = set()

    def append(self, shard: int, line: bytes, *, durable: bool) -> None:
        path = str(self._path(shard))
        with self._lock, faults.run_level(path), faults.writing(path, len(line)):
            descriptor = self._files.get(shard)
            if descriptor is None:
                if len(self._files) >= _OPEN_FILES:
                    self._close_all()
                descriptor = self._files[shard] = self._open(shard)
            end = os.lseek(descriptor, 0, os.SEEK_END)
            try:
                failpoints.hit("ledger.write.before", path)
                _write(descriptor, line)
                if durable:
                    self._sync(shard)
                else:
                    self._unsynced.add(shard)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
            failpoints.hit("ledger.fsync.after", path)

    def _sync(self, shard: int) -> None:
        failpoints.hit("ledger.fsync.before", str(self._path(shard)))
        os.fsync(self._files[shard])
        self._unsynced.discard(shard)

    def _path(self, shard: int) -> Path:
        return Path(ledger_folder(str(self._root))) / shard_name(shard) / f"{self._run}.jsonl"

    def _open(self, shard: int) -> int:
        path = self._path(shard)
        local.make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        whole = path.read_bytes().rfind(b"\n") + 1  # only a run that is taken up under its own name has some
        os.ftruncate(descriptor, whole)
        local.sync_folder(path.parent)
        return descriptor

    def flush(self) -> None:
        with self._lock:
            self._sync_all()

    def _sync_all(self) -> None:
        for shard in sorted(self._unsynced):
            path = str(self._path(shard))
            with faults.run_level(path), faults.writing(path, 0):
                self._sync(shard)

    def _close_all(self) -> None:
        self._sync_all()
        while self._files:
            os.close(self._files.popitem()[1])

    def release(self, shard: int) -> None:
        with self._lock:
            self._sync_all()
            descriptor = self._files.pop(shard, None)
            if descriptor is not None:
                os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            self._close_all()


def _write(descriptor: int, data: bytes) -> None:
    """All of it: a disk that fills in the middle takes a part, and says why only to who comes with the rest."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class _SegmentLog:
    """Entries wait in memory until a segment is full or its first entry is SEGMENT_S old."""

    def __init__(self, root: str, run: str, may_write: Callable[[], None]) -> None:
        self._root = root
        self._run = run
        self._may_write = may_write
        self._lock = threading.RLock()
        self._waiting: dict[int, list[bytes]] = {}
        self._segments = 0
        self._timer: threading.Timer | None = None
        self._error: FarmError | None = None

    def append(self, shard: int, line: bytes, *, durable: bool) -> None:  # noqa: ARG002 (all wait alike)
        with self._lock:
            self._waiting.setdefault(shard, []).append(line)
            if self._error or sum(map(len, self._waiting.values())) >= SEGMENT_ENTRIES:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(SEGMENT_S, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def _flush_late(self) -> None:
        try:
            self.flush()
        except FarmError as error:
            self._error = error  # the entries still wait: the next append or close tries again, and raises

    def flush(self) -> None:
        with self._lock:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            for shard in sorted(self._waiting):
                url = storage.join(
                    ledger_folder(self._root), shard_name(shard), f"{self._run}-{self._segments:06d}.jsonl"
                )
                data = b"".join(self._waiting[shard])
                self._may_write()
                with faults.run_level(url), faults.writing(url, len(data)):
                    failpoints.hit("ledger.write.before", url)
                    storage.publish(url, data, attempt=self._run)
                    failpoints.hit("ledger.fsync.after", url)
                self._segments += 1
                del self._waiting[shard]
            self._error = None

    def release(self, shard: int) -> None:
        if self._waiting.get(shard):
            self.flush()

    def close(self) -> None:
        self.flush()
