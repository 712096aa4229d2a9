"""Reading the ledger, shard by shard; of a compacted shard only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar, cast

from farm import storage
from farm.errors import DiskError, UnreachableError, UsageError
from farm.ledger.codec import SCHEMA, decode
from farm.ledger.files import ShardFiles, read_shards
from farm.ledger.mark import Mark, mark_from
from farm.ledger.table import ENTRY, Table, concatenated, constant, iter_entries, schema, settled, table_of
from farm.records import ItemStatus, LedgerEntry
from farm.storage import faults

T = TypeVar("T")
_TRIES = 3
SCHEMA_KEY, CONTENT_KEY, MARK_KEY = b"farm.schema", b"farm.content", b"farm.mark"
"""metadata of a compacted file: schema of its entries, digest of them, its done mark"""


def read_ledger(root: str) -> dict[str, LedgerEntry]:
    """What counts, by key: the latest entry of each, without `done` items whose output another item has since replaced.

    All of it in memory, so for ledgers of some hundred thousand entries. Raises DiskError where a line other than a
    torn last one is damaged, UsageError for a newer farm's ledger.
    """
    entries = _latest(entry for shard in read_shards(root).values() for entry in _iter_shard(shard))
    owner: dict[str, LedgerEntry] = {}
    for entry in entries.values():
        if made_output(entry):
            other = owner.get(entry.output)
            if other is None or entry.asserted_unix >= other.asserted_unix:
                owner[entry.output] = entry
    return {key: one for key, one in entries.items() if not made_output(one) or owner[one.output] is one}


def reread(read: Callable[[], T]) -> T:
    """What `read` gives, which looks on while a run works: once its shard is compacted, segments that were listed are
    gone, and it is tried anew. Raises what it raises at last."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except (DiskError, UnreachableError):
            continue
    return read()


def _iter_shard(files: ShardFiles) -> Iterator[LedgerEntry]:
    if files.compacted:
        with open_compacted(files.compacted) as file:
            yield from iter_entries(file.entries(), files.number)
    for url in files.segments:
        yield from _read_segment(url)


def _latest(entries: Iterable[LedgerEntry]) -> dict[str, LedgerEntry]:
    found: dict[str, LedgerEntry] = {}
    for entry in entries:
        other = found.get(entry.key)
        if other is None or entry.asserted_unix >= other.asserted_unix:
            found[entry.key] = entry
    return found


def made_output(entry: LedgerEntry) -> bool:
    """Whether this is a restored picture or film, and not a piece of one."""
    return entry.status is ItemStatus.DONE and entry.extent is None


def read_table(files: ShardFiles) -> Table:
    """What counts of a shard, all columns, sorted by row and key."""
    return settled(read_entries(files))


def read_columns(files: ShardFiles, names: list[str]) -> Table:
    """Some columns of read_table."""
    if files.compacted and not files.segments:
        with open_compacted(files.compacted) as file:
            if not file.is_old:
                return file.read(names)
    return read_table(files).select(names)


def read_entries(files: ShardFiles) -> Table:
    """All that is written in a shard, all columns: also what has been done again, and pieces of what is done since."""
    # Segments first: who looks on while they are compacted finds them gone, or finds in the other file what they held.
    tables = [table_of(_read_segment(url)) for url in files.segments]
    if files.compacted:
        with open_compacted(files.compacted) as file:
            tables.insert(0, file.entries())
    return concatenated(tables) if tables else table_of(())


class Compacted:
    """A shard's compacted file, open."""

    def __init__(self, url: str, file: BinaryIO) -> None:
        from pyarrow import parquet

        self._url = url
        self._parquet = cast(Any, parquet).ParquetFile(file)
        metadata: dict[bytes, bytes] = self._parquet.schema_arrow.metadata or {}
        written = int(metadata.get(SCHEMA_KEY, b"0"))
        if written > SCHEMA:
            raise UsageError(f"{url}: the ledger was written by a newer farm (schema {written}); use that one")
        self.is_old = not written
        """whether all its entries are lines in one column, as in schemas up to 3"""
        self.mark: Mark | None = mark_from(metadata.get(MARK_KEY))
        self.content = metadata.get(CONTENT_KEY, b"").decode()
        """digest of its entries"""

    def read(self, names: list[str]) -> Table:
        """Some columns; one that the file is too old to have holds what the field is by default."""
        there = set(self._parquet.schema_arrow.names)
        table = self._parquet.read([name for name in names if name in there], use_threads=False)
        for name in names:
            if name not in there:
                table = table.append_column(name, constant(name, len(table)))
        return table.select(names)

    def entries(self) -> Table:
        """All columns but the marks."""
        if self.is_old:
            return table_of(map(decode, self.read([ENTRY]).column(ENTRY).to_pylist()))
        return self.read(schema().names).cast(schema())


def read_mark(files: ShardFiles | None) -> Mark | None:
    """The done mark of a shard, if it has one that counts."""
    if files is None or files.compacted is None or files.segments:
        return None
    with open_compacted(files.compacted) as file:
        return file.mark


@contextmanager
def open_compacted(url: str) -> Generator[Compacted]:
    """A compacted file; what is wrong with it is a DiskError."""
    try:
        with faults.run_level(url), storage.open_read(url) as file:
            yield Compacted(url, file)
    except (ValueError, TypeError, KeyError, OSError) as error:  # ArrowInvalid is a ValueError
        raise DiskError(f"{url}: the ledger is damaged; move that file away to redo its rows") from error


def _read_segment(url: str) -> Iterator[LedgerEntry]:
    with faults.run_level(url), storage.open_read(url) as file:
        for number, line in enumerate(file, 1):
            try:
                entry = decode(line)
            except (ValueError, TypeError, KeyError) as error:
                if not line.endswith(b"\n"):
                    return  # its writer died in the middle of it: the item is redone
                raise DiskError(
                    f"{url}: line {number} of the ledger is damaged; move that file away to redo it"
                ) from error
            yield entry
