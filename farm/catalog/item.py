"""What flows through this room: rows with all that is to be written of them, and the count of what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from farm import storage
from farm.kinds import MediaKind
from farm.manifest import canonical
from farm.manifest.columns import LQ, SOURCE
from farm.records import FileStat, ManifestRow, RefusedRow

_NAMED = 20
"""rows left out that are named; all are counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A row on its way into a manifest."""

    row: ManifestRow
    values: Mapping[str, object]
    """its other columns, as parsed"""
    lq_url: str | None = None
    mtime_ns: int | None = None
    """when the source was changed, where that is known"""

    @property
    def stat(self) -> FileStat:
        """What its store said of the source when it was listed."""
        row = self.row
        return FileStat(url=row.source_url, bytes=row.bytes or 0, mtime_ns=self.mtime_ns, etag=row.etag)


class Base:
    """What the sources of a written manifest are relative to; nothing: they are written in full."""

    def __init__(self, url: str | None) -> None:
        self._below = None if url is None else canonical(url).rstrip("/") + "/"

    def text(self, url: str) -> str:
        """The text that a reader of the manifest resolves to `url`."""
        if self._below is None or not url.startswith(self._below):
            return url
        relative = url[len(self._below) :]
        # In an object's key empty segments and dots mean themselves, in a relative path they do not.
        if storage.is_remote(url) and (relative.startswith("/") or "." in relative.split("/")):
            return url
        return relative

    def columns(self, item: Item) -> dict[str, object]:
        """Every column of a row."""
        values: dict[str, object] = {SOURCE: self.text(item.row.source_url), **item.values}
        if item.lq_url is not None:
            values[LQ] = self.text(item.lq_url)
        return values


@dataclass(slots=True, kw_only=True)
class Written:
    """What was written of what was found."""

    url: str
    rows: int = 0
    kinds: Counter[MediaKind] = field(default_factory=Counter[MediaKind])
    bytes: int = 0
    """of the sources, as far as their sizes are known"""
    left_out: int = 0
    """rows that cannot be written, with a reason"""
    reasons: list[str] = field(default_factory=list[str])
    """of the first of them"""
    unchanged: int = 0
    """left out because nothing is to be done for them"""
    unsized: int = 0
    """pictures and films whose headers did not tell their size"""
    dropped: set[str] = field(default_factory=set[str])
    """columns that were left out because the form cannot hold them"""
    advice: str | None = None
    """for whoever runs the manifest"""
    parts: list[str] = field(default_factory=list[str])
    """where one manifest was written in several pieces"""

    def note(self, item: Item) -> None:
        """Count a row that was written."""
        self.rows += 1
        self.kinds[item.row.kind] += 1
        self.bytes += item.row.bytes or 0

    def leave_out(self, row: RefusedRow) -> None:
        """Count a row that was not."""
        self.left_out += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append(str(row.error))
