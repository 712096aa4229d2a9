"""More records than memory should hold: sorted by an 8-byte key in arrays up to a bound, beyond it in scratch files.

A room is filled, then read once: in sorted pieces (`iter_sorted`), or as an index that is looked up (`index`). Records
are scattered over partitions by the top bits of their key, so that each partition is sorted by itself. Scratch files
never have a name: they are gone with the process, however it ends. The folder is FARM_SCRATCH_DIR, else the system's.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from farm.storage import faults

BOUND_BYTES = 8 << 20
"""records of one room that are kept in memory; while they are sorted for scratch there are three times as many"""
_PARTITION_BITS = 6
_KEY = "key"
Hashes = NDArray[np.uint64]
Records = NDArray[Any]
"""of the room's own structured type; field `key` first"""


def hashes(texts: Iterable[str], count: int) -> Hashes:
    """8 bytes for each of `count` texts: equal for equal texts in this process, and not to be kept beyond it."""
    return np.fromiter(map(hash, texts), np.int64, count).view(np.uint64)


class Room:
    """Records in, sorted by key out. Close it, or use it as a context. Raises DiskError where scratch has no room."""

    def __init__(self, *fields: tuple[str, str], bound_bytes: int | None = None) -> None:
        """`fields`: (name, numpy type) of what is kept beside each key."""
        self._type = np.dtype([(_KEY, "<u8"), *fields])
        self._bound_bytes = BOUND_BYTES if bound_bytes is None else bound_bytes
        self._held: list[Records] = []
        self._held_bytes = 0
        self._file: BinaryIO | None = None
        self._extents: list[list[tuple[int, int]]] = [[] for _ in range(1 << _PARTITION_BITS)]
        """(offset, bytes) in the file of the records of each partition"""
        self.count = 0

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory and scratch. May be called again."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def add(self, keys: Hashes, **columns: NDArray[Any]) -> None:
        """Put in one record a key; `columns` are the room's fields, of the same length."""
        records = np.empty(len(keys), self._type)
        records[_KEY] = keys
        for name, values in columns.items():
            records[name] = values
        self._held.append(records)
        self._held_bytes += records.nbytes
        self.count += len(records)
        if self._held_bytes > self._bound_bytes:
            self._spill()

    def _spill(self) -> None:
        records = np.concatenate(self._held)
        self._held.clear()
        self._held_bytes = 0
        partition = (records[_KEY] >> np.uint64(64 - _PARTITION_BITS)).astype(np.uint8)
        records = records[np.argsort(partition, kind="stable")]
        ends = np.cumsum(np.bincount(partition, minlength=1 << _PARTITION_BITS)) * self._type.itemsize
        self._file = self._file or _scratch()
        with _writing(records.nbytes):
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(records.view(np.uint8).data)
        before = 0
        for number, end in enumerate(map(int, ends)):
            if end > before:
                self._extents[number].append((start + before, end - before))
            before = end

    def iter_sorted(self) -> Iterator[Records]:
        """All records in pieces, by key; of equal keys, which are always in one piece, in the order they came."""
        if self._file is None:
            yield _sorted(np.concatenate(self._held) if self._held else np.empty(0, self._type))
            return
        if self._held:
            self._spill()
        for extents in self._extents:
            if extents:
                pieces = [np.frombuffer(_read(self._file, *extent), self._type) for extent in extents]
                yield _sorted(np.concatenate(pieces))

    def index(self) -> Index:
        """The records to be looked up by key. Uses up the room."""
        if self._file is None:
            (records,) = self.iter_sorted()
            self.close()
            return Index(np.ascontiguousarray(records[_KEY]), records, release=lambda: None)
        keys, payload = _scratch(), _scratch()
        for records in self.iter_sorted():
            with _writing(records.nbytes):
                keys.write(np.ascontiguousarray(records[_KEY]).data)
                payload.write(records.view(np.uint8).data)
        self.close()
        return _mapped(keys, payload, self._type)


class Index:
    """Records sorted by key, in memory or mapped from scratch."""

    def __init__(self, keys: Hashes, records: Records, *, release: Callable[[], None]) -> None:
        self._keys = keys
        self._records = records
        self._release = release

    def find(self, keys: Hashes) -> tuple[NDArray[np.int64], Records]:
        """(position in `keys`, record) of every record that has one of `keys`; several for a key that several have."""
        low = np.searchsorted(self._keys, keys, "left")
        counts = np.searchsorted(self._keys, keys, "right") - low
        asked = np.repeat(np.arange(len(keys)), counts)
        nth = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = self._records[np.repeat(low, counts) + nth]
        self._release()
        return asked, found


def _mapped(keys: BinaryIO, payload: BinaryIO, record_type: np.dtype[Any]) -> Index:
    maps: list[mmap.mmap] = []
    with _writing(0):
        for file in (keys, payload):
            file.flush()
            maps.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
            file.close()

    def release() -> None:
        for one in maps:
            one.madvise(mmap.MADV_DONTNEED)  # or all that was ever looked at counts as ours

    return Index(np.frombuffer(maps[0], np.uint64), np.frombuffer(maps[1], record_type), release=release)


def _sorted(records: Records) -> Records:
    return records[np.argsort(records[_KEY], kind="stable")]


def _scratch() -> BinaryIO:
    with _writing(0):
        return tempfile.TemporaryFile(prefix="farm-", dir=os.environ.get("FARM_SCRATCH_DIR"))


def _read(file: BinaryIO, offset: int, nbytes: int) -> bytes:
    with _writing(0):
        file.flush()
        data = os.pread(file.fileno(), nbytes, offset)
        if len(data) != nbytes:
            raise OSError(f"{len(data)} bytes where {nbytes} were written")
        return data


@contextmanager
def _writing(nbytes: int) -> Generator[None]:
    folder = os.environ.get("FARM_SCRATCH_DIR") or tempfile.gettempdir()
    with faults.run_level(folder), faults.writing(folder, nbytes):
        yield
