"""Manifest files, whatever their form: rows for a run, entries for who looks at them or writes them anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from farm import storage
from farm.errors import ManifestError
from farm.kinds import extension_of
from farm.manifest import batch, forms, parquet, table
from farm.manifest.columns import IGNORED_PREFIX
from farm.manifest.rows import Entry, Row, RowMaker
from farm.manifest.sources import SourceRules, reading_manifest

_TEXT_FORMS: Mapping[str, Callable[[BinaryIO, str, forms.CheckNames], Iterator[forms.Located]]] = {
    "txt": forms.iter_txt,
    "csv": forms.iter_csv,
    "jsonl": forms.iter_jsonl,
    "ndjson": forms.iter_jsonl,
}
_PARQUET = ("parquet", "pq")
EXTENSIONS = (*_TEXT_FORMS, *_PARQUET)
"""lower-case extensions of manifest files"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileColumn:
    """A column that a manifest file has."""

    name: str
    types: frozenset[type]
    """Python's types of its values; `object` for what has no counterpart in JSON"""
    arrow: Any = None
    """Arrow's type, where the file is Parquet"""
    is_readable: bool = True
    """false for nested columns of the user's own and such"""


def read_rows(url: str, root: str) -> Iterator[Row]:
    """The rows of a manifest file. Raises ManifestError."""
    maker = RowMaker(url, SourceRules(root))
    return reading_manifest(url, _parquet_rows(url, maker) if _is_parquet(url) else _text_rows(url, maker))


def _parquet_rows(url: str, maker: RowMaker) -> Iterator[Row]:
    with storage.open_read(url) as stream:
        for start, arrays in parquet.iter_batches(stream, url, maker.check_names):
            with parquet.reading(url, start):
                yield from batch.iter_rows(maker, start, arrays)


def _text_rows(url: str, maker: RowMaker) -> Iterator[Row]:
    with storage.open_read(url) as stream:
        for index, (line, values) in enumerate(_TEXT_FORMS[extension_of(url)](stream, url, maker.check_names)):
            yield maker.make(index, line, values)


def read_entries(
    url: str, root: str, *, own: Collection[str] = (), report: Callable[[ManifestError], None] | None = None
) -> Iterator[Entry]:
    """The rows of a manifest file with all that it says of them, also of tasks that no run of this version does.

    `own`: which of the user's columns to read. `report`: is told of each wrong row, which is then left out; without it
    the first one is raised. What is wrong with the file as a whole is raised as ManifestError either way.
    """
    maker = RowMaker(url, SourceRules(root), own=own, as_data=True)

    def entries() -> Iterator[Entry]:
        with storage.open_read(url) as stream:
            for index, (line, values) in enumerate(_iter_values(stream, url, maker)):
                try:
                    entry = maker.entry(index, line, values)
                except ManifestError as error:
                    if report is None:
                        raise
                    report(error)
                else:
                    yield entry

    return reading_manifest(url, entries())


def _iter_values(stream: BinaryIO, url: str, maker: RowMaker) -> Iterator[tuple[int | None, forms.Values]]:
    if not _is_parquet(url):
        yield from _TEXT_FORMS[extension_of(url)](stream, url, maker.check_names)
        return
    for start, arrays in parquet.iter_batches(stream, url, maker.check_names):
        with parquet.reading(url, start):
            for values in parquet.iter_values(arrays):
                yield None, values


def count_rows(url: str) -> int | None:
    """How many rows a manifest file has where its footer says it; None for text."""
    if not _is_parquet(url):
        return None

    def count() -> Iterator[int]:
        with storage.open_read(url) as stream:
            yield parquet.count_rows(stream, url)

    return next(reading_manifest(url, count()))


def read_columns(url: str) -> list[FileColumn]:
    """The columns of a manifest file, in order. Reads text forms whose rows may differ to their end.

    Raises ManifestError for names that mean nothing, and where the file cannot be read.
    """

    def columns() -> Iterator[list[FileColumn]]:
        with storage.open_read(url) as stream:
            yield _parquet_columns(stream, url) if _is_parquet(url) else _text_columns(stream, url)

    return next(reading_manifest(url, columns()))


def _parquet_columns(stream: BinaryIO, url: str) -> list[FileColumn]:
    import pyarrow

    kinds = cast(Any, pyarrow).types
    python = ((kinds.is_boolean, bool), (kinds.is_integer, int), (kinds.is_floating, float), (kinds.is_string, str))
    found = parquet.read_types(stream, url)
    RowMaker(url, SourceRules("/")).check_names(found)
    return [
        FileColumn(
            name=name,
            types=frozenset({next((one for fits, one in python if fits(kind)), object)}),
            arrow=kind,
            is_readable=table.why_unreadable(name, kind) is None,
        )
        for name, kind in found.items()
    ]


@dataclass(slots=True)
class _Seen:
    """Names and types of the columns of a text manifest, as its rows show them."""

    maker: RowMaker
    types: dict[str, set[type]] = field(default_factory=dict[str, "set[type]"])

    def check_names(self, names: Any, where: str = "") -> list[str]:
        """Every column of the file is wanted here."""
        names = list(names)
        self.maker.check_names(names, where)
        for name in names:
            self.types.setdefault(name, set())
        return names

    def note(self, values: forms.Values) -> None:
        for name, value in values.items():
            if value is not None:
                self.types[name].add(type(value))


def _text_columns(stream: BinaryIO, url: str) -> list[FileColumn]:
    seen = _Seen(RowMaker(url, SourceRules("/")))
    form = extension_of(url)
    for _, values in _TEXT_FORMS[form](stream, url, seen.check_names):
        seen.note(values)
        if form == "csv":  # its first line has said it all
            break
    if form == "csv":
        seen.types = {name: {str} for name in seen.types}
    used = {name: types for name, types in seen.types.items() if types or form != "txt"}
    return [FileColumn(name=name, types=frozenset(types)) for name, types in used.items()]


def own_names(columns: Collection[FileColumn]) -> list[str]:
    """Those of the user's own that can be read."""
    return [one.name for one in columns if one.name.startswith(IGNORED_PREFIX) and one.is_readable]


def _is_parquet(url: str) -> bool:
    return extension_of(url) in _PARQUET
