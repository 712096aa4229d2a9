"""How the values of one row become a ManifestRow.

A wrong value makes the whole manifest invalid (exit 65, nothing started): it is a mistake of whoever wrote it. A
hostile path is not allowed to stop the others: it becomes a RefusedRow.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.blocks import NO_OVERRIDES
from farm.config import FILM_CONTAINERS, FORMATS
from farm.errors import ItemError, ManifestError
from farm.kinds import EXTENSION_FORMATS, FILM_FORMATS, MediaKind, extension_of, kind_of
from farm.manifest import faults
from farm.manifest.columns import (
    COLUMNS,
    FACE,
    IGNORED_PREFIX,
    LQ,
    OVERRIDES,
    SOURCE,
    is_unset,
    refuse_later,
)
from farm.manifest.sources import SourceRules, is_utf8, printable
from farm.records import ManifestRow, Overrides, RefusedRow

Row = ManifestRow | RefusedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row with everything its manifest says of it, for who checks and writes manifests."""

    row: Row
    values: Mapping[str, object]
    """parsed values of all columns that are set but `source` and `lq`, and the user's own as they stand"""
    lq_url: str | None = None
    """where the second picture of a pair lies"""


class RowMaker:
    """Checks the columns of one manifest, then its rows.

    `own`: which of the user's columns are to be read too. `as_data`: tasks, faces and pairs of training data that no
    run of this version does are let through, for who only looks at a manifest.
    """

    def __init__(self, url: str, rules: SourceRules, *, own: Collection[str] = (), as_data: bool = False) -> None:
        self.url = url
        self.rules = rules
        self._own = own
        self._as_data = as_data

    def check_names(self, names: Iterable[str], where: str = "") -> list[str]:
        """The columns to read. Raises ManifestError for unknown or doubled names, or without a source."""
        at = f"{where}, " if where else ""
        known: list[str] = []
        for name in names:
            if name in known:
                raise faults.invalid(self.url, f"{at}column {printable(name)!r} is there twice", "keep one")
            if name in COLUMNS or name in self._own:
                known.append(name)
            elif not name.startswith(IGNORED_PREFIX):
                raise self._unknown(name, at)
        if SOURCE not in known:
            advice = "name the column of paths so (CSV: in the first line)"
            raise faults.invalid(self.url, f"{where or 'it'} has no column `source`", advice)
        return known

    def make(self, index: int, line: int | None, values: Mapping[str, object]) -> Row:
        """The row, or a RefusedRow where the path is hostile. Raises ManifestError for values that mean nothing."""
        return self._row(index, line, self._parsed(index, line, values))

    def entry(self, index: int, line: int | None, values: Mapping[str, object]) -> Entry:
        """The row and its values. Raises as make()."""
        parsed = self._parsed(index, line, values)
        kept: dict[str, object] = {name: parsed[name] for name in COLUMNS if name in parsed and name != SOURCE}
        kept.update((name, values[name]) for name in self._own if not is_unset(values.get(name)))
        lq = kept.pop(LQ, None)
        row = self._row(index, line, parsed)
        try:
            lq_url = self.rules.resolve(lq)[0] if isinstance(lq, str) else None
        except ItemError as error:
            return Entry(row=RefusedRow(index=index, source=printable(str(lq)), error=error), values=kept)
        return Entry(row=row, values=kept, lq_url=lq_url)

    def _parsed(self, index: int, line: int | None, values: Mapping[str, object]) -> dict[str, Any]:
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            parse = COLUMNS.get(name)
            if parse is None or is_unset(value):
                continue
            try:
                parsed[name] = parse(value)
            except ValueError as error:
                raise self._bad_value(index, line, name, value, str(error)) from error
            if name not in (SOURCE, LQ) and isinstance(value, str) and not is_utf8(value):
                raise self._bad_value(index, line, name, printable(value), "is not UTF-8")
            refusal = None if self._as_data else refuse_later(name, parsed[name])
            if refusal:
                raise self._bad_value(index, line, name, value, refusal)
        if SOURCE not in parsed:
            found = f"{faults.place(index, line)}, column source: is empty"
            raise faults.invalid(self.url, found, "every row needs one")
        return parsed

    def _row(self, index: int, line: int | None, parsed: dict[str, Any]) -> Row:
        """The row of parsed values, which it uses up."""
        source = parsed.pop(SOURCE)
        for name in (LQ, FACE):
            parsed.pop(name, None)
        kind = parsed.pop("kind", None) or kind_of(source)
        asked = {name: parsed.pop(name) for name in OVERRIDES if name in parsed}
        overrides = self.overrides(index, line, asked, kind) if asked else NO_OVERRIDES
        try:
            url, relative = self.rules.resolve(source)
        except ItemError as error:
            return RefusedRow(index=index, source=printable(source), error=error)
        return ManifestRow(
            index=index, source_url=url, relative_path=relative, kind=kind, overrides=overrides, **parsed
        )

    def overrides(self, index: int, line: int | None, asked: Mapping[str, Any], kind: MediaKind) -> Overrides:
        """What a row of a kind asks for. Raises ManifestError where its output, format and kind contradict."""
        output, wanted = asked.get("output"), asked.get("format") or "same"
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

    def _unknown(self, name: str, at: str) -> ManifestError:
        near = difflib.get_close_matches(name.strip().lower(), COLUMNS, 1, 0.7)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return faults.invalid(
            self.url,
            f"{at}column {printable(name)!r} is not known",
            f"{guess}columns of your own start with {IGNORED_PREFIX!r}",
        )

    def _bad_value(self, index: int, line: int | None, name: str, value: object, found: str) -> ManifestError:
        return faults.bad_value(self.url, faults.place(index, line), name, value, found)
