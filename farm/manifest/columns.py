"""The columns of a manifest, and how the values of one row become a ManifestRow; in prose: `manifests/SCHEMA.md`.

A wrong value makes the whole manifest invalid (exit 65, nothing started): it is a mistake of whoever wrote it. A
hostile path is not allowed to stop the others: it becomes a RefusedRow.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from farm.config import FILM_CONTAINERS, FORMATS
from farm.errors import ItemError, ManifestError
from farm.kinds import EXTENSION_FORMATS, FILM_FORMATS, MediaKind, extension_of, kind_of
from farm.manifest.sources import SourceRules, printable
from farm.records import ManifestRow, Overrides, RefusedRow

IGNORED_PREFIX = "x_"
"""columns of the user's own; every other unknown name is taken for a typing mistake"""
_ALL_FORMATS = (*FORMATS, *(name for name in FILM_CONTAINERS if name not in FORMATS))
_ALL_EXTENSIONS = {**EXTENSION_FORMATS, **FILM_FORMATS}
_WHOLE = re.compile(r"\d{1,18}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _whole(value: object) -> int:
    """A count; also as text (CSV) or as a whole float (what a missing value makes of an integer column elsewhere)."""
    if (isinstance(value, str) and _WHOLE.fullmatch(value.strip())) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("is not a whole number from 0 up")
    return value


def _side(value: object) -> int:
    if not 1 <= (side := _whole(value)) < 2**31:
        raise ValueError("is not a size in pixels")
    return side


def _outscale(value: object) -> float:
    try:
        scale = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        scale = math.nan
    if not 0.25 <= scale <= 16:
        raise ValueError("is not a number in 0.25..16")
    return scale


def _sha256(value: object) -> str:
    digest = _text(value).strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("is not 64 hexadecimal digits")
    return digest


def _format(value: object) -> str:
    if value not in _ALL_FORMATS:
        raise ValueError(f"is not one of {', '.join(_ALL_FORMATS)}")
    return _text(value)


def _kind(value: object) -> MediaKind:
    try:
        return MediaKind(_text(value))
    except ValueError as error:
        raise ValueError(f"is not one of {', '.join(kind.value for kind in MediaKind)}") from error


def _model(value: object) -> str:
    if re.search(r"[/\\\0]|\.(pth|pt|safetensors)$", _text(value)):
        raise ValueError("is a path; a manifest names models of `farm models`, a weight file is given with --model")
    return _text(value)


def _output(value: object) -> str:
    if extension_of(_text(value)) not in _ALL_EXTENSIONS:
        raise ValueError(f"does not end in an extension that can be written ({', '.join(_ALL_EXTENSIONS)})")
    return _text(value)


SOURCE = "source"
COLUMNS: Mapping[str, Callable[[object], Any]] = {
    SOURCE: _text,
    "sha256": _sha256,
    "etag": _text,
    "bytes": _whole,
    "width": _side,
    "height": _side,
    "output": _output,
    "model": _model,
    "outscale": _outscale,
    "format": _format,
    "kind": _kind,
}
NOT_BUILT: Mapping[str, tuple[object, ...]] = {
    "task": ("upscale", "upscale_image"),
    "denoise": (1, "1", "1.0"),
    "face": (False, "false", "0"),
    "priority": (0, "0"),
    "tags": ([],),
}
"""Columns of tasks that are not there yet, with the values that change nothing."""
_OVERRIDES = ("output", "model", "outscale", "format")


class RowMaker:
    """Checks the columns of one manifest, then its rows."""

    def __init__(self, url: str, rules: SourceRules) -> None:
        self._url = url
        self._rules = rules

    def check_names(self, names: Iterable[str]) -> list[str]:
        """The columns to read. Raises ManifestError for unknown or doubled names, or without a source."""
        known: list[str] = []
        for name in names:
            if name in known:
                raise self._invalid(f"column {printable(name)!r} is there twice", "keep one")
            if name in COLUMNS or name in NOT_BUILT:
                known.append(name)
            elif not name.startswith(IGNORED_PREFIX):
                raise self._unknown(name)
        if SOURCE not in known:
            raise self._invalid("it has no column `source`", "name the column of paths so (CSV: in the first line)")
        return known

    def make(self, index: int, line: int | None, values: Mapping[str, object]) -> ManifestRow | RefusedRow:
        """The row, or a RefusedRow where the path is hostile. Raises ManifestError for values that mean nothing."""
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            if value is None or value == "" or value != value:  # the last: a NaN where a number is missing
                continue
            parse = COLUMNS.get(name)
            if parse is None:
                self._check_not_built(index, line, name, value)
                continue
            try:
                parsed[name] = parse(value)
            except ValueError as error:
                raise self._bad_value(index, line, name, value, str(error)) from error
        source = parsed.pop(SOURCE, None)
        if source is None:
            raise self._invalid(f"{_place(index, line)}, column source: is empty", "every row needs one")
        kind = parsed.pop("kind", None) or kind_of(source)
        overrides = self._overrides(index, line, parsed, kind)
        try:
            url, relative = self._rules.resolve(source)
        except ItemError as error:
            return RefusedRow(index=index, source=printable(source), error=error)
        return ManifestRow(
            index=index, source_url=url, relative_path=relative, kind=kind, overrides=overrides, **parsed
        )

    def _overrides(self, index: int, line: int | None, parsed: dict[str, Any], kind: MediaKind) -> Overrides:
        """Take what overrides the run's configuration out of `parsed`."""
        asked = {name: parsed.pop(name) for name in _OVERRIDES if name in parsed}
        if not asked:
            return _NO_OVERRIDES
        output, wanted = asked.get("output"), asked.get("format", "same")
        formats, known = (EXTENSION_FORMATS, FORMATS) if kind is MediaKind.IMAGE else (FILM_FORMATS, FILM_CONTAINERS)
        if wanted not in known:
            found = f"is not one of {', '.join(known)}, and the row is of kind {kind.value}"
            raise self._bad_value(index, line, "format", wanted, found)
        if output is not None and extension_of(output) not in formats:
            found = f"does not end in one of {', '.join(formats)}, and the row is of kind {kind.value}"
            raise self._bad_value(index, line, "output", output, found)
        if output is not None and wanted not in ("same", formats[extension_of(output)]):
            found = f"ends in .{extension_of(output)}, but format is {wanted}"
            raise self._bad_value(index, line, "output", output, found)
        return Overrides(**asked)

    def _check_not_built(self, index: int, line: int | None, name: str, value: object) -> None:
        if name not in NOT_BUILT or value in NOT_BUILT[name]:
            return
        raise self._bad_value(index, line, name, value, "is not built yet in this version")

    def _unknown(self, name: str) -> ManifestError:
        near = difflib.get_close_matches(name.strip().lower(), [*COLUMNS, *NOT_BUILT], 1, 0.7)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return self._invalid(
            f"column {printable(name)!r} is not known",
            f"{guess}columns of your own start with {IGNORED_PREFIX!r}",
        )

    def _bad_value(self, index: int, line: int | None, name: str, value: object, found: str) -> ManifestError:
        shown = printable(repr(value))[:200]
        return self._invalid(f"{_place(index, line)}, column {name}: {shown} {found}", "mend the manifest")

    def _invalid(self, found: str, advice: str) -> ManifestError:
        return ManifestError(f"manifest: {printable(self._url)}: {found}; {advice}")


_NO_OVERRIDES = Overrides()


def _place(index: int, line: int | None) -> str:
    return f"row {index}" if line is None else f"row {index} (line {line})"
