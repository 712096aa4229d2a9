"""Record batches as blocks of rows, checked a column at a time.

Only what is plain goes this way: sources that need no second look, numbers that are whole, digests that are digests,
and no column that overrides what the run says. Whatever is not, batch by batch, goes row by row through RowMaker, whose
word on values and on errors is the one that counts: this room may decline, never decide otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from farm.blocks import RowBlock
from farm.errors import ItemError
from farm.kinds import MEDIA, MediaKind, kind_of
from farm.manifest.sources import SourceRules

_PLAIN = ("source", "kind", "sha256", "etag", "bytes", "width", "height", "priority")
_FOLDERS_KEPT = 10_000
_EXTENSIONS_KEPT = 1000
_DOTS = frozenset(("", ".", ".."))
_MOST_PX = 2**31 - 1
_MOST_BYTES = 10**18 - 1
_MOST_PRIORITY = 2**31 - 1
_SHA256 = r"\A[0-9a-f]{64}\z"


class BlockMaker:
    """Makes blocks of one manifest's batches."""

    def __init__(self, rules: SourceRules) -> None:
        self._rules = rules
        self._folders: dict[str, tuple[str, str] | None] = {}
        """what comes before a name in its URL and in its relative path, by folder; None for folders to be refused"""
        self._kinds: dict[str, MediaKind] = {}

    def make(self, batch: Any, first: int) -> RowBlock | None:
        """The block of a batch without dictionaries, or None where a row needs RowMaker."""
        columns = {name: batch.column(name) for name in batch.schema.names}
        if any(_says_something(column) for name, column in columns.items() if name not in _PLAIN):
            return None
        sources, given = columns["source"], columns.get("kind")
        if not _is_text(sources) or sources.null_count or _any_match(sources, "\0"):
            return None
        placed = self._placed(sources.to_pylist())
        words = _words(columns.get("sha256"), columns.get("etag"))
        nbytes = _whole(columns.get("bytes"), 0, _MOST_BYTES)
        width, height = (_whole(columns.get(name), 1, _MOST_PX) for name in ("width", "height"))
        priorities = _whole(columns.get("priority"), -_MOST_PRIORITY, _MOST_PRIORITY)
        if placed is None or words is None or nbytes is None or width is None or height is None or priorities is None:
            return None
        urls, relatives, kinds = placed
        if given is not None and given.null_count < len(given):
            said = _said_kinds(given, kinds)
            if said is None:
                return None
            kinds = said
        none: Sequence[None] = (None,) * len(urls)
        return RowBlock(
            first=first,
            urls=urls,
            relatives=relatives,
            kinds=kinds,
            words=words or None,
            nbytes=nbytes or None,
            sizes=list(zip(width or none, height or none, strict=True)) if width or height else None,
            priorities=[one or 0 for one in priorities] if priorities else None,
            refused={},
        )

    def folder(self, folder: str) -> tuple[str, str] | None:
        """(URL, relative path) of a folder as sources write it, each up to where the name starts; None: refused."""
        if folder not in self._folders:
            if len(self._folders) >= _FOLDERS_KEPT:
                self._folders.clear()
            if folder[:5].lower() == "file:":  # the names in it are percent-encoded
                self._folders[folder] = None
                return None
            try:
                url, relative = self._rules.resolve(f"{folder}/x" if folder else "x")
                self._folders[folder] = (url[:-1], relative[:-1])
            except ItemError:
                self._folders[folder] = None
        return self._folders[folder]

    def _placed(self, sources: list[str]) -> tuple[list[str], list[str], list[MediaKind]] | None:
        """URLs, relative paths and kinds, or None where a source may have to be refused."""
        urls: list[str] = []
        relatives: list[str] = []
        kinds: list[MediaKind] = []
        folders, known = self._folders, self._kinds
        for source in sources:
            folder, slash, name = source.rpartition("/")
            if slash and not folder:
                return None  # a file of the root folder, whose folder has no name
            start = folders.get(folder) or self.folder(folder)
            if start is None or name in _DOTS:
                return None
            urls.append(start[0] + name)
            relatives.append(start[1] + name)
            stem, _, extension = name.rpartition(".")
            plain = stem and "%" not in name
            kinds.append((known.get(extension) or self._kind(extension)) if plain else kind_of(name))
        return urls, relatives, kinds

    def _kind(self, extension: str) -> MediaKind:
        kind = kind_of(f"x.{extension}")
        if len(self._kinds) < _EXTENSIONS_KEPT:
            self._kinds[extension] = kind
        return kind


def _is_text(column: Any) -> bool:
    return str(column.type) in ("string", "large_string")


def _says_something(column: Any) -> bool:
    return column.null_count < len(column)


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)


def _any_match(column: Any, text: str) -> bool:
    arrow = _compute()
    return bool(arrow.any(arrow.match_substring(column, text)).as_py())


def _words(sha256: Any, etag: Any) -> list[str] | None:
    """What the manifest says of versions; empty where it says nothing at all, None where it needs a second look."""
    said = [column for column in (sha256, etag) if column is not None and _says_something(column)]
    if not said:
        return []
    if len(said) > 1 or not _is_text(said[0]):
        return None
    if said[0] is etag:
        return [f"etag:{value}" if value else "" for value in etag.to_pylist()]
    arrow = _compute()
    if not arrow.all(arrow.match_substring_regex(sha256, _SHA256)).as_py():
        return None
    return [f"sha256:{value}" if value else "" for value in sha256.to_pylist()]


def _whole(column: Any, least: int, most: int) -> list[int | None] | None:
    """Whole numbers; empty where there are none, None where one needs a second look."""
    if column is None or not _says_something(column):
        return []
    if str(column.type).lstrip("u") not in ("int8", "int16", "int32", "int64"):
        return None
    bounds = _compute().min_max(column).as_py()
    return column.to_pylist() if least <= bounds["min"] and bounds["max"] <= most else None


def _said_kinds(column: Any, by_name: list[MediaKind]) -> list[MediaKind] | None:
    if not _is_text(column):
        return None
    known: dict[str | None, MediaKind | None] = {None: None, "": None, **{kind.value: kind for kind in MEDIA}}
    values = column.to_pylist()
    if any(value not in known for value in set(values)):
        return None
    return [known[value] or name for value, name in zip(values, by_name, strict=True)]
