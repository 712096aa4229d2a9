"""What an output root holds and who works there, from its ledger, its runs' notes and its lock alone.

Nothing is started and nothing written. A shard is counted by its done mark where it has one that counts, else by its
entries; rows that were restored anew under another shard since count there too, until the old shard is compacted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from farm import ledger, lock, manifest, storage
from farm.errors import CredentialsError, DiskError, ErrorKind, FarmError, ItemError, UsageError
from farm.ledger import Compared, RunNote, ShardFiles
from farm.records import ItemStatus
from farm.storage import faults

WINDOW_S = 300.0
"""what a rate is measured over, at most"""
_COLUMNS = ["key", "status", "error", "suspect", "piece", "source_px", "bytes", "frames", "finished_unix", "run"]
_DEPTH = 4
"""folders that roots are looked for below"""
CLOSED = (CredentialsError, DiskError)
"""what a folder is that cannot be looked into: not ours, or a disk that has gone"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a run that works is, over its last minutes."""

    seconds: float
    """of what was looked at"""
    rows: int
    """that ended in them"""
    source_px: int
    """restored in them; a film's and a large picture's piece by piece"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One output root."""

    root: str
    state: str
    """running, finished, stopped (rows are left), killed (rows are left, no end is noted and nobody works there),
    unclear (the same where nothing locks), or idle (no run has left a note)"""
    run: str
    """the latest run; empty where none has left a note"""
    manifest: str
    models: tuple[str, ...]
    host: str
    pid: int
    rows: int | None
    """of the manifest, as the latest run counted them; None where none has left a note"""
    done: int
    failed: int
    left: int | None
    suspect: int
    """of the done ones"""
    source_px: int
    """of the done ones and of pieces that wait for their join"""
    frames: int
    output_bytes: int
    pieces: int
    """bands and segments that wait for their join"""
    failures: Mapping[str, int]
    """failed rows by class, most first"""
    started_unix: float
    """when the latest run began; 0 where none has left a note"""
    ended_unix: float
    """when it ended; 0 while it works, and where no end is noted"""
    last_unix: float
    """when the latest entry was written; 0 without any"""
    pace: Pace | None
    """of a run that works"""
    waiting: str = ""
    """what a run waits for, in words, that has no workers yet; else empty"""

    @property
    def eta_s(self) -> float | None:
        """Seconds until nothing is left, if rows that are left are like those that are done; None: nothing tells."""
        if self.pace is None or self.left is None or not self.pace.source_px or not self.done:
            return None
        return self.left * (self.source_px / self.done) / self.pace.source_px * self.pace.seconds


@dataclass(slots=True)
class _Count:
    """Entries of the shards that have been looked at."""

    done: int = 0
    failed: int = 0
    suspect: int = 0
    source_px: int = 0
    frames: int = 0
    nbytes: int = 0
    pieces: int = 0
    failures: Counter[str] = field(default_factory=Counter[str])


def read_status(root: str) -> Status:
    """Look at an output root. Raises UsageError where there is no ledger, and what farm.storage raises."""
    found = find_status(root)
    if found is None:
        where = manifest.canonical(root)
        raise UsageError(f"{where}: no output root: there is no ledger in it; name what --out named")
    return found


def find_status(root: str) -> Status | None:
    """read_status(), but None where there is no ledger: of training, or of a run that still reads its manifest."""
    root = manifest.canonical(root)
    return ledger.reread(lambda: _status(root))


def here() -> str:
    """The output root that a person in this folder means. Raises UsageError where there is none."""
    for place in (".", manifest.OUT_FOLDER):
        if ".farm" in _folders(manifest.canonical(place)):
            return place
    raise UsageError("RUN: neither this folder nor its farm-out/ is an output root; name what --out named")


def iter_roots(folder: str, closed: Callable[[FarmError], None], depth: int = _DEPTH) -> Iterator[str]:
    """Output roots at and below a folder or prefix, names sorted; what lies below a root is not looked through.

    `closed` is told of each folder below it that cannot be looked into. Raises for `folder` itself.
    """
    yield from _iter_roots(manifest.canonical(folder), closed, depth)


def _iter_roots(folder: str, closed: Callable[[FarmError], None], depth: int) -> Iterator[str]:
    names = _folders(folder)
    if ".farm" in names:
        yield folder
        return
    for name in names if depth else ():
        try:
            yield from _iter_roots(storage.join(folder, name), closed, depth - 1)
        except CLOSED as error:
            closed(error)


def _folders(folder: str) -> list[str]:
    """Names of the folders in it; none where it is not."""
    with faults.run_level(folder):
        try:
            return list(storage.list_folders(folder))
        except ItemError as error:
            if error.kind is ErrorKind.MISSING:
                return []
            raise


