"""Ledger entries from what has ended, and pieces back from ledger entries. Pure."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from farm.errors import ItemError
from farm.film import SegmentReport
from farm.params import Params, restored_as_pictures
from farm.records import Done, Failed, ItemStatus, LedgerEntry, Part, PartKind, Piece, StageSeconds, WorkItem
from farm.target import asked
from sr_kernel.fidelity import PixelStats

_WORST = 5
"""seconds of a film that are named"""
_STILL = 0.25
"""change of a second below which its score is not told from noise, in mean levels of 0..255 times frames"""


def done_entry(part: Part, done: Done, attempts: int, run: str, *, pieces: StageSeconds | None = None) -> LedgerEntry:
    """An item that is published, or a piece that waits for its join. `pieces`: seconds of those that a join put
    together."""
    item = part.item
    spent = done.seconds if pieces is None else added_seconds(done.seconds, pieces)
    is_piece = part.kind in (PartKind.BAND, PartKind.SEGMENT)
    return LedgerEntry(
        key=part.part_id if is_piece else item.item_id,
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
        scale=asked(item.params),
        mode=done.mode,
        precision=done.precision,
        fidelity=done.stats.fidelity,
        consistency=done.stats.consistency,
        colour=done.stats.colour,
        off=done.stats.off,
        stripes=done.stats.stripes,
        lattice=done.stats.lattice,
        seam=done.stats.seam_score,
        niqe=done.niqe,
        suspect=done.suspect,
        source_version=item.source_version,
        params_hash=item.params_hash,
        attempts=attempts,
        infer_s=round(spent.infer, 3),
        total_s=round(total_s(done.seconds), 3),
        read_s=round(spent.read, 3),
        decode_s=round(spent.decode, 3),
        wait_s=round(spent.wait, 3),
        encode_s=round(spent.encode, 3),
        write_s=round(spent.write, 3),
        node=done.node,
        worker=done.worker,
        finished_unix=round(time.time(), 3),
        extent=done.extent,
        stats=done.stats if is_piece else None,
        report=done.report if part.kind is PartKind.SEGMENT else None,
        frames=done.frames,
        flicker=0.0 if is_piece else _score(part, done),
        worst_seconds="" if is_piece else worst_seconds(done.report),
        source_sha256=done.source_sha256,
        allowances=item.params.lacks if done.lacking else (),
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
        suspect=failed.suspect,
        model=item.params.model,
        model_sha256=item.params.model_sha256,
        scale=asked(item.params),
        source_version=item.source_version,
        params_hash=item.params_hash,
        attempts=attempts,
        node=failed.node,
        worker=failed.worker,
        finished_unix=round(time.time(), 3),
        allowances=item.params.allowances,
        run=run,
    )


def refused_entry(
    row: int, source: str, error: ItemError, *, item: WorkItem | None, output: str, shard: int, times: int, run: str
) -> LedgerEntry:
    """A row that was refused while it was planned; it has an item when only its size was refused.

    `times`: how often the same source was refused before in this shard, so that every row keeps an entry of its own.
    """
    told = f"{source}\0{output}\0{times}" + (f"\0{shard}" if shard else "")
    digest = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
    return LedgerEntry(
        key=item.item_id if item else f"refused-{digest[:32]}",
        shard=shard,
        row=row,
        source=source,
        output=output,
        status=ItemStatus.FAILED,
        error=error.kind.value,
        message=str(error),
        model=item.params.model if item else "",
        source_version=item.source_version if item else "",
        finished_unix=round(time.time(), 3),
        run=run,
    )


def suffices(entry: LedgerEntry, params: Params) -> bool:
    """Whether what the ledger says of an item or a piece still holds under these parameters of the same identity.

    What is published is good for whoever allows all that it lacks, and what is whole for everybody. What has failed
    would fail again, but for whoever allows more than was allowed then.
    """
    return holds(entry.allowances, params.allowances, is_done=entry.status is ItemStatus.DONE)


def holds(then: Iterable[str], now: Iterable[str], *, is_done: bool) -> bool:
    """suffices() for who knows what was allowed then, and what is now."""
    then, now = frozenset(then), frozenset(now)
    return then <= now if is_done else now <= then


def suspect_stands(suspect: str, asked: str, *, is_done: bool) -> bool:
    """Whether an item that was `suspect` stays as it is under what is `asked` of such ones, publish or refuse.

    What is published is not good for who wants it refused, nor is what was refused for who wants it published. Figures
    do not hang on the flag, so that what was believable is so for everybody.
    """
    return not suspect or is_done == (asked == "publish")


def known_piece(index: int, entry: LedgerEntry) -> Piece:
    """A band or segment that an earlier run has finished."""
    if entry.extent is None:
        raise ValueError(f"{entry.key} is no piece")
    return Piece(
        index=index,
        extent=entry.extent,
        url=entry.output,
        sha256=entry.sha256,
        bytes=entry.bytes,
        stats=entry.stats or PixelStats(),
        report=entry.report or SegmentReport(),
        precision=entry.precision,
        warning=entry.message,
    )


def total_s(seconds: StageSeconds) -> float:
    """Wall clock of a part without the time it only queued for the network."""
    return seconds.read + seconds.decode + seconds.infer + seconds.encode + seconds.write


def added_seconds(one: StageSeconds, two: StageSeconds) -> StageSeconds:
    """Stage by stage."""
    return StageSeconds(
        read=one.read + two.read,
        decode=one.decode + two.decode,
        wait=one.wait + two.wait,
        infer=one.infer + two.infer,
        encode=one.encode + two.encode,
        write=one.write + two.write,
    )


def flicker(report: SegmentReport) -> float:
    """Change between restored frames by change between source frames: 1 is as the source, more is flicker.

    Pairs across the border of two segments are left out on both sides of the fraction, so what is left is a sample of
    all pairs, at 48 frames a segment 47 of 48 of them; segments are cut alike whenever the parameters are the same.
    0 where the source does not change, as in a film of one frame.
    """
    change_in = sum(one for _, one, _ in report.changes)
    return sum(two for _, _, two in report.changes) / change_in if change_in > 0 else 0.0


def _score(part: Part, done: Done) -> float | None:
    """What an entry says of flicker; None: it was not measured."""
    if part.film is not None and restored_as_pictures(part.film, part.item.upscale):
        return None
    return round(flicker(done.report), 4)


def worst_seconds(report: SegmentReport) -> str:
    """The seconds of a film with the highest scores, as ``12:1.31 45:1.22``, worst first; still ones are left out."""
    scores = {second: two / one for second, one, two in report.changes if one >= _STILL}
    worst = sorted(scores, key=lambda second: (-scores[second], second))[:_WORST]
    return " ".join(f"{second}:{scores[second]:.2f}" for second in worst)


def joined_report(reports: Iterable[SegmentReport]) -> SegmentReport:
    """The report of a film from those of its segments, in order."""
    changes: dict[int, tuple[float, float]] = {}
    damaged: list[int] = []
    for report in reports:
        damaged.extend(report.damaged)
        for second, one, two in report.changes:
            before = changes.get(second, (0.0, 0.0))
            changes[second] = (before[0] + one, before[1] + two)
    return SegmentReport(
        changes=tuple((second, *changes[second]) for second in sorted(changes)), damaged=tuple(damaged)
    )


def joined_warning(*warnings: str | None) -> str | None:
    """All that is to be said of an output, each once."""
    return "; ".join(dict.fromkeys(filter(None, warnings))) or None


def joined_precision(precisions: Iterable[str]) -> str:
    """What something was restored in whose pieces or frames were restored in `precisions`: see `Done.precision`."""
    return "+".join(sorted({one for precision in precisions for one in precision.split("+")} - {""}))
