"""LMDB as basicsr reads it: a folder a role with `data.mdb` and `meta_info.txt`, a line `KEY.png (h,w,c) 1` a file.

A database is made in scratch, in files without a name that are gone with the process however it ends, and published as
LMDB's compacted copy: smaller, and the same bytes for the same samples wherever pages of memory are as large. There is
no lock file: readers open without one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from farm import storage
from farm.errors import DiskError, ErrorKind, ItemError, UsageError
from farm.sample import Sample
from farm.shards import place
from farm.shards.form import as_file
from farm.shards.index import PackFile
from farm.storage import faults

DATA, META_INFO = "data.mdb", "meta_info.txt"
_MAP_BYTES = 1 << 40
"""of address space, as basicsr's own writer takes it; stands in the file"""
_COMMIT_BYTES = 32 << 20
"""written in one transaction: what is held in memory"""
_CHUNK_BYTES = 1 << 20


def load_lmdb() -> Any:
    """The module. Raises UsageError where it is not installed."""
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(
            "lmdb: the package that reads and writes it is not installed; run pip install 'sr-farm[lmdb]', or choose "
            "another form"
        ) from error
    return cast(Any, lmdb)


class LmdbWriter:
    """One database a role; none of a role that no sample has."""

    def __init__(self, part: str, root: storage.OutputRoot, key: str) -> None:
        self._lmdb = load_lmdb()
        self._part = part
        self._root = root
        self._key = key
        self._databases: dict[str, _Database] = {}

    def add(self, sample: Sample) -> Mapping[str, object]:
        for member in sample.members:
            if member.role not in self._databases:
                self._databases[member.role] = _Database(self._lmdb, place.lmdb_folder(member.role, self._part))
            shape = f"({member.height},{member.width},{member.channels})"
            self._databases[member.role].put(sample.key, member.data, f"{sample.key}.{member.extension} {shape} 1\n")
        return {f"{member.role}_path": sample.key for member in sample.members}

    def finish(self) -> Iterator[PackFile]:
        for database in self._databases.values():
            with database.compacted() as copy:
                yield self._publish(f"{database.folder}/{DATA}", copy)
            meta_info = "".join(database.lines).encode("ascii")
            path = f"{database.folder}/{META_INFO}"
            yield as_file(self._root.publish(storage.join(self._root.url, path), meta_info, key=self._key), path)

    def close(self) -> None:
        for database in self._databases.values():
            database.close()

    def _publish(self, path: str, copy: BinaryIO) -> PackFile:
        with self._root.open_stream(storage.join(self._root.url, path), key=self._key) as sink:
            while chunk := _read(copy):
                sink.write(chunk)
            return as_file(sink.commit(), path)


class _Database:
    """A database that is being made in scratch."""

    def __init__(self, lmdb: Any, folder: str) -> None:
        self._lmdb = lmdb
        self.folder = folder
        """where it will lie, below the output root"""
        self.lines: list[str] = []
        self._held_bytes = 0
        with _in_scratch(lmdb):
            descriptor, path = tempfile.mkstemp(prefix="farm-", suffix=".mdb", dir=_scratch())
            os.close(descriptor)
            try:
                self._environment = lmdb.open(
                    path, subdir=False, map_size=_MAP_BYTES, lock=False, sync=False, metasync=False
                )
            finally:
                os.unlink(path)  # what is open stays usable, and is gone when we are
            self._changes = self._environment.begin(write=True)

    def put(self, key: str, data: bytes, line: str) -> None:
        name = key.encode("utf-8")
        if len(name) > self._environment.max_key_size():
            raise ItemError(
                ErrorKind.UNSUPPORTED,
                key,
                f"a name of {len(name)} bytes, and LMDB ends at {self._environment.max_key_size()}",
                "shorten the source's path, or choose another form",
            )
        with _in_scratch(self._lmdb, len(data)):
            self._changes.put(name, data)
            self._held_bytes += len(data)
            if self._held_bytes >= _COMMIT_BYTES:
                self._changes.commit()
                self._changes = self._environment.begin(write=True)
                self._held_bytes = 0
        self.lines.append(line)

    @contextmanager
    def compacted(self) -> Generator[BinaryIO]:
        """The finished file, from its beginning."""
        with _in_scratch(self._lmdb):
            self._changes.commit()
            copy = tempfile.TemporaryFile(prefix="farm-", dir=_scratch())  # noqa: SIM115 # closed below
        try:
            with _in_scratch(self._lmdb):
                self._environment.copyfd(copy.fileno(), compact=True)
            self.close()
            copy.seek(0)
            yield copy
        finally:
            copy.close()

    def close(self) -> None:
        """May be called again."""
        self._environment.close()  # what was not committed goes with it


def _read(copy: BinaryIO) -> bytes:
    with faults.writing(_scratch(), 0):
        return copy.read(_CHUNK_BYTES)


def _scratch() -> str:
    return os.environ.get("FARM_SCRATCH_DIR") or tempfile.gettempdir()


@contextmanager
def _in_scratch(lmdb: Any, nbytes: int = 0) -> Generator[None]:
    folder = _scratch()
    try:
        with faults.run_level(folder), faults.writing(folder, nbytes):
            yield
    except lmdb.Error as error:
        raise DiskError(
            f"{folder}: LMDB failed ({error}); free space or name another folder in FARM_SCRATCH_DIR, then run the "
            "same command again"
        ) from error
