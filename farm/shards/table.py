"""The tables of a part: `sources`, a row a source, and `samples`, a row a sample. Equal rows make equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from farm import storage
from farm.errors import FarmError
from farm.sample import Sample, SourceReport
from farm.shards.stored import digest_of

GROUP_ROWS = 50_000
GROUP_BYTES = 8 << 20
"""rows, or bytes of files, of a row group: what is held while writing, and what reading one sample reads; four times as
much would make reading in a shuffled order four times as dear"""
Schema = Any
"""a pyarrow.Schema, which has no types"""
_MEMBER_TEXTS = ("path", "sha256")
_MEMBER_NUMBERS = ("bytes", "width", "height", "channels")
_SAMPLE_COLUMNS = ("key", "source_key", "relative_path", "part")


def sources_schema(columns: Mapping[str, type]) -> Schema:
    """Of `sources`; `columns` are the operation's. Raises ValueError where a name is taken."""
    arrow = _arrow()
    texts = ("source", "relative_path", "key", "version", "status", "reason", "message")
    fixed: list[tuple[str, Any]] = [(name, arrow.string()) for name in texts]
    fixed += [("rules", arrow.list_(arrow.string())), ("samples", arrow.int64())]
    return _schema([*fixed, *_typed(columns)])


def samples_schema(roles: tuple[str, ...], columns: Mapping[str, type], *, offsets: bool, files: bool) -> Schema:
    """Of `samples`; `columns` are the operation's. Raises ValueError where a name is taken.

    `offsets`: with columns that say where each file begins in its shard. `files`: with the files themselves.
    """
    arrow = _arrow()
    fixed = [(name, arrow.string()) for name in _SAMPLE_COLUMNS]
    for role in roles:
        fixed += [(f"{role}_{name}", arrow.string()) for name in _MEMBER_TEXTS]
        fixed += [(f"{role}_{name}", arrow.int64()) for name in _MEMBER_NUMBERS]
        fixed += [(f"{role}_offset", arrow.int64())] if offsets else []
    binary = [(role, arrow.binary()) for role in roles] if files else []
    return _schema([*fixed, *_typed(columns), *binary])


def is_of_record(column: str, roles: tuple[str, ...]) -> bool:
    """Whether a column of `samples` is one of the operation's."""
    fixed = {f"{role}_{name}" for role in roles for name in (*_MEMBER_TEXTS, *_MEMBER_NUMBERS, "offset")}
    return column not in fixed and column not in _SAMPLE_COLUMNS and column not in roles


def source_values(report: SourceReport) -> dict[str, object]:
    """A row of `sources`."""
    row = report.row
    return {
        "source": row.url,
        "relative_path": row.relative_path,
        "key": row.key,
        "version": row.version,
        "status": report.status,
        "reason": report.reason,
        "message": report.message,
        "rules": list(report.rules),
        "samples": len(report.samples),
        **report.record,
    }


def sample_values(sample: Sample, report: SourceReport, part: str, places: Mapping[str, object]) -> dict[str, object]:
    """A row of `samples`; `places` are the columns that say where its files lie."""
    values: dict[str, object] = {
        "key": sample.key,
        "source_key": report.row.key,
        "relative_path": report.row.relative_path,
        "part": part,
    }
    for member in sample.members:
        sha256, size = digest_of(member)
        numbers = zip(_MEMBER_NUMBERS, (size, member.width, member.height, member.channels), strict=True)
        values |= {f"{member.role}_{name}": value for name, value in numbers}
        values[f"{member.role}_sha256"] = sha256
    return {**values, **places, **sample.record}


class TableWriter:
    """Writes rows to a sink, a row group at a time."""

    def __init__(self, sink: storage.Sink, schema: Schema) -> None:
        from pyarrow import parquet  # costs a tenth of a second; only who writes Parquet pays it

        self._schema = schema
        self._held: dict[str, list[object]] = {name: [] for name in schema.names}
        self._rows = self._bytes = 0
        binary = {one.name for one in schema if one.type == _arrow().binary()}
        plain = [name for name in schema.names if name not in binary]
        # Files are compressed already, and neither a dictionary nor the least and greatest of them is of any use.
        compression = {name: "NONE" if name in binary else "ZSTD" for name in schema.names} if binary else "ZSTD"
        options: dict[str, Any] = {"use_dictionary": plain, "write_statistics": plain} if binary else {}
        self._writer: Any = cast(Any, parquet).ParquetWriter(sink, schema, compression=compression, **options)

    def add(self, values: Mapping[str, object]) -> None:
        """A row; columns that it does not name are null. Raises ValueError for one that is not in the schema."""
        if unknown := values.keys() - self._held.keys():
            raise ValueError(f"{', '.join(sorted(unknown))}: not among the columns {', '.join(self._held)}")
        for name, held in self._held.items():
            held.append(_storable(values.get(name)))
        self._rows += 1
        self._bytes += sum(len(value) for value in values.values() if isinstance(value, bytes))
        if self._rows == GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self, notes: Mapping[str, str] | None = None) -> None:
        """Write what is held, and the footer with `notes` in it."""
        if self._rows:
            self._flush()
        if notes:
            self._writer.add_key_value_metadata(dict(notes))
        self._writer.close()

    def abandon(self) -> None:
        """Let go of what is not complete, while its sink still takes bytes: pyarrow would write a footer later."""
        if self._writer.is_open:
            with suppress(FarmError, OSError, ValueError, _arrow().ArrowException):
                self._writer.close()
            self._writer.is_open = False

    def _flush(self) -> None:
        arrow = _arrow()
        arrays = [arrow.array(self._held[one.name], one.type) for one in self._schema]
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self._schema))
        self._held = {name: [] for name in self._held}
        self._rows = self._bytes = 0


def _storable(value: object) -> object:
    """Names on a disk need not be UTF-8; Arrow's strings must."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _typed(columns: Mapping[str, type]) -> list[tuple[str, Any]]:
    arrow = _arrow()
    types = {bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64(), str: arrow.string()}
    return [(name, types[kind]) for name, kind in columns.items()]


def _schema(columns: list[tuple[str, Any]]) -> Schema:
    names = [name for name, _ in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns are called {', '.join(twice)}")
    return _arrow().schema(columns)


def _arrow() -> Any:
    import pyarrow

    return cast(Any, pyarrow)
