"""One entry as one line of JSON, in pure ASCII: any name a disk can hold survives."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from farm.errors import UsageError
from farm.film import SegmentReport
from farm.records import ItemStatus, LedgerEntry
from sr_kernel.fidelity import Blocks, PixelStats

SCHEMA = 6
"""of LedgerEntry; entries of a higher number are refused. 1 had no films, and `rows_out` for `extent`; 2 no
`allowances`; 3 no `noted_unix`, and in compacted shards one column of JSON lines where there are columns now; 4 no
figures of `sr_kernel.believable`, and only four sums in `stats`; 5 no seconds of stages but `infer_s`"""
_FIELDS = tuple(field.name for field in fields(LedgerEntry))
_values = attrgetter(*_FIELDS)


def encode(entry: LedgerEntry) -> bytes:
    """The line of an entry, without its newline."""
    record: dict[str, Any] = dict(zip(_FIELDS, _values(entry), strict=True))
    stats = entry.stats
    if stats is not None:
        record["stats"] = _sums(stats)
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
        record["stats"] = _stats(record["stats"])
    if record.get("report") is not None:
        changes, damaged = record["report"]
        record["report"] = SegmentReport(changes=tuple(map(tuple, changes)), damaged=tuple(damaged))
    return LedgerEntry(**record)


def _sums(stats: PixelStats) -> list[Any]:
    """As numbers, in an order of their own: the first four are all that an entry of schema 4 has."""
    blocks = stats.blocks
    return [
        *(stats.samples, stats.sum_in, stats.sum_out, stats.sum_abs_diff),
        *(stats.compared, stats.sum_sq_diff, stats.sums_diff, stats.seams, stats.seam, stats.beside),
        *(blocks.count, blocks.off, blocks.votes, blocks.phases, blocks.phase_samples),
    ]


def _stats(sums: list[Any]) -> PixelStats:
    samples, sum_in, sum_out, sum_abs_diff, *more = sums
    stats = PixelStats(samples=samples, sum_in=sum_in, sum_out=sum_out, sum_abs_diff=sum_abs_diff)
    if not more:
        return stats
    compared, sum_sq_diff, sums_diff, seams, seam, beside, count, off, votes, phases, phase_samples = more
    return replace(
        stats,
        compared=compared,
        sum_sq_diff=sum_sq_diff,
        sums_diff=tuple(sums_diff),
        seams=seams,
        seam=seam,
        beside=beside,
        blocks=Blocks(count=count, off=off, votes=tuple(votes), phases=tuple(phases), phase_samples=phase_samples),
    )
