"""Manifests as things to make: list a folder once, and run from the list as often as wanted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

from farm import storage
from farm.errors import UsageError
from farm.kinds import extension_of
from farm.manifest import InputForm, Row, canonical, form_of, read_manifest
from farm.records import ManifestRow, RefusedRow

_GROUP_ROWS = 50_000
"""rows of one Parquet row group; what is held while writing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogResult:
    """A manifest that was written."""

    url: str
    rows: int
    refused: tuple[RefusedRow, ...]
    """what was found and left out, with the reason"""


def scan(folder: str, *, out: str | None = None) -> Iterator[Row]:
    """The pictures below a folder or prefix, or of a glob, as `farm submit FOLDER` takes them; `out` is left out.

    Raises UsageError for what is neither.
    """
    if form_of(folder) not in (InputForm.FOLDER, InputForm.GLOB):
        raise UsageError(f"scan: {folder!r} is no folder, prefix or glob; name one")
    return read_manifest(folder, out=out)


def write_manifest(rows: Iterable[Row], url: str, *, root: str | None = None, absolute: bool = False) -> CatalogResult:
    """Write `source`, `bytes` and `kind` of rows to a .parquet, .csv or .jsonl, in one step.

    Sources are written relative to `root` (then `--root` is needed to run it), or, unless given, to the manifest's own
    folder, so that the file runs as it is and may move together with its pictures; those that lie elsewhere, or all
    with `absolute`, by their full path or URL. Raises UsageError for other extensions.
    """
    url = canonical(url)
    write = _WRITERS.get(extension_of(url))
    if write is None:
        raise UsageError(f"manifest: {url}: cannot be written; use one of {', '.join(f'.{one}' for one in _WRITERS)}")
    base = None if absolute else canonical(root) if root else storage.parent(url)
    refused: list[RefusedRow] = []
    written = 0

    def listed() -> Iterator[dict[str, str | int | None]]:
        nonlocal written
        for row in rows:
            if isinstance(row, RefusedRow):
                refused.append(row)
                continue
            written += 1
            yield {"source": _source(row, base), "bytes": row.bytes, "kind": row.kind.value}

    with storage.open_write(url, attempt="catalog") as sink:
        write(listed(), sink)
        sink.commit()
    return CatalogResult(url=url, rows=written, refused=tuple(refused))


def _source(row: ManifestRow, base: str | None) -> str:
    prefix = None if base is None else base.rstrip("/") + "/"
    if prefix is None or not row.source_url.startswith(prefix):
        return row.source_url
    return row.source_url[len(prefix) :]


_Listed = Iterator[dict[str, str | int | None]]


def _write_parquet(rows: _Listed, sink: BinaryIO) -> None:
    import pyarrow  # costs a tenth of a second; only who writes Parquet pays it
    from pyarrow import parquet

    pa, pq = cast(Any, pyarrow), cast(Any, parquet)  # they have no types
    schema = pa.schema([("source", pa.string()), ("bytes", pa.int64()), ("kind", pa.string())])
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while group := list(islice(rows, _GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _write_csv(rows: _Listed, sink: BinaryIO) -> None:
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="")
    table = csv.DictWriter(text, ["source", "bytes", "kind"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    text.detach()


def _write_jsonl(rows: _Listed, sink: BinaryIO) -> None:
    for row in rows:
        sink.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


_WRITERS: Mapping[str, Callable[[_Listed, BinaryIO], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}
