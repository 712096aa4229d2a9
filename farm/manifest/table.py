"""Parquet manifests as Arrow has them: weighed before they are unpacked, one row group after the other.

Text is read in either of two ways. As plain values it costs its length once a row, which a small file can make many
gigabytes of by naming one long value a million times. As dictionaries it costs its length once, but where most values
differ, as paths do, ten times the time and memory. So the longest value that a row group's dictionaries hold is looked
at first, and only long ones stay shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from struct import Struct
from typing import Any, BinaryIO, cast

from farm.manifest.footer import MAGIC, read_footer
from farm.manifest.pages import check_pages, first_page

TEXT_COLUMNS = ("source", "sha256", "etag", "output", "model", "format", "task", "kind")
MAX_ROWS_PER_BYTE = 100
"""more rows than this to a byte of Parquet cannot be as many different paths"""
BATCH_ROWS = 8192
_PLAIN_BYTES = 8192
"""longest value of a dictionary that is read as plain text: of a batch no more than 64 MiB a column"""
_BUFFER_BYTES = 1 << 20
"""pages are read as they are needed, not a row group's whole column, which other writers make a million rows of"""

PARQUET_ERRORS = (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, MemoryError)
"""what pyarrow's own errors derive from; naming them loads nothing"""


class Table:
    """One Parquet file. Every method may raise one of PARQUET_ERRORS."""

    def __init__(self, stream: BinaryIO) -> None:
        """Arrow reads the very bytes of the footer that were checked."""
        footer = read_footer(stream)
        from pyarrow import parquet  # costs a tenth of a second, which a run over pictures need not pay

        self._stream = stream
        self._parquet = cast(Any, parquet)
        self._metadata = self._parquet.read_metadata(BytesIO(MAGIC + footer))
        leaves = {self._metadata.schema.column(at).path for at in range(self._metadata.num_columns)}
        self._texts = sorted(leaves.intersection(TEXT_COLUMNS))
        self._plain = self._open([])
        self._shared = self._open(self._texts)
        self._is_short: dict[int, bool] = {}
        """of row groups that have been looked at, whether their dictionaries hold short values only"""
        self.names: list[str] = self._plain.schema_arrow.names
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

    def batches(self, group: int, names: list[str]) -> Iterator[Any]:
        """The record batches of a row group, at most BATCH_ROWS rows each; long texts stay dictionary encoded."""
        _check_group(self._stream, self._metadata.row_group(group), names)
        file = self._plain if self._has_short_texts(group, names) else self._shared
        return file.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)

    def _has_short_texts(self, group: int, names: list[str]) -> bool:
        if group not in self._is_short:
            chunks = self._metadata.row_group(group)
            texts = [name for name in names if name in self._texts]
            found = (chunks.column(at) for at in range(chunks.num_columns))
            self._is_short[group] = all(
                _is_short(self._stream, chunk) for chunk in found if chunk.path_in_schema in texts
            )
        return self._is_short[group]


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


def _check_group(stream: BinaryIO, group: Any, known: list[str]) -> None:
    """Refuse a row group that would unpack to more than we are ready to hold, whatever the footer says."""
    for at in range(group.num_columns):
        column = group.column(at)
        name = column.path_in_schema
        if name.split(".")[0] not in known:
            continue
        if name not in known:
            raise ValueError(f"column {name} is nested, which no column of a manifest is in this version")
        starts = [column.data_page_offset]
        if column.has_dictionary_page:
            starts.append(column.dictionary_page_offset)
        check_pages(stream, min(starts), column.total_compressed_size)
