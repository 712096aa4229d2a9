"""The forms that manifests are written in, one row each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from farm import storage
from farm.catalog.parquet_table import ParquetTable
from farm.catalog.table import Column, Table
from farm.catalog.text_table import CsvTable, JsonlTable, TxtTable
from farm.errors import UsageError
from farm.kinds import extension_of
from farm.manifest import FILE_FORMS, canonical, form_of
from farm.manifest.sources import printable
from farm.storage import faults

FORMS: Mapping[str, Callable[[storage.Sink, Sequence[Column]], Table]] = {
    "parquet": ParquetTable,
    "csv": CsvTable,
    "jsonl": JsonlTable,
    "txt": TxtTable,
    "pq": ParquetTable,
    "ndjson": JsonlTable,
}
"""what writes a manifest with a lower-case extension"""


@contextmanager
def open_table(url: str, columns: Sequence[Column]) -> Generator[Table]:
    """A table that becomes the file `url` in one step when the block has ended, and nothing when it raises.

    Raises UsageError for an extension that is no manifest's.
    """
    make, url = FORMS[form_named(url)], canonical(url)
    with faults.run_level(url), storage.open_stream(url, attempt="catalog") as sink:
        table = make(sink, columns)
        yield table
        table.close()
        sink.commit()


def form_named(url: str) -> str:
    """The extension of a manifest that can be written. Raises UsageError."""
    form = extension_of(url)
    if form not in FORMS:
        known = ", ".join(f".{one}" for one in FORMS)
        raise UsageError(f"manifest: {printable(url)}: cannot be written; use one of {known}")
    return form


def check_is_manifest(url: str) -> None:
    """Raise UsageError for what is there and no manifest file."""
    form = form_of(url)
    if form not in FILE_FORMS:
        raise UsageError(f"manifest: {printable(url)}: is a {form.value} and no manifest; `farm scan` makes one of it")