def _status(root: str) -> Status | None:
    shards = ledger.read_shards(root)
    notes = ledger.read_notes(root, 1)
    if not shards and not notes:
        return None
    note = notes[-1] if notes else None
    count = _Count()
    latest = {files.number: _add(files, count) for files in shards.values()}
    standing = lock.standing(root)
    who = standing.holder or note
    own = note if note and who and who.run == note.run else None  # who works there may not have left a note yet
    left = _left(note, count)
    state = _state(note, left, standing)
    is_working = state in ("running", "unclear")
    return Status(
        root=root,
        state=state,
        run=who.run if who else "",
        manifest=note.manifest if note else "",
        models=note.models if note else (),
        host=who.host if who else "",
        pid=who.pid if who else 0,
        rows=note.rows if note else None,
        done=count.done,
        failed=count.failed,
        left=left,
        suspect=count.suspect,
        source_px=count.source_px,
        frames=count.frames,
        output_bytes=count.nbytes,
        pieces=count.pieces,
        failures=dict(count.failures.most_common()),
        started_unix=own.started_unix if own else 0.0,
        ended_unix=own.ended_unix if own else 0.0,
        last_unix=max(latest.values(), default=0.0),
        pace=_pace(shards, latest, own) if own and is_working else None,
        waiting=own.waiting if own and is_working else "",
    )


def _state(note: RunNote | None, left: int | None, standing: lock.Standing) -> str:
    if standing.holder is not None:
        return "running"
    if note is None:
        return "idle"
    if note.ended_unix or not left:
        return "stopped" if left else "finished"
    return "killed" if standing.is_told else "unclear"


def _left(note: RunNote | None, count: _Count) -> int | None:
    if note is None:
        return None
    return note.left if note.ended_unix else max(0, note.rows - count.done - count.failed)


def _add(files: ShardFiles, count: _Count) -> float:
    """Count a shard; returns when its latest entry was written."""
    table, mark = _entries(files)
    piece = table["piece"].to_numpy().astype(bool)
    is_done = np.asarray(_compute().equal(table["status"], ItemStatus.DONE.value))
    done, failed = is_done & ~piece, ~is_done & ~piece
    count.done += mark.done if mark else int(done.sum())
    count.failed += mark.failed + mark.refused if mark else int(failed.sum())
    count.pieces += int((is_done & piece).sum())
    count.suspect += int((np.asarray(_compute().not_equal(table["suspect"], "")) & done).sum())
    count.source_px += int(table["source_px"].to_numpy()[is_done].sum())
    count.frames += int(table["frames"].to_numpy()[is_done].sum())
    count.nbytes += int(table["bytes"].to_numpy()[done].sum())
    for pair in table["error"].filter(failed).value_counts().to_pylist():
        count.failures[pair["values"]] += pair["counts"]
    return float(table["finished_unix"].to_numpy().max(initial=0.0))


def _entries(files: ShardFiles) -> tuple[Any, ledger.Mark | None]:
    """What counts of a shard, and the mark that stands for it; of a marked one only what the mark stands for."""
    if files.compacted and not files.segments:
        with ledger.open_compacted(files.compacted) as file:
            if file.mark is not None:
                table = file.read([*_COLUMNS, ledger.MARK])
                return table.filter(table[ledger.MARK].to_numpy() != Compared.NOT_MARKED), file.mark
    return ledger.read_columns(files, _COLUMNS), None


def _pace(shards: Mapping[int, ShardFiles], latest: Mapping[int, float], note: RunNote) -> Pace | None:
    """What has ended in the last minutes of a run. Of what is joined in them only the pieces that were made in them."""
    now = time.time()
    since = max(note.started_unix, now - WINDOW_S)
    rows, px = 0, 0
    for number, files in shards.items():
        if latest[number] < since:
            continue
        table = ledger.read_entries(files).select(_COLUMNS) if files.segments else ledger.read_columns(files, _COLUMNS)
        recent = table["finished_unix"].to_numpy() >= since
        table = table.filter(recent & np.asarray(_compute().equal(table["run"], note.run)))
        piece = table["piece"].to_numpy().astype(bool)
        keys: list[str] = table["key"].to_pylist()
        cut = {key.partition("/")[0] for key, is_piece in zip(keys, piece, strict=True) if is_piece}
        counted = piece | np.fromiter((key not in cut for key in keys), bool, len(keys))
        rows += int((~piece).sum())
        px += int(table["source_px"].to_numpy()[counted].sum())
    return Pace(seconds=now - since, rows=rows, source_px=px) if rows or px else None


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)
