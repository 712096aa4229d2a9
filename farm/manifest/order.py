"""In which order the rows of a shard are worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from farm.manifest.rows import Row
from farm.records import ManifestRow


def iter_shards(rows: Iterable[Row], shard_rows: int) -> Iterator[list[Row]]:
    """The rows of one shard after the other, those of each by priority; rows keep the index of their place in the file.

    `rows` stand in the order of their indices, as `read_manifest` gives them. One shard is held at a time.
    """
    for _, shard in groupby(rows, lambda row: row.index // shard_rows):
        yield by_priority(shard)


def by_priority(rows: Iterable[Row]) -> list[Row]:
    """Higher priorities first, equal ones as they stand; a refused row has none, which is 0."""
    return sorted(rows, key=_urgency)


def _urgency(row: Row) -> int:
    return -row.priority if isinstance(row, ManifestRow) else 0
