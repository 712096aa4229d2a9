"""Manifests written as Parquet, a row group at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from farm.catalog.table import CannotHoldError, Column, ColumnType, check_text
from farm.kinds import MediaKind
from farm.storage import Sink

GROUP_ROWS = 50_000
GROUP_BYTES = 16 << 20
"""rows, or characters, of a row group; what is held while writing"""


class ParquetTable:
    """Columns of Arrow's types; those of the user's own keep theirs."""

    def __init__(self, sink: Sink, columns: Sequence[Column]) -> None:
        import pyarrow  # costs a tenth of a second; only who writes Parquet pays it
        from pyarrow import parquet

        self._arrow, pq = cast(Any, pyarrow), cast(Any, parquet)  # they have no types
        self._columns = {column.name: column for column in columns}
        self._held: dict[str, list[object]] = {name: [] for name in self._columns}
        self._rows = self._bytes = 0
        fields = [(column.name, self._type(column)) for column in columns]
        self._schema = self._arrow.schema(fields)
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd")

    def write(self, values: Mapping[str, object]) -> None:
        """Add a row."""
        row = {name: self._checked(column, values.get(name)) for name, column in self._columns.items()}
        for name, held in self._held.items():
            held.append(row[name])
        self._rows += 1
        self._bytes += sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
        if self._rows == GROUP_ROWS or self._bytes > GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is still held, and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        arrays = [self._arrow.array(self._held[one.name], one.type) for one in self._schema]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._held = {name: [] for name in self._columns}
        self._rows = self._bytes = 0

    def _type(self, column: Column) -> Any:
        if column.arrow is not None:
            return column.arrow
        types: Mapping[ColumnType, Any] = {
            ColumnType.WHOLE: self._arrow.int64(),
            ColumnType.NUMBER: self._arrow.float64(),
            ColumnType.FLAG: self._arrow.bool_(),
            ColumnType.WORDS: self._arrow.list_(self._arrow.string()),
        }
        return types.get(column.type, self._arrow.string())

    def _checked(self, column: Column, value: object) -> object:
        if value is None or column.arrow is not None:
            return value
        if column.type is ColumnType.OTHER:
            raise CannotHoldError(column.name, "holds values of several kinds, and Parquet wants one a column")
        if column.type is ColumnType.WHOLE and isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise CannotHoldError(column.name, "holds a number of more than 64 bits")
        if column.type is ColumnType.NUMBER and isinstance(value, int) and abs(value) > 2**53:
            raise CannotHoldError(column.name, "holds a whole number that floating point rounds")
        check_text(column.name, value)
        if isinstance(value, MediaKind):
            return value.value
        return list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
