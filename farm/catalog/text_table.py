"""Manifests written as text: CSV, JSONL and BasicSR's meta_info. What is written is what is read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from farm.catalog.table import CannotHoldError, Column, check_text
from farm.kinds import MediaKind, kind_of
from farm.manifest.columns import LQ, SOURCE, UPSCALE
from farm.manifest.forms import MAX_LINE_BYTES, parse_line
from farm.storage import Sink

_UNSAID: Mapping[str, object] = {"task": UPSCALE, "face": False, "priority": 0, "tags": (), "format": "same"}
"""values that say no more than their absence"""
_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""how what a spreadsheet runs begins"""
_PATHS = frozenset({SOURCE, LQ, "output"})
"""columns whose relative values mean the same with ./ before them"""


class CsvTable:
    """All columns as text; tags with commas between them."""

    def __init__(self, sink: Sink, columns: Sequence[Column]) -> None:
        self._text = io.TextIOWrapper(cast(Any, sink), encoding="utf-8", newline="", write_through=True)
        self._names = [column.name for column in columns]
        self._quick = csv.writer(self._text, lineterminator="\n")
        self._quoting = csv.writer(self._text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._quick.writerow(self._names)

    def write(self, values: Mapping[str, object]) -> None:
        """Add a row."""
        fields = [_field(name, values.get(name)) for name in self._names]
        if sum(map(len, fields)) > MAX_LINE_BYTES // 8 and _line_bytes(fields) > MAX_LINE_BYTES:
            longest = max(zip(fields, self._names, strict=True), key=lambda one: len(one[0]))[1]
            raise CannotHoldError(longest, f"makes a line of more than {MAX_LINE_BYTES} bytes")
        writer = self._quoting if any("\r" in field for field in fields) else self._quick
        writer.writerow(fields)

    def close(self) -> None:
        """Leave the file to who opened it."""
        self._text.detach()


def _line_bytes(fields: Sequence[str]) -> int:
    """At most, with each field in quotes and each quote doubled."""
    return sum(len(field.encode()) + field.count('"') + 3 for field in fields)


def _field(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, MediaKind):
        return value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)) and name == "tags":
        return _no_formula(name, ",".join(cast("Sequence[str]", value)))
    if not isinstance(value, (str, int, float)):
        kind = type(cast(object, value)).__name__
        raise CannotHoldError(name, f"holds a {kind}, which CSV has no text for")
    if name != name.strip():
        raise CannotHoldError(name, "has a name that begins or ends with a space, which CSV does not keep")
    check_text(name, value)
    text = str(value)
    if "\0" in text:
        raise CannotHoldError(name, "holds a NUL")
    if len(text) > csv.field_size_limit():
        raise CannotHoldError(name, f"holds more than {csv.field_size_limit()} characters, the most of a CSV field")
    return _no_formula(name, text) if isinstance(value, str) else text


def _no_formula(name: str, text: str) -> str:
    """The text as a spreadsheet does not run it, and as the farm reads it back as the same."""
    if not text.startswith(_FORMULA) or _is_number(text):
        return text
    if name in _PATHS:
        return f"./{text}"
    raise CannotHoldError(name, f"begins with {text[0]!r}, as formulas do, which spreadsheets run")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class JsonlTable:
    """One object a row with the columns that are set; the user's own as they stand."""

    def __init__(self, sink: Sink, columns: Sequence[Column]) -> None:
        self._sink = sink
        self._names = [column.name for column in columns]

    def write(self, values: Mapping[str, object]) -> None:
        """Add a row."""
        row = {name: values[name] for name in self._names if values.get(name) is not None}
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise CannotHoldError(_culprit(row), f"holds what JSON cannot say ({error})") from error
        if len(line) > MAX_LINE_BYTES:
            raise CannotHoldError(_culprit(row), f"makes a line of more than {MAX_LINE_BYTES} bytes")
        self._sink.write(line)

    def close(self) -> None:
        """Nothing is held."""


def _culprit(row: Mapping[str, object]) -> str:
    """The column that JSON has no text for, else the longest one."""
    lengths: dict[str, int] = {}
    for name, value in row.items():
        try:
            lengths[name] = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
        except (TypeError, ValueError):
            return name
    return max(lengths, key=lambda name: lengths[name])


class TxtTable:
    """A path a line, with its size where that is known: ``path (height,width)``; pairs as ``gt, lq``."""

    def __init__(self, sink: Sink, columns: Sequence[Column]) -> None:  # noqa: ARG002 (every table's)
        self._sink = sink
        self._is_first = True

    def write(self, values: Mapping[str, object]) -> None:
        """Add a row. Raises CannotHoldError for every column that a line has no place for."""
        source, lq = values[SOURCE], values.get(LQ)
        said: dict[str, object] = {SOURCE: source, **({LQ: lq} if lq is not None else {})}
        text = str(source) if lq is None else f"{source}, {lq}"
        sized = values.get("height") is not None and values.get("width") is not None
        if sized:
            text += f" ({values['height']},{values['width']})"
            said |= {"height": str(values["height"]), "width": str(values["width"])}
        for name, value in values.items():
            if name not in said and not _goes_without_saying(name, value, str(source)):
                raise CannotHoldError(name, "has no place in meta_info text")
        check_text(SOURCE, text)
        if "\n" in text or (self._is_first and text.startswith(_MARK)) or parse_line(text) != said:
            raise CannotHoldError(SOURCE, f"{text!r} would not be read back as it is")
        self._sink.write(text.encode() + b"\n")
        self._is_first = False

    def close(self) -> None:
        """Nothing is held."""


def _goes_without_saying(name: str, value: object, source: str) -> bool:
    if name == "kind":
        return value is kind_of(source)
    return value is None or (name in _UNSAID and value == _UNSAID[name])
