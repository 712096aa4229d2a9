"""One entry as one line of JSON, in pure ASCII: any name a disk can hold survives."""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from farm.errors import UsageError
from farm.film import SegmentReport
from farm.records import ItemStatus, LedgerEntry, PixelStats

SCHEMA = 4
"""of LedgerEntry; entries of a higher number are refused. 1 had no films, and `rows_out` for `extent`; 2 no
`allowances`; 3 no `noted_unix`, and in compacted shards one column of JSON lines where there are columns now"""
_FIELDS = tuple(field.name for field in fields(LedgerEntry))
_values = attrgetter(*_FIELDS)


def encode(entry: LedgerEntry) -> bytes:
    """The line of an entry, without its newline."""
    record: dict[str, Any] = dict(zip(_FIELDS, _values(entry), strict=True))
    stats = entry.stats
    if stats is not None:
        record["stats"] = [stats.samples, stats.sum_in, stats.sum_out, stats.sum_abs_diff]
    report = entry.report
    if report is not None:
        record["report"] = [report.changes, report.damaged]
    return json.dumps(record, separators=(",", ":")).encode()


def decode(line: bytes | str) -> LedgerEntry:
    """The entry of a line.

    Raises ValueError, TypeError or KeyError where the line is no entry, UsageError where it is a newer farm's.
    """
    record: dict[str, Any] = json.loads(line)
    if record["schema"] > SCHEMA:
        raise UsageError(f"the ledger was written by a newer farm (schema {record['schema']}); use that one")
    record["status"] = ItemStatus(record["status"])
    if record["schema"] == 1:
        record["extent"] = record.pop("rows_out")
    record["schema"] = SCHEMA  # it is written again when its shard is compacted
    record["allowances"] = tuple(record.get("allowances", ()))
    if record["extent"] is not None:
        record["extent"] = tuple(record["extent"])
    if record["stats"] is not None:
        samples, sum_in, sum_out, sum_abs_diff = record["stats"]
        record["stats"] = PixelStats(samples=samples, sum_in=sum_in, sum_out=sum_out, sum_abs_diff=sum_abs_diff)
    if record.get("report") is not None:
        changes, damaged = record["report"]
        record["report"] = SegmentReport(changes=tuple(map(tuple, changes)), damaged=tuple(damaged))
    return LedgerEntry(**record)
