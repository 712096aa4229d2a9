"""What is in a manifest, and everything that is wrong with it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from farm import storage
from farm.catalog.ahead import map_ahead
from farm.catalog.forms import check_is_manifest
from farm.errors import DiskError, ItemError, ManifestError
from farm.kinds import MediaKind, is_sequence
from farm.manifest import canonical, files
from farm.manifest.columns import UPSCALE
from farm.manifest.rows import Entry
from farm.records import FileStat, ManifestRow, RefusedRow

_NAMED = 20
"""of each kind of complaint as many are named; all are counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """Which manifest is looked at, and how closely."""

    source: str
    root: str | None = None
    stat: bool = False
    """ask the store for every source"""

    def __post_init__(self) -> None:
        check_is_manifest(self.source)


@dataclass(slots=True)
class Complaints:
    """What is wrong in one way: how often, and the first few."""

    count: int = 0
    named: list[str] = field(default_factory=list[str])

    def add(self, message: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append(message)


@dataclass(slots=True)
class CheckResult:
    """What is in a manifest."""

    rows: int = 0
    """that mean something, and those with unsafe paths"""
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter[str])
    tasks: Counter[str] = field(default_factory=Counter[str])
    models: Counter[str] = field(default_factory=Counter[str])
    """as rows name them; empty: the run's"""
    errors: Complaints = field(default_factory=Complaints)
    """values that mean nothing; a run does not start"""
    duplicates: Complaints = field(default_factory=Complaints)
    """rows that ask for what an earlier one asks for; a run does not start"""
    unsafe: Complaints = field(default_factory=Complaints)
    """rows whose paths are refused; they fail alone"""
    missing: Complaints = field(default_factory=Complaints)
    """sources that are not there or may not be read"""
    changed: Complaints = field(default_factory=Complaints)
    """sources whose size or etag is not what the manifest says"""
    later: int = 0
    """rows that no run of this version does"""

    @property
    def exit_code(self) -> int:
        """65: a run would not start; 3: rows would fail; 0."""
        if self.errors.count or self.duplicates.count:
            return ManifestError.exit_code
        return ItemError.exit_code if self.unsafe.count or self.missing.count else 0


def check(config: CheckConfig) -> CheckResult:
    """Read a manifest to its end. Raises FarmError only where it cannot be read on; wrong rows are in the result."""
    url = canonical(config.source)
    root = config.root or storage.parent(url)
    result = CheckResult()
    seen = array("Q")
    reading = files.read_entries(url, root, report=lambda error: result.errors.add(str(error)))
    for entry, complaint in map_ahead(_looked_at, reading) if config.stat else ((entry, None) for entry in reading):
        _note(result, entry, complaint)
        seen.append(_digest(entry))
    _find_duplicates(result, seen, lambda: files.read_entries(url, root, report=lambda _: None))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absent:
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    message: str


_Complaint = _Absent | _Changed | None


def _note(result: CheckResult, entry: Entry, complaint: _Complaint) -> None:
    row = entry.row
    result.rows += 1
    if isinstance(row, RefusedRow):
        result.unsafe.add(f"row {row.index}: {row.error}")
        return
    result.kinds[row.kind.value] += 1
    result.tasks[row.task] += 1
    result.models[row.overrides.model or ""] += 1
    result.bytes += row.bytes or 0
    result.later += row.task != UPSCALE or entry.lq_url is not None or bool(entry.values.get("face"))
    if isinstance(complaint, _Absent):
        result.missing.add(f"row {row.index}: {complaint.message}")
    elif complaint is not None:
        result.changed.add(f"row {row.index}: {complaint.message}")


def _looked_at(entry: Entry) -> tuple[Entry, _Complaint]:
    """What its store says of a row."""
    row = entry.row
    if isinstance(row, RefusedRow) or (row.kind is MediaKind.VIDEO and is_sequence(row.source_url)):
        return entry, None
    try:
        stat = storage.stat(row.source_url)
        if entry.lq_url is not None:
            storage.stat(entry.lq_url)
    except ItemError as error:
        if error.kind.retryable:
            raise DiskError(f"manifest check: {error.url}: {error.found}; {error.advice}") from error
        return entry, _Absent(message=str(error))
    found = _difference(row, stat)
    return entry, _Changed(message=f"{row.source_url}: {found}") if found else None


def _difference(row: ManifestRow, stat: FileStat) -> str:
    if row.bytes is not None and row.bytes != stat.bytes:
        return f"{stat.bytes} bytes, and column bytes says {row.bytes}"
    if row.etag and stat.etag and row.etag != stat.etag:
        return f"its etag is {stat.etag}, and column etag says {row.etag}"
    return ""


def _asks(entry: Entry) -> tuple[object, ...] | None:
    """What two rows that ask for the same have in common."""
    row = entry.row
    if isinstance(row, RefusedRow):
        return None
    return row.source_url, row.task, row.overrides, entry.lq_url, bool(entry.values.get("face"))


def _digest(entry: Entry) -> int:
    """8 bytes of what a row asks for; of a refused one, which asks for nothing, of its number."""
    text = repr(_asks(entry) or entry.row.index)
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _find_duplicates(result: CheckResult, seen: array[int], entries: Callable[[], Iterator[Entry]]) -> None:
    """Count rows that ask for what an earlier row asks for, and name the first of them after another look."""
    digests, counts = np.unique(np.frombuffer(seen, np.uint64), return_counts=True)
    twice = {int(one) for one in digests[counts > 1][:_NAMED]}
    if not twice:
        return
    first: dict[object, int] = {}
    for entry in entries():
        if _digest(entry) not in twice or (asks := _asks(entry)) is None:
            continue
        before = first.setdefault(asks, entry.row.index)
        if before != entry.row.index and isinstance(entry.row, ManifestRow):
            message = f"row {entry.row.index}: asks for the same of {entry.row.source_url} as row {before}"
            result.duplicates.add(message)
    result.duplicates.count = int((counts - 1).sum())
