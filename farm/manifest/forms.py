"""The text forms of a manifest: txt meta_info, CSV and JSONL, each streamed as (line, values by column).

Text is UTF-8, with or without a byte order mark. Lines are bounded: a manifest may be hostile. All raise ManifestError
that names the file, the row and the line. Parquet has a room of its own.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Protocol

from farm.kinds import PICTURE_EXTENSIONS, extension_of
from farm.manifest import faults

Values = Mapping[str, object]
Located = tuple[int, Values]
"""line of the file, from 1, and the values that are there"""


class CheckNames(Protocol):
    """Which of a file's columns to read; raises ManifestError for a name that means nothing, found at `where`."""

    def __call__(self, names: Iterable[str], where: str = "") -> list[str]: ...


MAX_LINE_BYTES = 1 << 20
_SIZE = re.compile(r"(?P<path>.+) \((?P<height>\d{1,9}), ?(?P<width>\d{1,9})(?:, ?\d{1,9})?\)", re.DOTALL)
_SHAPES_KEPT = 64


class _Lines:
    """The lines of a file with their ends; only a newline ends a line, as in a file of names it must.

    Whoever reads them counts in `row` how many rows they have made.
    """

    def __init__(self, stream: BinaryIO, url: str) -> None:
        self._stream = stream
        self._url = url
        self.line = 0
        """lines that have been read"""
        self.row = 0

    @property
    def place(self) -> str:
        return faults.place(self.row, self.line)

    def __iter__(self) -> Iterator[str]:
        while raw := self._stream.readline(MAX_LINE_BYTES + 1):
            self.line += 1
            if len(raw) > MAX_LINE_BYTES:
                found = f"{self.place}: is longer than {MAX_LINE_BYTES} bytes"
                raise faults.invalid(self._url, found, "write one row a line")
            try:
                yield raw.decode("utf-8-sig" if self.line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                found = f"{self.place}: is not UTF-8 ({error.reason})"
                raise faults.invalid(self._url, found, "save the manifest as UTF-8") from error


def iter_txt(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """BasicSR's meta_info, see `parse_line`; empty lines mean nothing."""
    check_names(("source", "lq", "width", "height"))
    lines = _Lines(stream, url)
    for text in lines:
        if values := parse_line(text):
            yield lines.line, values
            lines.row += 1


def parse_line(text: str) -> dict[str, str]:
    """What a line of meta_info says: ``path``, ``path (height,width,channels)`` or a pair ``gt, lq``.

    A comma parts a pair only between two names of pictures. No values for an empty line.
    """
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        return {}
    sized = _SIZE.fullmatch(text)
    path = sized["path"] if sized else text
    values = {"source": path}
    left, comma, right = path.rpartition(", ")
    if comma and extension_of(left) in PICTURE_EXTENSIONS and extension_of(right) in PICTURE_EXTENSIONS:
        values = {"source": left, "lq": right}
    return {**values, "height": sized["height"], "width": sized["width"]} if sized else values


def iter_csv(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """Comma-separated values with the columns' names in the first line; quoted fields may hold commas and newlines."""
    lines = _Lines(stream, url)
    reader = csv.reader(lines, strict=True)
    try:
        header: list[str] = next(reader, None) or []
        names = [name.strip() for name in header]
        known = set(check_names(names))
        keep = [(at, name) for at, name in enumerate(names) if name in known]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(names):
                found = f"{lines.place}: {len(fields)} fields where the first line names {len(names)}"
                raise faults.invalid(url, found, "quote fields that hold commas")
            yield lines.line, {name: fields[at] for at, name in keep}
            lines.row += 1
    except csv.Error as error:
        raise faults.invalid(url, f"{lines.place}: is no CSV ({error})", "mend the manifest") from error


def iter_jsonl(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[Located]:
    """One JSON object a line, columns as keys; empty lines mean nothing."""
    checked: set[tuple[str, ...]] = set()
    lines = _Lines(stream, url)
    for text in lines:
        if not text.strip():
            continue
        values = _json_object(text, url, lines.place)
        if (names := tuple(values)) not in checked:
            check_names(names, lines.place)
            if len(checked) < _SHAPES_KEPT:  # rows that all differ in shape are checked one by one, not remembered
                checked.add(names)
        yield lines.line, values
        lines.row += 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _json_object(text: str, url: str, where: str) -> dict[str, object]:
    try:
        values: object = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise faults.invalid(url, f"{where}: is no JSON ({error})", "write one object a line") from error
    if not isinstance(values, dict):
        advice = 'write one object a line, such as {"source": "a.png"}'
        raise faults.invalid(url, f"{where}: is not a JSON object", advice)
    return values  # pyright: ignore[reportUnknownVariableType]  # JSON has text keys only
