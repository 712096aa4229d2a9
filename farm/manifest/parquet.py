"""Parquet manifests read to their end: columns by the batch, values by the row, what is wrong in one sentence."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from farm.errors import ManifestError
from farm.manifest import faults
from farm.manifest.forms import CheckNames
from farm.manifest.sources import printable
from farm.manifest.table import Table, parquet_errors

Arrays = Mapping[str, Any]
"""columns of one batch as Arrow arrays, which have no types"""


def iter_batches(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[tuple[int, Arrays]]:
    """(number of the first row, columns) of the rows of a file, some thousands at a time. Raises ManifestError."""
    start = 0
    try:
        table = Table(stream)
        known = check_names(table.names)
        table.check_types(known)
        for group in range(len(table.groups)):
            for batch in table.batches(group, known):
                yield start, arrays_of(batch)
                start += batch.num_rows
    except parquet_errors() as error:
        raise unreadable(url, start, error) from error


def arrays_of(batch: Any) -> Arrays:
    """The columns of a record batch."""
    return dict(zip(batch.schema.names, batch.columns, strict=True))


@contextmanager
def reading(url: str, start: int) -> Generator[None]:
    """What is wrong with the bytes of a batch that begins at row `start` becomes a ManifestError."""
    try:
        yield
    except parquet_errors() as error:
        raise unreadable(url, start, error) from error


def iter_values(arrays: Arrays) -> Iterator[dict[str, object]]:
    """The values of each row of a batch. Raises ValueError for text that is not UTF-8."""
    columns = [values(array) for array in arrays.values()]
    for row in zip(*columns, strict=True):
        yield dict(zip(arrays, row, strict=True))


def values(array: Any) -> list[object]:
    """The values of one column of a batch; equal texts of a dictionary are one object."""
    if hasattr(array, "offsets") and hasattr(array, "values"):  # a list
        items, ends = values(array.values), array.offsets.to_pylist()
        bounds = zip(ends, ends[1:], array.is_valid().to_pylist(), strict=False)
        return [items[start:end] if valid else None for start, end, valid in bounds]
    entries = getattr(array, "dictionary", None)
    if entries is None:
        return array.to_pylist()
    texts: list[object] = entries.to_pylist()
    return [None if at is None else texts[at] for at in array.indices.to_pylist()]


def count_rows(stream: BinaryIO, url: str) -> int:
    """How many rows the footer promises. Raises ManifestError."""
    with reading(url, 0):
        return Table(stream).rows


def read_types(stream: BinaryIO, url: str) -> dict[str, Any]:
    """The columns of a file with their Arrow types; of text its own, however it is encoded. Raises ManifestError."""
    from pyarrow import types

    with reading(url, 0):
        schema = Table(stream).schema
    is_dictionary = cast(Any, types).is_dictionary
    return {one.name: one.type.value_type if is_dictionary(one.type) else one.type for one in schema}


def unreadable(url: str, start: int, error: BaseException) -> ManifestError:
    """The error for what Arrow raised while it read the batch that begins at row `start`."""
    where = f"row {start} or later: " if start else ""
    found = f"{where}is no Parquet that can be read ({printable(str(error)[:1000])[:300]})"
    return faults.invalid(url, found, "make it again")
