"""What is said of a manifest that is wrong: file, row, line and column, what was found, what to do."""

from __future__ import annotations

import reprlib

from farm.errors import ManifestError
from farm.manifest.sources import printable

_SHORT = reprlib.Repr()
"""of a hostile value only the beginning is looked at"""
_SHORT.maxstring = _SHORT.maxother = 200


def invalid(url: str, found: str, advice: str) -> ManifestError:
    """The error of a whole manifest: exit 65, nothing was started."""
    return ManifestError(f"manifest: {printable(url)}: {found}; {advice}")


def place(index: int, line: int | None) -> str:
    """Where a row stands: rows count from 0, lines of a text file from 1."""
    return f"row {index}" if line is None else f"row {index} (line {line})"


def bad_value(url: str, where: str, name: str, value: object, found: str) -> ManifestError:
    """The error of one value; `where` as `place` says it."""
    return invalid(url, f"{where}, column {name}: {printable(_SHORT.repr(value))} {found}", "mend the manifest")
