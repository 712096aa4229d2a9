"""Parquet manifests: one row group after the other, only the columns that mean something, never a whole file.

Row groups and their counts are checked before anything is unpacked, and long texts are never copied once a row: a
manifest may be hostile. Texts stay dictionary encoded while they are read.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO, cast

from farm.errors import ManifestError
from farm.manifest import faults
from farm.manifest.columns import COLUMNS, IGNORED_PREFIX, MAX_TAGS
from farm.manifest.footer import MAGIC, read_footer
from farm.manifest.forms import MAX_LINE_BYTES, CheckNames
from farm.manifest.pages import check_pages
from farm.manifest.sources import printable

Arrays = Mapping[str, Any]
"""columns of one batch as Arrow arrays, which have no types"""

TAGS = "tags"
MAX_ROWS_PER_BYTE = 100
"""more rows than this to a byte of Parquet cannot be as many different paths"""
MAX_GROUP_TAGS = 10_000_000
"""values of the one column that holds lists, in a row group"""
BATCH_ROWS = 16_384
MAX_COPIED_BYTES = 64 << 20
"""texts of a batch that are copied once a row rather than looked up"""
PARQUET_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, MemoryError)
"""what pyarrow's own errors derive from (ArrowNotImplementedError, of an encoding that Arrow does not read, from
NotImplementedError): caught by these names, which load nothing"""


def iter_batches(stream: BinaryIO, url: str, check_names: CheckNames) -> Iterator[tuple[int, Arrays]]:
    """(number of the first row, columns) of the rows of a file, some thousands at a time. Raises ManifestError."""
    start = 0
    try:
        file = _open(stream)
        known = check_names(file.schema_arrow.names)
        _check_types(file.schema_arrow, known)
        _check_rows(stream, file.metadata.num_rows)
        for group in range(file.metadata.num_row_groups):
            _check_group(stream, file.metadata.row_group(group), known)
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=known, use_threads=False):
                arrays = {name: batch.column(name) for name in known}
                for name, array in arrays.items():
                    _check_lengths(array, name)
                yield start, arrays
                start += batch.num_rows
    except PARQUET_ERRORS as error:
        raise _unreadable(url, start, error) from error


@contextmanager
def reading(url: str, start: int) -> Generator[None]:
    """What is wrong with the bytes of a batch that begins at row `start` becomes a ManifestError."""
    try:
        yield
    except PARQUET_ERRORS as error:
        raise _unreadable(url, start, error) from error


def iter_values(arrays: Arrays) -> Iterator[dict[str, object]]:
    """The values of each row of a batch. Raises ValueError for text that is not UTF-8."""
    columns = [values(array) for array in arrays.values()]
    for row in zip(*columns, strict=True):
        yield dict(zip(arrays, row, strict=True))


def values(array: Any) -> list[object]:
    """The values of one column of a batch; equal texts are one object."""
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
    try:
        metadata = _open(stream).metadata
        _check_rows(stream, metadata.num_rows)
    except PARQUET_ERRORS as error:
        raise _unreadable(url, 0, error) from error
    return metadata.num_rows


def read_types(stream: BinaryIO, url: str) -> dict[str, Any]:
    """The columns of a file with their Arrow types; of text its own, however it is encoded. Raises ManifestError."""
    from pyarrow import types

    try:
        schema = _open(stream).schema_arrow
    except PARQUET_ERRORS as error:
        raise _unreadable(url, 0, error) from error
    is_dictionary = cast(Any, types).is_dictionary
    return {one.name: one.type.value_type if is_dictionary(one.type) else one.type for one in schema}


def _unreadable(url: str, start: int, error: BaseException) -> ManifestError:
    where = f"row {start} or later: " if start else ""
    found = f"{where}is no Parquet that can be read ({printable(str(error)[:1000])[:300]})"
    return faults.invalid(url, found, "make it again")


def _open(stream: BinaryIO) -> Any:
    """A ParquetFile. Arrow reads the very bytes of the footer that were checked.

    Text stays dictionary encoded, so that a long value costs its length once and not once a row.
    """
    footer = read_footer(stream)
    from pyarrow import parquet  # costs a tenth of a second, which a run over pictures need not pay

    pq = cast(Any, parquet)
    metadata = pq.read_metadata(BytesIO(MAGIC + footer))
    return pq.ParquetFile(stream, metadata=metadata, read_dictionary=_text_leaves(metadata))


def _text_leaves(metadata: Any) -> list[str]:
    """Paths of the leaves that hold text, of columns that may be read."""
    leaves = (metadata.schema.column(at) for at in range(metadata.num_columns))
    return sorted(
        leaf.path
        for leaf in leaves
        if leaf.physical_type == "BYTE_ARRAY"
        and leaf.logical_type.type != "DECIMAL"
        and _is_ours(leaf.path.split(".")[0])
    )


def _is_ours(name: str) -> bool:
    return name in COLUMNS or name.startswith(IGNORED_PREFIX)


def why_unreadable(name: str, kind: Any) -> str | None:
    """What keeps a column of one of Arrow's types from being read, or None.

    Nested ones, of which only tags may be one, a list of text; and binary ones of a fixed length, which are not
    dictionary encoded while they are read: one long value would be copied once a row.
    """
    from pyarrow import types

    kinds = cast(Any, types)
    if kinds.is_fixed_size_binary(kind):
        return f"is binary ({kind})"
    is_list = name == TAGS and (kinds.is_list(kind) or kinds.is_large_list(kind)) and _holds_text(kinds, kind)
    return f"is nested ({kind}); only tags may be a list, of text" if kinds.is_nested(kind) and not is_list else None


def _check_types(schema: Any, known: Collection[str]) -> None:
    for name in known:
        if found := why_unreadable(name, schema.field(name).type):
            raise ValueError(f"column {name} {found}")


def _holds_text(kinds: Any, items: Any) -> bool:
    kind = items.value_type
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _check_rows(stream: BinaryIO, rows: int) -> None:
    nbytes = stream.seek(0, 2)
    if rows > MAX_ROWS_PER_BYTE * nbytes:
        raise ValueError(f"{rows} rows in {nbytes} bytes cannot be different paths")


def _check_group(stream: BinaryIO, group: Any, known: Collection[str]) -> None:
    """Refuse a row group that would unpack to more than we are ready to hold, whatever the footer says."""
    for at in range(group.num_columns):
        column = group.column(at)
        name = column.path_in_schema.split(".")[0]
        if name not in known:
            continue
        starts = [column.data_page_offset]
        if column.has_dictionary_page:
            starts.append(column.dictionary_page_offset)
        nested = column.path_in_schema != name
        most = MAX_GROUP_TAGS if nested else None
        check_pages(stream, min(starts), column.total_compressed_size, max_values=most)


def _check_lengths(array: Any, name: str) -> None:
    """Refuse a text longer than a line of a text manifest could be, and a row of more tags than one may have."""
    if hasattr(array, "offsets") and hasattr(array, "values"):
        from pyarrow import compute

        pc = cast(Any, compute)
        if (pc.max(pc.list_value_length(array)).as_py() or 0) > MAX_TAGS:
            raise ValueError(f"column {name} holds more than {MAX_TAGS} tags in one row")
        array = array.values
    entries = getattr(array, "dictionary", array)
    if entries.nbytes > MAX_LINE_BYTES < longest(entries):
        raise ValueError(f"column {name} holds a value of more than {MAX_LINE_BYTES} bytes")


def longest(texts: Any) -> int:
    """Bytes of the longest of some values; 0 where these have no length of their own."""
    import pyarrow
    from pyarrow import compute

    pc = cast(Any, compute)
    if not is_text(texts) and not cast(Any, pyarrow).types.is_binary(texts.type):
        return 0
    return pc.max(pc.binary_length(texts)).as_py() or 0


def is_text(array: Any) -> bool:
    """Whether Arrow has UTF-8 text there, not encoded by a dictionary."""
    import pyarrow

    kinds = cast(Any, pyarrow).types
    return bool(kinds.is_string(array.type) or kinds.is_large_string(array.type))
