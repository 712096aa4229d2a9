"""The result manifest: what an output root holds, for people and for the next program."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from farm import storage
from farm.errors import ItemError
from farm.ledger.codec import encode
from farm.ledger.shard import latest, read_shards
from farm.records import LedgerEntry
from farm.storage import faults

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
    ("mode", "string"),
    ("precision", "string"),
    ("fidelity", "float64"),
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
_BATCH_ROWS = 8192
_DIGEST_KEY = b"farm.digest"


def write_results(root: str) -> str:
    """Write ROOT/results.parquet: one row an output, its latest entry, sorted by row; returns its URL.

    Left alone when it says the same already. Rows without an output (refused for their path) are kept until their
    source has one.
    """
    url = storage.join(root, "results.parquet")
    entries = latest(entry for shard in read_shards(root).values() for entry in shard.entries())
    rows = _result_rows(entries.values())
    digest = hashlib.sha256(repr(RESULT_COLUMNS).encode())
    for entry in rows:
        digest.update(encode(entry))
    mark = digest.hexdigest().encode()
    if _mark_of(url) == mark:
        return url
    with faults.run_level(url), storage.OutputRoot(url=root, attempt="results").open_write(url) as sink:
        _write_results(sink, rows, mark)
        sink.commit()
    return url


def _result_rows(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    latest: dict[str, LedgerEntry] = {}
    for entry in entries:
        if entry.extent is not None:
            continue
        identity = entry.output or entry.key
        other = latest.get(identity)
        if other is None or entry.finished_unix >= other.finished_unix:
            latest[identity] = entry
    done = {entry.source for entry in latest.values() if entry.output}
    kept = [entry for entry in latest.values() if entry.output or entry.source not in done]
    return sorted(kept, key=lambda entry: (entry.row, entry.output, entry.source))


def _write_results(sink: BinaryIO, rows: Sequence[LedgerEntry], mark: bytes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: Any = pa
    parquet: Any = pq
    columns = [arrow.field(name, arrow.type_for_alias(kind), nullable=False) for name, kind in RESULT_COLUMNS]
    schema = arrow.schema(columns, metadata={_DIGEST_KEY: mark})
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = rows[start : start + _BATCH_ROWS]
            arrays = [_column(arrow, batch, name, kind) for name, kind in RESULT_COLUMNS]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _column(arrow: Any, rows: Sequence[LedgerEntry], name: str, kind: str) -> Any:
    values = [getattr(row, name) for row in rows]
    if kind == "string":  # names on a disk need not be UTF-8; Arrow's strings must
        values = [value.encode("utf-8", "backslashreplace").decode() for value in values]
    return arrow.array(values, arrow.type_for_alias(kind))


def _mark_of(url: str) -> bytes | None:
    """The digest that a results.parquet carries; None where there is none, or what is there is no such file."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    try:
        with storage.open_read(url) as file:
            metadata: dict[bytes, bytes] | None = parquet.read_schema(file).metadata
    except (ItemError, ValueError, OSError):
        return None
    return (metadata or {}).get(_DIGEST_KEY)
