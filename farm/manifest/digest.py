"""What the rows of a shard say, in a digest: rows that are there, or columns of record batches.

Where the links of the sources' folders lead is part of it, because it is part of what rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from farm.digest import ColumnDigest, new_digest
from farm.records import ManifestRow, RefusedRow


def rows_digest(rows: Iterable[ManifestRow | RefusedRow]) -> str:
    """Of rows that are there; `index` is left out, since a shard's rows follow each other."""
    digest = new_digest()
    for row in rows:
        said = (row.source, str(row.error)) if isinstance(row, RefusedRow) else _said(row)
        digest.update(repr(said).encode())
    return digest.hexdigest()


def _said(row: ManifestRow) -> tuple[object, ...]:
    names = (name for name in ManifestRow.__slots__ if name != "index")
    return tuple(getattr(row, name) for name in names)


def batches_digest(batches: Iterable[Any], folder: Callable[[str], object]) -> str:
    """Of record batches of a manifest; `folder` answers with where a folder of sources leads."""
    columns = ColumnDigest()
    folders: set[str] = set()
    for batch in batches:
        columns.update(batch)
        folders.update(source.rpartition("/")[0] for source in _sources(batch))
    whole = new_digest()
    whole.update(columns.digest())
    for name in sorted(folders):
        whole.update(repr((name, folder(name))).encode())
    return whole.hexdigest()


def _sources(batch: Any) -> Iterable[str]:
    column = batch.column("source")
    texts = getattr(column, "dictionary", column)
    return (text for text in texts.to_pylist() if isinstance(text, str))
