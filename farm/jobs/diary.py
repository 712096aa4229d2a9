"""What an attached run has done, told from its ledger: what it says is drawn for its terminal, and kept nowhere.

A line when it began, one for each row that has ended, by time, and one when it is over. Nothing is written.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator

from farm import ledger, lock
from farm.console import printable
from farm.ledger import RunNote
from farm.records import ItemStatus
from farm.status import find_status

MOST_ROWS = 1000
"""that are told at once: the latest; results.parquet has all"""
_MORE = "rows before these: results.parquet has them"
_STAGES = ["read_s", "decode_s", "infer_s", "encode_s", "write_s"]
"""with those of all pieces of a film or a large picture, where `total_s` is what joined them"""
_COLUMNS = ["status", "message", "source", "output", "worker", "finished_unix", "run", "total_s"]
_PAUSE_S, _PAUSES = 2.0, 20.0
"""between two looks: at least so many seconds, and so many times as long as a look takes"""
_Line = tuple[float, str]


def began_unix(root: str) -> float:
    """When the latest run in an output root began; 0 where none is known."""
    note = _latest(root)
    return note.started_unix if note else 0.0


def read(root: str) -> str:
    """What the latest run there has done so far; one line that says so where none is known."""
    note = _latest(root)
    if note is None:
        return f"{printable(root)}: no run has left a note here\n"
    return "".join(f"{line}\n" for _, line in (*_begun(note), *_rows(root, note.run), *_over(root, note)))


def follow(root: str, show: Callable[[str], None], pause: Callable[[float], None] = time.sleep) -> None:
    """Show what the latest run does until it is over."""
    note = _latest(root)
    if note is None:
        show(read(root))
        return
    told: set[_Line] = set()
    while True:
        began_s = time.monotonic()
        over = _over(root, note)  # before its rows are read, so that none of them is missed
        lines = [*_begun(note), *_rows(root, note.run), *over]
        fresh = [one for one in lines if one not in told and not (told and _MORE in one[1])]
        show("".join(f"{line}\n" for _, line in fresh))
        if over:
            return
        told = set(lines)
        pause(max(_PAUSE_S, _PAUSES * (time.monotonic() - began_s)))


def _latest(root: str, run: str | None = None) -> RunNote | None:
    """The latest note, or that of a run."""
    notes = ledger.read_notes(root, 1)
    if run is not None and not (notes and notes[0].run == run):
        notes = [note for note in ledger.read_notes(root) if note.run == run]
    return notes[-1] if notes else None


def _begun(note: RunNote) -> list[_Line]:
    what = f"{note.rows} rows of {note.manifest} by {', '.join(note.models)}" if note.models else f"{note.rows} rows"
    return [_line(note.started_unix, f"run {note.run} begins: {what}, process {note.pid} on {note.host}")]


def _over(root: str, note: RunNote) -> list[_Line]:
    """Nothing while it works."""
    standing = lock.standing(root)  # before the note is read, so that no end is missed
    ended = _latest(root, note.run) or note
    if ended.ended_unix:
        counts = f"{ended.done} done, {ended.failed} failed, {ended.left} left"
        return [_line(ended.ended_unix, f"run {note.run} has ended with exit code {ended.exit_code}: {counts}")]
    if standing.holder is not None or not standing.is_told:
        return []
    status = find_status(root)
    last_unix = status.last_unix if status else None
    return [_line(last_unix or note.started_unix, f"run {note.run} is gone and has left no word of its end")]


def _rows(root: str, run: str) -> list[_Line]:
    """The latest rows of a run, in the order in which they ended."""
    return ledger.reread(lambda: _read_rows(root, run))


def _read_rows(root: str, run: str) -> list[_Line]:
    count = 0

    def counted() -> Iterator[_Line]:
        nonlocal count
        for line in _iter_rows(root, run):
            count += 1
            yield line

    latest = sorted(heapq.nlargest(MOST_ROWS, counted()))
    more = count - len(latest)
    return [_line(latest[0][0], f"{more} {_MORE}")] * bool(more) + latest


def _iter_rows(root: str, run: str) -> Iterator[_Line]:
    names = [*_COLUMNS, *_STAGES]
    for table in ledger.iter_results(root, names):
        columns = (table[name].to_pylist() for name in names)
        for status, message, source, output, worker, at, whose, total_s, *stages in zip(*columns, strict=True):
            if whose != run:
                continue
            if status == ItemStatus.DONE.value:
                spent_s = total_s if None in stages else sum(stages)
                yield _line(at, f"done {output} in {spent_s:.1f} s of work, by {worker}")
            else:
                yield _line(at, f"{status} {message or source}")


def _line(at_unix: float, text: str) -> _Line:
    return at_unix, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at_unix))} {printable(text)}"
