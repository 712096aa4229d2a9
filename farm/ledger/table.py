"""The entries of one shard as an Arrow table: a column a field, so that who needs three fields reads three columns.

What columns cannot hold (bands and segments, names that are not UTF-8) is kept as its line of JSON in the column
`entry`, and the columns beside it are for who searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.digest import ColumnDigest
from farm.ledger.codec import decode, encode
from farm.records import ItemStatus, LedgerEntry

Table = Any
"""a pyarrow.Table, which has no types, of the columns below"""
_ARROW_TYPES = {
    "str": "string",
    "int": "int64",
    "float": "float64",
    "float | None": "float64",
    "ItemStatus": "string",
}
COLUMNS: dict[str, str] = {
    field.name: _ARROW_TYPES[str(field.type)]
    for field in fields(LedgerEntry)
    if str(field.type) in _ARROW_TYPES and field.name not in ("shard", "schema")
}
"""Arrow type of each field that is a column"""
OPTIONAL = frozenset(field.name for field in fields(LedgerEntry) if str(field.type) == "float | None")
"""columns that may have no value"""
PIECE, ENTRY, MARK = "piece", "entry", "mark"
"""more columns: whether it is a band or a segment; its line where the columns do not say all; farm.ledger.mark"""
_OTHERS = {
    field.name: field.default for field in fields(LedgerEntry) if field.name not in (*COLUMNS, "shard", "schema")
}
"""defaults of the fields that no column holds"""
_OTHER_DEFAULTS = tuple(_OTHERS.values())
_others = attrgetter(*_OTHERS)
_values = attrgetter(*COLUMNS)
_TEXTS = tuple(name for name, kind in COLUMNS.items() if kind == "string" and name != "status")
_CHUNK = 1024


def schema() -> Any:
    """The columns of a table, in order, without MARK."""
    arrow = _arrow()
    named = [arrow.field(name, arrow.type_for_alias(kind), nullable=name in OPTIONAL) for name, kind in COLUMNS.items()]
    return arrow.schema([*named, arrow.field(PIECE, arrow.bool_(), nullable=False), arrow.field(ENTRY, arrow.string())])


def _arrow() -> Any:
    import pyarrow

    return cast(Any, pyarrow)


def table_of(entries: Iterable[LedgerEntry]) -> Table:
    """The entries as they come."""
    form, rest = schema(), iter(entries)
    batches: list[Any] = []
    while chunk := list(islice(rest, _CHUNK)):
        batches.append(_batch(chunk, form))
    return _arrow().Table.from_batches(batches, schema=form)


def _batch(chunk: Sequence[LedgerEntry], form: Any) -> Any:
    columns = dict(zip(COLUMNS, map(list, zip(*map(_values, chunk), strict=True)), strict=True))
    columns["status"] = [entry.status.value for entry in chunk]
    lines = {at for at, entry in enumerate(chunk) if _others(entry) != _OTHER_DEFAULTS}
    for name in _TEXTS:
        lines |= _make_utf8(columns[name])
    columns[PIECE] = [entry.extent is not None for entry in chunk]
    columns[ENTRY] = [encode(entry).decode() if at in lines else None for at, entry in enumerate(chunk)]
    arrow = _arrow()
    return arrow.record_batch([arrow.array(columns[field.name], field.type) for field in form], schema=form)


def _make_utf8(texts: list[Any]) -> set[int]:
    """Names on a disk need not be UTF-8; Arrow's strings must. Escapes what is not, and says where that was."""
    escaped: set[int] = set()
    if all(map(str.isascii, texts)):
        return escaped
    for at, text in enumerate(texts):
        texts[at] = text.encode("utf-8", "backslashreplace").decode()
        if texts[at] != text:
            escaped.add(at)
    return escaped


def constant(name: str, rows: int) -> Any:
    """A column with a field's default in every row."""
    arrow, field = _arrow(), schema().field(name)
    default = next(one.default for one in fields(LedgerEntry) if one.name == name)
    return arrow.array([default] * rows, field.type)


def iter_entries(table: Table, shard: int) -> Iterator[LedgerEntry]:
    """The entries of a table that has all columns."""
    names = (*COLUMNS, ENTRY)
    for batch in table.select(names).to_batches(max_chunksize=_CHUNK):
        for *values, line in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if line is not None:
                yield decode(line)
                continue
            named: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
            named["status"] = ItemStatus(named["status"])
            yield LedgerEntry(shard=shard, **named)


def settled(table: Table) -> Table:
    """What counts of a shard's entries, by row: of each key the one that was asserted last, of two at once the later.

    Without pieces of what has been done since, and without what is done where another item has replaced the output.
    """
    where = _last_of(table, "key", np.arange(len(table)))
    piece, done = flags(table, PIECE), np.asarray(_compute().equal(table["status"], "done"))
    made = _last_of(table, "output", where[(done & ~piece)[where]])
    where = np.concatenate([where[~(done & ~piece)[where]], made])
    if piece.any():
        where = where[_waits(table, where, made, piece)]
    order = table.select(["row", "key"]).take(where)
    by_row = _compute().sort_indices(order, [("row", "ascending"), ("key", "ascending")])
    return table.take(where[by_row.to_numpy()])


def _waits(
    table: Table, where: NDArray[np.int64], made: NDArray[np.int64], piece: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Of some positions, which are no pieces, or pieces that were made after their item was last done."""
    keys: list[str] = table["key"].to_pylist()
    times = asserted(table)
    done = {keys[at]: times[at] for at in map(int, made)}
    waits = (not piece[at] or times[at] > done.get(keys[at].partition("/")[0], -np.inf) for at in map(int, where))
    return np.fromiter(waits, bool, len(where))


def asserted(table: Table) -> NDArray[np.float64]:
    """`LedgerEntry.asserted_unix` of each entry."""
    return np.maximum(table["finished_unix"].to_numpy(), table["noted_unix"].to_numpy())


def latest(table: Table) -> Table:
    """Of each key the entry that was asserted last; of two at once the later one."""
    return table.take(np.sort(_last_of(table, "key", np.arange(len(table)))))


def concatenated(tables: Sequence[Table]) -> Table:
    """One table of several with the same columns, of which there is at least one."""
    return _arrow().concat_tables(tables)


def flags(table: Table, name: str) -> NDArray[np.bool_]:
    """A column of truth values."""
    return table[name].to_numpy().astype(bool)


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)


def _last_of(table: Table, name: str, where: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rows at some positions, one for each value of a column: the last asserted. Positions, in no order."""
    group = table[name].combine_chunks().dictionary_encode().indices.to_numpy()[where]
    order = np.lexsort((where, asserted(table)[where], group))
    return where[order[np.append(np.diff(group[order]) != 0, True)[: len(order)]]]


def content(table: Table) -> str:
    """A digest of a table's entries, in order."""
    digest = ColumnDigest()
    for batch in table.select(schema().names).to_batches():
        digest.update(batch)
    return digest.digest().hex()
