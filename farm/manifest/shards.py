"""A manifest cut into shards: so many consecutive rows each, of which only one shard's are in memory.

A shard has a digest of what its rows say: equal digests mean equal rows, so that what is known of a shard need not be
asked for each of its rows. Parquet is digested and checked a column at a time and read from any row group on; other
forms are read from their start, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, Protocol

from farm import storage
from farm.blocks import RowBlock, block_of
from farm.manifest import batch as batches
from farm.manifest import parquet
from farm.manifest.columnar import BlockMaker
from farm.manifest.digest import batches_digest, rows_digest
from farm.manifest.rows import Row, RowMaker
from farm.manifest.sources import SourceRules, reading_manifest
from farm.manifest.table import Table

BLOCK_ROWS = 4096
"""rows of a block that is made of rows"""


class ShardRows(Protocol):
    """The rows of one shard."""

    @property
    def number(self) -> int: ...

    @property
    def first(self) -> int:
        """Index of its first row in the manifest."""
        ...

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Equal for shards whose rows say the same, wherever links led when it was asked."""
        ...

    def blocks(self) -> Iterator[RowBlock]:
        """Its rows in order; may be called again. Raises ManifestError for a value that means nothing."""
        ...


class ManifestShards(Protocol):
    """A manifest in shards, which may be walked several times."""

    @property
    def seeks(self) -> bool:
        """Whether shards that are not wanted cost nothing."""
        ...

    def walk(self, wanted: Callable[[int], bool]) -> Iterator[ShardRows]:
        """Those of the shards that are wanted, in order. Raises ManifestError."""
        ...

    def check_link(self, url: str) -> None:
        """Raise ItemError (unsafe_path) where a row that was not made by RowMaker is a link out of the root."""
        ...


class RowShards:
    """The shards of a manifest that is read row by row."""

    seeks = False

    def __init__(self, read: Callable[[], Iterator[Row]], shard_rows: int) -> None:
        self._read = read
        self._shard_rows = shard_rows

    def walk(self, wanted: Callable[[int], bool]) -> Iterator[ShardRows]:
        rows = self._read()
        for number in count():
            held = list(islice(rows, self._shard_rows))
            if not held:
                return
            if wanted(number):
                yield _RowShard(number, number * self._shard_rows, held)

    def check_link(self, url: str) -> None:
        """RowMaker and listings have looked."""


class _RowShard:
    """A shard whose rows are there."""

    def __init__(self, number: int, first: int, rows: list[Row]) -> None:
        self.number = number
        self.first = first
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def digest(self) -> str:
        return rows_digest(self._rows)

    def blocks(self) -> Iterator[RowBlock]:
        for start in range(0, len(self._rows), BLOCK_ROWS):
            yield block_of(self._rows[start : start + BLOCK_ROWS], self.first + start)


class TableShards:
    """The shards of one Parquet manifest, which may be walked several times."""

    seeks = True

    def __init__(self, url: str, root: str, *, limit: int | None, shard_rows: int) -> None:
        self._url = url
        self._rules = SourceRules(root)
        self._maker = RowMaker(url, self._rules)
        self._blocks = BlockMaker(self._rules)
        self._limit = limit
        self._shard_rows = shard_rows

    def walk(self, wanted: Callable[[int], bool]) -> Iterator[ShardRows]:
        """Those of the shards that are wanted, in order; row groups without rows of theirs are not read."""
        return reading_manifest(self._url, self._walk(wanted))

    def _walk(self, wanted: Callable[[int], bool]) -> Iterator[ShardRows]:
        with storage.open_read(self._url) as stream, self.refusing():
            table = Table(stream)
            names = self._maker.check_names(table.names)
            table.check_types(names)
            held: list[Any] = []
            shard: int | None = None
            for index, piece in self._pieces(table, names, wanted):
                if shard is not None and index // self._shard_rows != shard:
                    yield self._shard(shard, held)
                    held = []
                shard = index // self._shard_rows
                held.append(piece)
            if shard is not None:
                yield self._shard(shard, held)

    def _pieces(self, table: Table, names: list[str], wanted: Callable[[int], bool]) -> Iterator[tuple[int, Any]]:
        """(index of its first row, record batch) of what lies in wanted shards, no batch in two of them."""
        size, start = self._shard_rows, 0
        rows = table.rows if self._limit is None else min(table.rows, self._limit)
        for group, group_rows in enumerate(table.groups):
            end = min(start + group_rows, rows)
            if any(map(wanted, range(start // size, -(-end // size)))):
                for batch, first in _numbered(table.batches(group, names), start, end):
                    yield from ((at, cut) for at, cut in _cut(batch, first, size) if wanted(at // size))
            start += group_rows

    def _shard(self, number: int, batches: list[Any]) -> ShardRows:
        return _TableShard(number, number * self._shard_rows, batches, self)

    @contextmanager
    def refusing(self, first: int = 0) -> Generator[None]:
        """Inside, what Arrow raises at or after row `first` becomes a ManifestError."""
        with parquet.reading(self._url, first):
            yield

    def block(self, batch: Any, first: int) -> RowBlock:
        """The rows of a batch. Raises ManifestError."""
        block = None if _has_dictionary(batch) else self._blocks.make(batch, first)
        if block is not None:
            return block
        return block_of(batches.iter_rows(self._maker, first, parquet.arrays_of(batch)), first)

    def folder(self, folder: str) -> tuple[str, str] | None:
        """As BlockMaker.folder."""
        return self._blocks.folder(folder)

    def check_link(self, url: str) -> None:
        """Raise ItemError (unsafe_path) for a link, of a row that no RowMaker has seen, that leads out of the root."""
        self._rules.check_link(url)


class _TableShard:
    """A shard as record batches."""

    def __init__(self, number: int, first: int, batches: list[Any], manifest: TableShards) -> None:
        self.number = number
        self.first = first
        self._batches = batches
        self._manifest = manifest
        self._rows = sum(map(len, batches))

    def __len__(self) -> int:
        return self._rows

    def digest(self) -> str:
        with self._manifest.refusing():
            return batches_digest(self._batches, self._manifest.folder)

    def blocks(self) -> Iterator[RowBlock]:
        first = self.first
        for batch in self._batches:
            with self._manifest.refusing(first):
                block = self._manifest.block(batch, first)
            yield block
            first += len(batch)


def _numbered(batches: Iterator[Any], start: int, end: int) -> Iterator[tuple[Any, int]]:
    """Batches with the index of their first row, which counts from `start`, up to row `end`."""
    for batch in batches:
        if start >= end:
            return
        yield batch.slice(0, end - start), start
        start += len(batch)


def _cut(batch: Any, first: int, size: int) -> Iterator[tuple[int, Any]]:
    """(index of its first row, piece) of a batch cut where a shard of `size` rows begins."""
    at, end = first, first + len(batch)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield at, batch.slice(at - first, stop - at)
        at = stop


def _has_dictionary(batch: Any) -> bool:
    return any(hasattr(column, "dictionary") for column in batch.columns)
