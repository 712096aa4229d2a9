"""A manifest of the sources that a rule over their figures keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from farm import storage
from farm.catalog.forms import open_table
from farm.catalog.item import Base
from farm.catalog.table import known_columns
from farm.dataset.rules import parse_rule
from farm.dataset.statistics import STATS
from farm.errors import UsageError
from farm.manifest import canonical

_COLUMNS = ("source", "sha256", "bytes", "width", "height")
_TYPES: Mapping[str, type] = MappingProxyType(
    {"bool": bool, "int64": int, "double": float, "string": str, "large_string": str}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a rule did."""

    url: str
    """of the manifest"""
    kept: int
    left_out: int
    """by the rule"""
    unread: int
    """sources that have no figures: they failed, or were left out when they were measured"""


def choose(stats: str, rule: str, target: str, root: str | None = None) -> Chosen:
    """Write a manifest of the sources of `stats`, a stats.parquet or the output root of one, of which a rule holds.

    `root`: what written paths are relative to; the manifest's own folder unless given. Raises UsageError for a rule
    that means nothing, and the storage's errors.
    """
    from pyarrow import parquet

    place = canonical(stats)
    url = place if place.endswith(".parquet") else storage.join(place, STATS)
    base = Base(root or storage.parent(canonical(target)))
    kept = left_out = unread = 0
    with storage.open_read(url) as file:
        table = cast(Any, parquet).ParquetFile(file)
        types = {one.name: kind for one in table.schema_arrow if (kind := _TYPES.get(str(one.type))) is not None}
        if not {*_COLUMNS, "status"} <= types.keys():
            raise UsageError(f"filter: {url} is no table of `farm prepare stats`")
        holds = parse_rule(rule, types)
        with open_table(target, known_columns(_COLUMNS)) as written:
            for batch in table.iter_batches(columns=sorted({*_COLUMNS, "status", *holds.columns})):
                for row, keep in zip(batch.to_pylist(), holds.keep(batch).to_pylist(), strict=True):
                    if row["status"] != "done":
                        unread += 1
                    elif keep:
                        written.write({name: row[name] for name in _COLUMNS} | {"source": base.text(row["source"])})
                        kept += 1
                    else:
                        left_out += 1
    return Chosen(url=canonical(target), kept=kept, left_out=left_out, unread=unread)
