"""A manifest that is written: its columns, and what every form must do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from farm.manifest.columns import COLUMNS
from farm.manifest.files import FileColumn


class ColumnType(str, Enum):
    """What the values of a column are."""

    TEXT = "text"
    WHOLE = "whole numbers"
    NUMBER = "numbers"
    FLAG = "true or false"
    WORDS = "lists of text"
    OTHER = "values of several kinds"


TYPES: Mapping[str, ColumnType] = {
    **dict.fromkeys(COLUMNS, ColumnType.TEXT),
    **dict.fromkeys(("bytes", "width", "height", "priority"), ColumnType.WHOLE),
    **dict.fromkeys(("outscale", "denoise"), ColumnType.NUMBER),
    "face": ColumnType.FLAG,
    "tags": ColumnType.WORDS,
}
"""of the columns that mean something"""
_PYTHON: Mapping[frozenset[type], ColumnType] = {
    frozenset(): ColumnType.TEXT,
    frozenset({str}): ColumnType.TEXT,
    frozenset({int}): ColumnType.WHOLE,
    frozenset({float}): ColumnType.NUMBER,
    frozenset({int, float}): ColumnType.NUMBER,
    frozenset({bool}): ColumnType.FLAG,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that is written."""

    name: str
    type: ColumnType
    arrow: Any = None
    """Arrow's type of a column of the user's own that comes from Parquet"""


class CannotHoldError(ValueError):
    """A form has no place for a value."""

    def __init__(self, column: str, found: str) -> None:
        super().__init__(f"column {column}: {found}")
        self.column = column
        self.found = found


class Table(Protocol):
    """A manifest that is being written."""

    def write(self, values: Mapping[str, object]) -> None:
        """Add a row; its columns that are not set are left out. Raises CannotHoldError, and then adds nothing."""
        ...

    def close(self) -> None:
        """Write what is still held."""
        ...


def known_columns(names: Sequence[str]) -> list[Column]:
    """The columns of these names, in the order in which manifests are written."""
    return [Column(name=name, type=TYPES[name]) for name in COLUMNS if name in names]


def columns_of(found: Sequence[FileColumn]) -> list[Column]:
    """Every column of a manifest file, the user's own last."""
    own = [
        Column(name=one.name, type=_PYTHON.get(one.types, ColumnType.OTHER), arrow=one.arrow)
        for one in found
        if one.name not in COLUMNS and one.is_readable
    ]
    return known_columns([one.name for one in found]) + own


def check_text(name: str, value: object) -> None:
    """Raise CannotHoldError for text that is no UTF-8, which no form holds."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise CannotHoldError(name, "holds text that is not UTF-8") from error
