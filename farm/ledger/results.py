"""The result manifest: what an output root holds, for people and for the next program.

It is written shard by shard from the columns of the ledger; which entry of an output is the latest is found first, by
sorting digests of the outputs, in scratch where they are many. Memory is one shard's, and a byte an entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm import plan, storage
from farm.errors import ItemError
from farm.ledger.files import ShardFiles, read_shards
from farm.ledger.read import open_compacted, read_columns, read_table
from farm.ledger.table import OPTIONAL, PIECE, Table, asserted, concatenated, content, flags
from farm.spill import Room, hashes
from farm.storage import faults

RESULTS = "results.parquet"
RESULT_COLUMNS = (
    ("row", "int64"),
    ("status", "string"),
    ("error", "string"),
    ("message", "string"),
    ("source", "string"),
    ("output", "string"),
    ("sha256", "string"),
    ("bytes", "int64"),
    ("width", "int64"),
    ("height", "int64"),
    ("source_px", "int64"),
    ("model", "string"),
    ("model_sha256", "string"),
    ("scale", "string"),
    ("mode", "string"),
    ("precision", "string"),
    ("fidelity", "float64"),
    ("consistency", "float64"),
    ("colour", "float64"),
    ("off", "float64"),
    ("stripes", "float64"),
    ("lattice", "float64"),
    ("seam", "float64"),
    ("niqe", "float64"),
    ("suspect", "string"),
    ("frames", "int64"),
    ("flicker", "float64"),
    ("worst_seconds", "string"),
    ("attempts", "int64"),
    ("infer_s", "float64"),
    ("total_s", "float64"),
    ("node", "string"),
    ("worker", "string"),
    ("finished_unix", "float64"),
    ("run", "string"),
)
"""(name, Arrow type) of the columns of results.parquet, in order"""
_GROUP_ROWS = 65_536
_DIGEST_KEY = b"farm.digest"
_RANKED = ("key", "row", "output", "source", "finished_unix", "noted_unix", PIECE)
"""columns that decide which entries are results"""
_ORDER = ("row", "output", "source")
"""columns that they are sorted by"""


def write_results(root: str, may_write: Callable[[], None] = lambda: None, *, run: str = "results") -> str:
    """Write ROOT/results.parquet: one row an output, its latest entry, sorted by row; returns its URL.

    Left alone when it says the same already. Rows without an output (refused for their path) are kept until
    something else is said of them. `may_write` is called before it appears; it raises where the run must write no more.
    """
    url = storage.join(root, RESULTS)
    shards = list(read_shards(root).values())
    mark = _mark(shards)
    if _mark_of(url) == mark:
        return url
    chosen = _Chosen(shards)
    with faults.run_level(url), storage.OutputRoot(url=root, attempt=run).open_stream(url) as sink:
        _write_results(sink, chosen.tables([name for name, _ in RESULT_COLUMNS]), mark)
        may_write()
        sink.commit()
    return url


def iter_results(root: str, names: list[str], shards: Collection[int] | None = None) -> Iterator[Table]:
    """Some columns of the ledger for each row of the result manifest, in its order: shard by shard, also while a run
    works, and whether it is written yet or not. A closing shard's segments may go meanwhile: then DiskError.

    `shards`: only these are read, for who knows that no other says anything later of what they hold.
    """
    found = read_shards(root).values()
    yield from _Chosen([files for files in found if shards is None or files.number in shards]).tables(names)


def _mark(shards: list[ShardFiles]) -> bytes:
    """A digest of all that results are made of, whether it is compacted yet or not."""
    digest = hashlib.sha256(repr(RESULT_COLUMNS).encode())
    for files in shards:
        digest.update(f"{files.number} {_content(files)}\n".encode())
    return digest.hexdigest().encode()


def _content(files: ShardFiles) -> str:
    if files.compacted and not files.segments:
        with open_compacted(files.compacted) as file:
            if file.content:
                return file.content
    return content(read_table(files))


class _Chosen:
    """Which entries of the ledger are results: a byte for each."""

    def __init__(self, shards: list[ShardFiles]) -> None:
        self._shards = shards
        self._starts: list[int] = []
        """entries before each shard"""
        self._stray: list[ShardFiles] = []
        """shards with entries of rows that belong to another: ledgers of schema 3 left rows that had moved there"""
        self._count = 0
        nameless = False
        with Room(("other", "<u8"), ("asserted", "<f8"), ("at", "<i8")) as room:
            for files in shards:
                table = read_columns(files, [*_RANKED])
                nameless |= self._rank(room, table, files)
            self._bits = np.zeros(self._count, bool)
            for records in room.iter_sorted():
                self._bits[_latest(records)] = True
        if nameless:
            self._drop_mended()

    def _rank(self, room: Room, table: Table, files: ShardFiles) -> bool:
        """Put in what may be a result; whether some of it has no output."""
        self._starts.append(self._count)
        whole = np.flatnonzero(~flags(table, PIECE))
        keys, outputs = table["key"].to_pylist(), table["output"].to_pylist()
        names = [outputs[at] or keys[at] for at in map(int, whole)]
        room.add(
            hashes(names, len(names)),
            other=hashes((f"{name}\0" for name in names), len(names)),
            asserted=asserted(table)[whole],
            at=whole + self._count,
        )
        self._count += len(table)
        if (_shards_of(table) != files.number).any():
            self._stray.append(files)
        return "" in outputs

    def _drop_mended(self) -> None:
        """Without what has no output, where something else was said of its row since."""
        columns = ["output", "row", "finished_unix", "noted_unix"]
        with Room(("at", "<i8"), ("asserted", "<f8")) as room:
            for table, at in self._chosen(columns):
                nameless = np.asarray(_compute().equal(table["output"], ""))
                room.add(_rows_of(table)[nameless], at=at[nameless], asserted=asserted(table)[nameless])
            index = room.index()
        for table, _ in self._chosen(columns):
            asked, found = index.find(_rows_of(table))
            self._bits[found["at"][found["asserted"] < asserted(table)[asked]]] = False

    def _chosen(self, names: list[str]) -> Iterator[tuple[Table, NDArray[np.int64]]]:
        for files, start in zip(self._shards, self._starts, strict=True):
            table = read_columns(files, names)
            where = np.flatnonzero(self._bits[start : start + len(table)])
            yield table.take(where), where + start

    def tables(self, asked: list[str]) -> Iterator[Table]:
        """Columns of the results, in order of their rows."""
        names = list(dict.fromkeys((*asked, *_ORDER)))
        strays = self._strays(names)
        numbers = {files.number: (files, start) for files, start in zip(self._shards, self._starts, strict=True)}
        for number in sorted({*numbers, *strays}):
            parts = strays.get(number, [])
            if number in numbers:
                files, start = numbers[number]
                table = read_columns(files, names)
                chosen = self._bits[start : start + len(table)] & (_shards_of(table) == number)
                parts = [*parts, table.filter(chosen)]
            yield concatenated(parts).sort_by([(name, "ascending") for name in _ORDER]).select(asked)

    def _strays(self, names: list[str]) -> dict[int, list[Table]]:
        strays: dict[int, list[Table]] = {}
        starts = {files.number: start for files, start in zip(self._shards, self._starts, strict=True)}
        for files in self._stray:
            table = read_columns(files, names)
            start, shards = starts[files.number], _shards_of(table)
            chosen = self._bits[start : start + len(table)] & (shards != files.number)
            for number in np.unique(shards[chosen]).tolist():
                strays.setdefault(number, []).append(table.filter(chosen & (shards == number)))
        return strays


def _shards_of(table: Table) -> NDArray[np.int64]:
    return table["row"].to_numpy() // plan.SHARD_ROWS


def _rows_of(table: Table) -> NDArray[np.uint64]:
    return table["row"].to_numpy().astype(np.uint64)


def _latest(records: Any) -> NDArray[np.int64]:
    """Of each output, where the entry stands that was asserted last; of two at once the later one."""
    order = np.lexsort(tuple(records[name] for name in ("at", "asserted", "other", "key")))
    records = records[order]
    same = (np.diff(records["key"].view(np.int64)) == 0) & (np.diff(records["other"].view(np.int64)) == 0)
    return records["at"][np.append(~same, True)[: len(records)]]


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)


def _write_results(sink: storage.Sink, tables: Iterator[Table], mark: bytes) -> None:
    import pyarrow
    from pyarrow import parquet

    arrow = cast(Any, pyarrow)
    fields = [arrow.field(name, arrow.type_for_alias(kind), nullable=name in OPTIONAL) for name, kind in RESULT_COLUMNS]
    schema = arrow.schema(fields, metadata={_DIGEST_KEY: mark})
    with cast(Any, parquet).ParquetWriter(sink, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=_GROUP_ROWS)


def _mark_of(url: str) -> bytes | None:
    """The digest that a results.parquet carries; None where there is none, or what is there is no such file."""
    from pyarrow import parquet

    try:
        with storage.open_read(url) as file:
            metadata: dict[bytes, bytes] | None = cast(Any, parquet).read_schema(file).metadata
    except (ItemError, ValueError, OSError):
        return None
    return (metadata or {}).get(_DIGEST_KEY)
