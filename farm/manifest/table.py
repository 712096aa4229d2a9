"""Parquet manifests as Arrow has them: weighed before they are unpacked, one row group after the other.

Text is read in either of two ways. As plain values it costs its length once a row, which a small file can make many
gigabytes of by naming one long value a million times. As dictionaries it costs its length once, but where most values
differ, as paths do, ten times the time and memory. So the longest value that a row group's dictionaries hold is looked
at first, and only long ones stay shared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from io import BytesIO
from struct import Struct
from typing import Any, BinaryIO, cast

from farm.manifest.columns import COLUMNS, IGNORED_PREFIX, MAX_TAGS
from farm.manifest.footer import MAGIC, read_footer
from farm.manifest.forms import MAX_LINE_BYTES
from farm.manifest.pages import check_pages, first_page

TAGS = "tags"
MAX_ROWS_PER_BYTE = 100
"""more rows than this to a byte of Parquet cannot be as many different paths"""
MAX_GROUP_TAGS = 10_000_000
"""values of the one column that holds lists, in a row group"""
MAX_COPIED_BYTES = 64 << 20
"""texts of a batch that are copied once a row rather than looked up"""
BATCH_ROWS = 8192
_PLAIN_BYTES = MAX_COPIED_BYTES // BATCH_ROWS
"""longest value of a dictionary that is read as plain text"""
_BUFFER_BYTES = 1 << 20
"""pages are read as they are needed, not a row group's whole column, which other writers make a million rows of"""
_PREFIXED = "DELTA_BYTE_ARRAY"
"""values that repeat the beginning of the one before: any of them may be as long as the page"""


def parquet_errors() -> tuple[type[Exception], ...]:
    """What reading a file may raise: our own checks, the stream, and all that Arrow has to say. For an `except`, which
    asks only when something was raised: to name Arrow's class is to load it."""
    import pyarrow

    return (OSError, ValueError, KeyError, IndexError, TypeError, MemoryError, cast(Any, pyarrow).ArrowException)


class Table:
    """One Parquet file. Every method may raise one of parquet_errors()."""

    def __init__(self, stream: BinaryIO) -> None:
        """Arrow reads the very bytes of the footer that were checked."""
        footer = read_footer(stream)
        from pyarrow import parquet  # costs a tenth of a second, which a run over pictures need not pay

        self._stream = stream
        self._parquet = cast(Any, parquet)
        self._metadata = self._parquet.read_metadata(BytesIO(MAGIC + footer))
        self._texts = _text_leaves(self._metadata)
        self._plain = self._open([])
        self._shared = self._open(self._texts)
        self._is_short: dict[int, bool] = {}
        """of row groups that have been looked at, whether their dictionaries hold short values only"""
        self.schema: Any = self._plain.schema_arrow
        self.names: list[str] = self.schema.names
        self.rows: int = self._metadata.num_rows
        if self.rows > MAX_ROWS_PER_BYTE * (nbytes := stream.seek(0, 2)):
            raise ValueError(f"{self.rows} rows in {nbytes} bytes cannot be different paths")

    def _open(self, dictionaries: list[str]) -> Any:
        options = {"metadata": self._metadata, "read_dictionary": dictionaries, "buffer_size": _BUFFER_BYTES}
        return self._parquet.ParquetFile(self._stream, pre_buffer=False, **options)

    @property
    def groups(self) -> list[int]:
        """Rows of each row group."""
        return [self._metadata.row_group(at).num_rows for at in range(self._metadata.num_row_groups)]

    def check_types(self, names: Collection[str]) -> None:
        """Raise ValueError for a column that cannot be read."""
        for name in names:
            if found := why_unreadable(name, self.schema.field(name).type):
                raise ValueError(f"column {name} {found}")

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        """The record batches of a row group, at most BATCH_ROWS rows each; long texts stay dictionary encoded."""
        chunks = self._metadata.row_group(group)
        rows = _check_group(self._stream, chunks, names)
        file = self._plain if self._has_short_texts(group, names) else self._shared
        for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                _check_lengths(column, name)
            yield batch

    def _has_short_texts(self, group: int, names: list[str]) -> bool:
        if group not in self._is_short:
            chunks = self._metadata.row_group(group)
            found = (chunks.column(at) for at in range(chunks.num_columns))
            texts = (one for one in found if one.path_in_schema in self._texts and _name(one) in names)
            self._is_short[group] = all(_is_short(self._stream, chunk) for chunk in texts)
        return self._is_short[group]


def why_unreadable(name: str, kind: Any) -> str | None:
    """What keeps a column of one of Arrow's types from being read, or None.

    Nested ones, of which only tags may be one, a list of text; and binary ones of a fixed length, which are not
    dictionary encoded while they are read: one long value would be copied once a row.
    """
    from pyarrow import types

    kinds = cast(Any, types)
    if kinds.is_fixed_size_binary(kind):
        return f"is binary ({kind})"
    if getattr(kind, "unit", "") == "ns":
        return f"holds nanoseconds ({kind}), of which Python keeps microseconds"
    is_list = name == TAGS and (kinds.is_list(kind) or kinds.is_large_list(kind)) and _holds_text(kinds, kind)
    return f"is nested ({kind}); only tags may be a list, of text" if kinds.is_nested(kind) and not is_list else None


def _holds_text(kinds: Any, items: Any) -> bool:
    kind = items.value_type
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


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


def _name(chunk: Any) -> str:
    """The column that a chunk is of, or a part of."""
    return chunk.path_in_schema.split(".")[0]


def _is_short(stream: BinaryIO, chunk: Any) -> bool:
    """Whether no value of a column's dictionary is long; pages without one weigh what they hold."""
    if not chunk.has_dictionary_page:
        return True
    start = min(chunk.dictionary_page_offset, chunk.data_page_offset)
    at, packed, unpacked = first_page(stream, start, chunk.total_compressed_size)
    if unpacked <= _PLAIN_BYTES:
        return True
    stream.seek(at)
    page = stream.read(packed)
    if chunk.compression != "UNCOMPRESSED":
        import pyarrow

        codec = cast(Any, pyarrow).Codec(chunk.compression.lower())
        page = codec.decompress(page, decompressed_size=unpacked, asbytes=True)
    return _longest_value(page) <= _PLAIN_BYTES


def _longest_value(page: bytes) -> int:
    """Bytes of the longest value of a dictionary page, whose values are plain: each its length, then itself."""
    most, at, unpack = 0, 0, Struct("<I").unpack_from
    while at + 4 <= len(page):
        length = unpack(page, at)[0]
        at += 4 + length
        most = max(most, length)
    return most


def _check_group(stream: BinaryIO, group: Any, known: Collection[str]) -> int:
    """Refuse a row group that would unpack to more than we are ready to hold, whatever the footer says.

    Returns how many of its rows may be unpacked at once.
    """
    rows = BATCH_ROWS
    for at in range(group.num_columns):
        column = group.column(at)
        name = _name(column)
        if name not in known:
            continue
        starts = [column.data_page_offset]
        if column.has_dictionary_page:
            starts.append(column.dictionary_page_offset)
        most = MAX_GROUP_TAGS if column.path_in_schema != name else None
        largest = check_pages(stream, min(starts), column.total_compressed_size, max_values=most)
        if _PREFIXED in column.encodings:
            rows = min(rows, max(1, MAX_COPIED_BYTES // max(1, largest)))
    return rows


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
