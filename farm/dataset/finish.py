"""When all packs are done: counts, lists and tables over all parts, and dataset.json.

Everything is read from the parts' own tables, so that it is the same whoever made them, and when.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from farm import shards, storage
from farm.config import PrepareConfig
from farm.dataset.lists import LISTS, iter_rows, write_lists
from farm.dataset.packs import Packs, remove_old
from farm.dataset.replaced import note_replaced, parts_below, remove_replaced
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
    has_samples: bool = True
    """whether the operation makes any, and no list or table alone"""
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
    there = _index(out)
    if there is not None and there.operation != operation:
        raise UsageError(
            f"--out: {out} holds what `{there.operation}` has made; give {operation} an output root of its own"
        )


def withdraw(out: str, packs: Packs, config: PrepareConfig, operation: str, run: str) -> None:
    """Take dataset.json away where it stands for other sources or options than are about to be made: until they are
    all there, nobody must take the parts of two states for one data set."""
    there = _index(out)
    options = json.loads(json.dumps(_options(config, operation)))
    made = None if there is None else (there.form, dict(there.options), there.packs)
    if made != (config.form, options, storage.name(packs.manifest)):
        note_replaced(OutputRoot(url=out, attempt=run))
        storage.delete(storage.join(out, shards.INDEX))


def _index(out: str) -> shards.DatasetIndex | None:
    try:
        return shards.read_index(out)
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise
        return None


def _options(config: PrepareConfig, operation: str) -> dict[str, Any]:
    return asdict(config.options(operation))


def finish(out: str, packs: Packs, config: PrepareConfig, operation: str, run: str) -> Counted:
    """Count, write lists and the index, and remove parts of an earlier state that are none any more."""
    root = OutputRoot(url=out, attempt=run)
    counted = Counted(out=out, has_samples=bool(config.options(operation).roles))
    before = parts_below(out)
    parts = [shards.read_part(out, name) for name in packs.names]
    for part in parts:
        _count(counted, part, out)
    counted.lists = write_lists(root, parts, operation, config.form, counted.reasons)
    counted.reasons += Counter()  # without what was counted as none
    if operation == "stats" and parts:
        counted.lists.append(write_stats(root, parts, config.stats.near_bits))
    options = config.options(operation)
    index = shards.DatasetIndex(
        form=config.form,
        operation=operation,
        roles=options.roles,
        options=_options(config, operation),
        parts=tuple(parts),
        packs=storage.name(packs.manifest),
    )
    remove_replaced(root, index)
    for url in {storage.join(out, name) for name in LISTS} - set(counted.lists):
        storage.delete(url)  # of another form
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
