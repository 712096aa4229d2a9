"""Consecutive rows of a manifest, column by column: what planning walks over when there are ten million of them.

A ManifestRow and a WorkItem cost microseconds each, and most rows of most runs need neither: what is done is known by
names and versions alone. Rows are made of a block one by one, where they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from typing import Any

from farm.kinds import MediaKind
from farm.records import ManifestRow, Overrides, RefusedRow

UPSCALE = "upscale"
"""the task of rows that name none"""
NO_OVERRIDES = Overrides()
OpenRow: Any = make_dataclass("OpenRow", [(one.name, object) for one in fields(ManifestRow)], slots=True, kw_only=True)
"""A ManifestRow that is not frozen yet: whoever has filled it sets its `__class__` to ManifestRow. A frozen dataclass
fills itself through `object.__setattr__`, field by field, which takes five times as long: as long as all else together
that reading a row of Parquet takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Rows `first`, `first` + 1, ...; each column has a value a row, or is None where no row has one."""

    first: int
    """index of the first row in the manifest"""
    urls: Sequence[str]
    """sources; empty for rows that are refused"""
    relatives: Sequence[str]
    """`ManifestRow.relative_path`; empty for rows that are refused"""
    kinds: Sequence[MediaKind]
    words: Sequence[str] | None = None
    """the manifest's own word on the version, as `sha256:...` or `etag:...`; empty where it says nothing"""
    nbytes: Sequence[int | None] | None = None
    """size of the source in bytes, as the manifest says"""
    overrides: Sequence[Overrides] | None = None
    sizes: Sequence[tuple[int | None, int | None]] | None = None
    """upright width and height in pixels, as the manifest says"""
    priorities: Sequence[int] | None = None
    """higher ones come first within their shard"""
    tasks: Sequence[str] | None = None
    """None where all rows ask for UPSCALE"""
    refused: Mapping[int, RefusedRow]
    """by position in the block"""
    made: Sequence[ManifestRow | RefusedRow] | None = None
    """the rows themselves, where they had to be made to fill the block"""

    def __len__(self) -> int:
        return len(self.urls)

    def row(self, position: int) -> ManifestRow:
        """The row at a position of the block that is not refused."""
        if self.made is not None:
            row = self.made[position]
            if isinstance(row, RefusedRow):
                raise ValueError(f"row {row.index} is refused")
            return row
        word, _, version = self.words[position].partition(":") if self.words else ("", "", "")
        width, height = self.sizes[position] if self.sizes else (None, None)
        row = OpenRow(
            index=self.first + position,
            source_url=self.urls[position],
            relative_path=self.relatives[position],
            kind=self.kinds[position],
            sha256=version if word == "sha256" else None,
            etag=version if word == "etag" else None,
            bytes=self.nbytes[position] if self.nbytes else None,
            width=width,
            height=height,
            overrides=self.overrides[position] if self.overrides else NO_OVERRIDES,
            task=self.tasks[position] if self.tasks else UPSCALE,
            priority=self.priorities[position] if self.priorities else 0,
            tags=(),
        )
        row.__class__ = ManifestRow
        return row


def block_of(rows: Iterable[ManifestRow | RefusedRow], first: int) -> RowBlock:
    """A block of rows that are there already."""
    made = list(rows)
    refused = {at: row for at, row in enumerate(made) if isinstance(row, RefusedRow)}
    kept = [row if isinstance(row, ManifestRow) else _NO_ROW for row in made]
    plain = all(row.overrides is NO_OVERRIDES or row.overrides == NO_OVERRIDES for row in kept)
    return RowBlock(
        first=first,
        urls=[row.source_url for row in kept],
        relatives=[row.relative_path for row in kept],
        kinds=[row.kind for row in kept],
        words=[version_word(row) for row in kept],
        nbytes=[row.bytes for row in kept],
        overrides=None if plain else [row.overrides for row in kept],
        sizes=[(row.width, row.height) for row in kept],
        priorities=[row.priority for row in kept] if any(row.priority for row in kept) else None,
        tasks=[row.task for row in kept] if any(row.task != UPSCALE for row in kept) else None,
        refused=refused,
        made=made,
    )


def version_word(row: ManifestRow) -> str:
    """What the manifest itself says of a source's version; empty where it says nothing."""
    if row.sha256:
        return f"sha256:{row.sha256}"
    return f"etag:{row.etag}" if row.etag else ""


_NO_ROW = ManifestRow(index=-1, source_url="", relative_path="")
