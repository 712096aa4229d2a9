"""When all packs are done: counts, lists and tables over all parts, and dataset.json.

Everything is read from the parts' own tables, so that it is the same whoever made them, and when.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from farm import shards, storage
from farm.config import PrepareConfig
from farm.dataset.lists import iter_rows, write_lists
from farm.dataset.packs import Packs, remove_old
from farm.dataset.statistics import write_stats
from farm.errors import ErrorKind, ItemError, UsageError
from farm.storage import OutputRoot

SHOWN = 5
"""failures that are named"""


@dataclass(slots=True)
class Counted:
    """A data set that is complete."""

    out: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    """sources"""
    samples: int = 0
    parts: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    """of sources that were skipped or have failed"""
    rules: Counter[str] = field(default_factory=Counter[str])
    """what was done to sources that are no plain 8-bit RGB pictures"""
    failures: list[str] = field(default_factory=list[str])
    """the first few messages"""
    lists: list[str] = field(default_factory=list[str])
    """URLs of what was written for training to read"""

    @property
    def sources(self) -> int:
        return self.done + self.skipped + self.failed


def check_root(out: str, operation: str) -> None:
    """Raise UsageError where a data set of another operation lies: both name their tables alike."""
    try:
        there = shards.read_index(out).operation
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise
        return
    if there != operation:
        raise UsageError(f"--out: {out} holds what `{there}` has made; give {operation} an output root of its own")


def finish(out: str, packs: Packs, config: PrepareConfig, operation: str, run: str) -> Counted:
    """Count, write lists and the index, and remove parts of an earlier state that are none any more."""
    root = OutputRoot(url=out, attempt=run)
    counted = Counted(out=out)
    parts = [shards.read_part(out, name) for name in packs.names]
    for part in parts:
        _count(counted, part, out)
    counted.lists = write_lists(root, parts, operation, config.form, counted.reasons)
    counted.reasons += Counter()  # without what was counted as none
    if operation == "stats" and parts:
        counted.lists.append(write_stats(root, parts, config.stats.near_bits))
    before = _files_before(out)
    options = config.options(operation)
    index = shards.DatasetIndex(
        form=config.form,
        operation=operation,
        roles=options.roles,
        options=asdict(options),
        parts=tuple(parts),
    )
    shards.write_index(index, root)
    now = {file.path for part in parts for file in part.files}
    for path in before - now:
        storage.delete(storage.join(out, path))
    remove_old(packs)
    return counted


def _count(counted: Counted, part: shards.PartEntry, out: str) -> None:
    counted.parts += 1
    counted.done += part.done
    counted.skipped += part.skipped
    counted.failed += part.failed
    counted.samples += part.samples
    counted.bytes += part.member_bytes
    url = storage.join(out, shards.sources_path(part.name))
    for rows in iter_rows(url, ["reason", "message", "rules", "status"]):
        for row in rows:
            counted.rules.update(row["rules"] or ())
            if row["reason"]:
                counted.reasons[row["reason"]] += 1
            if row["status"] == "failed" and len(counted.failures) < SHOWN:
                counted.failures.append(row["message"] or row["reason"])


def _files_before(out: str) -> set[str]:
    with suppress(ItemError):  # there is none, or one that says nothing: nothing is known to be ours
        return {file.path for part in shards.read_index(out).parts for file in part.files}
    return set()
