"""The files of samples, one by one and in any order, in every form. Opened when they are first asked for."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.shards import place
from farm.shards.index import PackFile, PartEntry
from farm.shards.lmdb_folder import DATA, load_lmdb
from farm.shards.recent import Recent
from farm.storage import faults, local
from sr_kernel.cache import cache_folder

_OPEN_FILES = 64
_OPEN_DATABASES = 256
"""memory maps of files: address space, and a descriptor each"""
_GROUPS = 4
"""row groups that are kept: as many times farm.shards.table.GROUP_BYTES"""
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file of a sample, as its row says."""

    part: PartEntry
    row: int
    """in the part's table"""
    role: str
    path: str | None
    """below the output root, or the name in the part's shard or database; None where the table holds the file"""
    bytes: int
    sha256: str
    offset: int | None = None
    """in the part's shard"""


class Access(Protocol):
    """Reads members of one data set."""

    def read(self, wanted: Wanted) -> bytes:
        """A member's file. Raises the storage's errors, and ItemError(corrupt) for what is not as it was written."""
        ...


def open_access(form: str, out: str) -> Access:
    """The access to a form's files below an output root. Raises UsageError where a package is missing."""
    kinds: Mapping[str, Callable[[str], Access]] = {
        "tree": TreeAccess,
        "tar": TarAccess,
        "lmdb": LmdbAccess,
        "parquet": ParquetAccess,
    }
    return kinds[form](out)


class TreeAccess:
    """Files by their paths."""

    def __init__(self, out: str) -> None:
        self._out = out

    def read(self, wanted: Wanted) -> bytes:
        return storage.read_bytes(storage.join(self._out, wanted.path or ""))


class TarAccess:
    """Ranges of shards: the table says where each file begins, so no header is read."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._files: Recent[str, BinaryIO] = Recent(_OPEN_FILES, lambda file: file.close())

    def read(self, wanted: Wanted) -> bytes:
        url = storage.join(self._out, place.tar_path(wanted.part.name))
        # A buffer of one byte: what is asked of a store is what is wanted, in one request.
        file = self._files.get(wanted.part.name, lambda: storage.open_read(url, buffer_bytes=1))
        with faults.reading(url):
            file.seek(wanted.offset or 0)
            return file.read(wanted.bytes)


class LmdbAccess:
    """Databases, mapped into memory; those on a store are copied into the user's cache once."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._lmdb = load_lmdb()
        self._paths: dict[str, str] = {}
        """of databases whose file has been looked at, by their URL"""

    def read(self, wanted: Wanted) -> bytes:
        path = f"{place.lmdb_folder(wanted.role, wanted.part.name)}/{DATA}"
        url, key = storage.join(self._out, path), wanted.path or ""
        try:
            with self._database(url, path, wanted.part).begin() as view:
                data: bytes | None = view.get(key.encode("utf-8"))
        except self._lmdb.Error as error:
            found, advice = f"LMDB failed ({error})", "close it where else this process has it open, or make it again"
            raise ItemError(ErrorKind.STORAGE_ERROR, url, found, advice) from error
        if data is None:
            raise damaged(url, f"no entry {key}")
        return data

    def _database(self, url: str, path: str, part: PartEntry) -> Any:
        where = self._paths.get(url) or self._locate(url, path, part)
        self._paths[url] = where

        def open_it() -> Any:
            return self._lmdb.open(where, subdir=False, readonly=True, lock=False, readahead=False)

        return _databases(os.getpid()).get(where, open_it)

    def _locate(self, url: str, path: str, part: PartEntry) -> str:
        """A path on this machine; a file of another size is refused, for reading behind its end kills a process."""
        file = next((one for one in part.files if one.path == path), None)
        if file is None:
            raise damaged(storage.join(self._out, place.INDEX), f"part {part.name} has no {path}")
        where = os.path.realpath(storage.local_path(url) or _cached(url, file))
        if (size := storage.stat(where).bytes) != file.bytes:
            raise damaged(url, f"{size} bytes where the data set's list says {file.bytes}")
        return where


@lru_cache(maxsize=1)
def _databases(_pid: int) -> Recent[str, Any]:
    """What this process has open, by path: LMDB refuses to open a file twice, and must not share one over a fork."""
    return Recent(_OPEN_DATABASES, lambda database: database.close())


class ParquetAccess:
    """Row groups of the tables of samples."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._tables: Recent[str, Any] = Recent(_OPEN_FILES, lambda table: table.close(force=True))
        self._groups: Recent[tuple[str, int, str], Any] = Recent(_GROUPS * 3)

    def read(self, wanted: Wanted) -> bytes:
        part, role = wanted.part.name, wanted.role
        url = storage.join(self._out, place.samples_path(part))
        table = self._tables.get(part, lambda: open_parquet(url))
        number, first = 0, 0
        while (rows := table.metadata.row_group(number).num_rows) + first <= wanted.row:
            number, first = number + 1, first + rows
        group = self._groups.get((part, number, role), lambda: read_parquet(url, table, [role], number))
        return group[role][wanted.row - first].as_py()


def open_parquet(url: str) -> Any:
    """A pyarrow.parquet.ParquetFile. Raises the storage's errors, and ItemError(corrupt)."""
    from pyarrow import parquet

    with ExitStack() as stack:
        file = stack.enter_context(storage.open_read(url))
        with _parsing(url):
            table = cast(Any, parquet).ParquetFile(file)
        stack.pop_all()  # the table closes it
        return table


def read_parquet(url: str, table: Any, columns: list[str], group: int | None = None) -> Any:
    """Columns of an open file, or of one of its row groups, as a pyarrow.Table. Errors as open_parquet().

    By this thread alone: pyarrow's own do not live on in a process that was forked.
    """
    with _parsing(url):
        if group is None:
            return table.read(columns=columns, use_threads=False)
        return table.read_row_group(group, columns=columns, use_threads=False)


@contextmanager
def _parsing(url: str) -> Generator[None]:
    import pyarrow

    try:
        with faults.reading(url):
            try:
                yield
            except OSError as error:
                if error.errno is not None:  # else Arrow has said it, of what it could not make sense of
                    raise
                raise damaged(url, f"a damaged Parquet file ({error})") from error
    except cast(Any, pyarrow).ArrowException as error:
        raise damaged(url, f"a damaged Parquet file ({error})") from error


def damaged(url: str, found: str) -> ItemError:
    """The error of a part that is not as it was written."""
    return ItemError(ErrorKind.CORRUPT, url, found, "delete the part's table in sources/ and make the data set again")


def _cached(url: str, file: PackFile) -> Path:
    """A copy on this machine, by its digest; one process fetches it and the others wait. Raises DiskError too."""
    target = cache_folder("datasets") / "by-sha256" / file.sha256 / storage.name(url)
    with faults.writing(str(target), file.bytes):
        local.make_folder(target.parent)
        with (target.parent / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():  # nothing gets that name before it is complete and right
                _fetch(url, file, target)
    return target


def _fetch(url: str, file: PackFile, target: Path) -> None:
    part, digest = target.with_name(".part"), hashlib.sha256()
    with storage.open_read(url) as source, part.open("wb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            sink.write(chunk)
        sink.flush()
        os.fsync(sink.fileno())
    if digest.hexdigest() != file.sha256:
        part.unlink()
        raise damaged(url, "another file than the data set's list names")
    os.replace(part, target)
    local.sync_folder(target.parent)
