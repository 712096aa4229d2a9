"""Putting a shard's entries into one Parquet file, in place of the segments they were written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm import storage
from farm.ledger.codec import SCHEMA
from farm.ledger.files import ShardFiles, compacted_url, read_shards
from farm.ledger.mark import Compared, Mark, MarkedKeys
from farm.ledger.read import CONTENT_KEY, MARK_KEY, SCHEMA_KEY, read_table
from farm.ledger.table import MARK, content
from farm.records import ItemStatus
from farm.storage import faults


def compact(root: str, run: str, may_write: Callable[[], None] = lambda: None) -> None:
    """Compact each shard that has segments; none of them gets a mark. `may_write`: see compact_shard()."""
    for files in read_shards(root).values():
        if files.segments:
            compact_shard(root, run, files, may_write=may_write)


def compact_shard(
    root: str,
    run: str,
    files: ShardFiles,
    mark: Mark | None = None,
    keys: MarkedKeys | None = None,
    *,
    gone: frozenset[str] = frozenset(),
    may_write: Callable[[], None] = lambda: None,
) -> bool:
    """Write a shard's compacted file, without the entries that are `gone`, and remove its segments; whether it has the
    mark now.

    `keys` are the marked rows; where they are not all among the entries, or these say otherwise, the mark is left out.
    `may_write` is called before the file appears and before segments go; it raises where the run must write no more: by
    then what was read may be old, and another run's file lie where ours would.
    """
    import pyarrow

    table = read_table(files)
    if gone:
        table = table.filter([key not in gone for key in table["key"].to_pylist()])
    metadata = {SCHEMA_KEY: str(SCHEMA).encode(), CONTENT_KEY: content(table).encode()}
    column = keys.column(table["key"].to_pylist()) if keys is not None and mark is not None else None
    if column is not None and mark is not None and mark.done != _done(table, column):
        column = None
    if column is not None and mark is not None:
        metadata[MARK_KEY] = mark.to_json()
        table = table.append_column(MARK, cast(Any, pyarrow).array(column))
    url = compacted_url(root, files.number)
    with faults.run_level(url), storage.OutputRoot(url=root, attempt=run).open_stream(url) as sink:
        _write_parquet(sink, table.replace_schema_metadata(metadata))
        may_write()
        sink.commit()
    may_write()
    for segment in files.segments:
        with faults.run_level(segment):
            storage.delete(segment)
    return column is not None


def _done(table: Any, column: NDArray[np.int8]) -> int:
    """Marked entries that are done."""
    from pyarrow import compute

    done = np.asarray(cast(Any, compute).equal(table["status"], ItemStatus.DONE.value))
    return int(np.count_nonzero(done & (column != Compared.NOT_MARKED)))


def _write_parquet(sink: storage.Sink, table: Any) -> None:
    from pyarrow import parquet

    # One row group: who wants a column reads it with one request.
    cast(Any, parquet).write_table(table, sink, compression="zstd", row_group_size=max(1, len(table)))
