"""Ledger entries from what has ended, and bands back from ledger entries. Pure."""

from __future__ import annotations

import hashlib
import time

from farm.errors import ItemError
from farm.records import Done, Failed, ItemStatus, LedgerEntry, Part, PartKind, Piece, StageSeconds, WorkItem
from sr_kernel.fidelity import PixelStats


def done_entry(part: Part, done: Done, attempts: int, run: str, *, infer_s: float | None = None) -> LedgerEntry:
    """A picture that is published, or a band that waits for its join. `infer_s` replaces the part's own seconds."""
    item = part.item
    is_band = part.kind is PartKind.BAND
    return LedgerEntry(
        key=part.part_id if is_band else item.item_id,
        shard=item.shard,
        row=item.row.index,
        source=item.row.source_url,
        output=done.url,
        status=ItemStatus.DONE,
        message=done.warning or "",
        sha256=done.sha256,
        bytes=done.bytes,
        width=done.width,
        height=done.height,
        source_px=done.source_px,
        model=item.params.model,
        model_sha256=item.params.model_sha256,
        mode=done.mode,
        precision=done.precision,
        fidelity=done.stats.fidelity,
        source_version=item.source_version,
        params_hash=item.params_hash,
        attempts=attempts,
        infer_s=round(done.seconds.infer if infer_s is None else infer_s, 3),
        total_s=round(total_s(done.seconds), 3),
        node=done.node,
        worker=done.worker,
        finished_unix=round(time.time(), 3),
        rows_out=done.rows_out,
        stats=done.stats if is_band else None,
        run=run,
    )


def failed_entry(item: WorkItem, failed: Failed, attempts: int, run: str) -> LedgerEntry:
    """A row that failed in a worker."""
    return LedgerEntry(
        key=item.item_id,
        shard=item.shard,
        row=item.row.index,
        source=item.row.source_url,
        output=item.output_url,
        status=ItemStatus.FAILED,
        error=failed.kind.value,
        message=failed.message,
        model=item.params.model,
        model_sha256=item.params.model_sha256,
        source_version=item.source_version,
        params_hash=item.params_hash,
        attempts=attempts,
        node=failed.node,
        worker=failed.worker,
        finished_unix=round(time.time(), 3),
        run=run,
    )


def refused_entry(
    row: int, source: str, error: ItemError, *, item: WorkItem | None, output: str, times: int, run: str
) -> LedgerEntry:
    """A row that was refused while it was planned; it has an item when only its size was refused.

    `times`: how often this run has refused the same source before, so that every row keeps an entry of its own.
    """
    digest = hashlib.sha256(f"{source}\0{output}\0{times}".encode("utf-8", "surrogateescape")).hexdigest()
    return LedgerEntry(
        key=item.item_id if item else f"refused-{digest[:32]}",
        shard=item.shard if item else 0,
        row=row,
        source=source,
        output=output,
        status=ItemStatus.FAILED,
        error=error.kind.value,
        message=str(error),
        model=item.params.model if item else "",
        finished_unix=round(time.time(), 3),
        run=run,
    )


def band_piece(index: int, entry: LedgerEntry) -> Piece:
    """A band that an earlier run has finished."""
    if entry.rows_out is None:
        raise ValueError(f"{entry.key} is no band")
    return Piece(
        index=index,
        rows_out=entry.rows_out,
        url=entry.output,
        sha256=entry.sha256,
        bytes=entry.bytes,
        stats=entry.stats or PixelStats(),
    )


def total_s(seconds: StageSeconds) -> float:
    """Wall clock of a part without the time it only queued for the network."""
    return seconds.read + seconds.decode + seconds.infer + seconds.encode + seconds.write
