"""What the pages of a Parquet column say they unpack to, read from their headers before anything is unpacked.

A file's footer says how large its columns are, but nothing makes it say the truth: a footer of 1000 bytes over a page
of 2 GB costs the reader 2 GB. Each page has a header of its own (Thrift compact protocol, struct PageHeader of
parquet.thrift: field 2 the unpacked size, field 3 the size in the file), which the reader allocates by.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from farm.manifest.thrift import I32, STRUCT, Cursor

MAX_PAGE_BYTES = 64 << 20
"""largest page, unpacked; writers make pages of about 1 MB, some one of all 122 880 rows of a group"""
MAX_CHUNK_BYTES = 256 << 20
"""largest column of one row group, unpacked"""
_MAX_PAGES = 100_000
_HEADER_BYTES, _MAX_HEADER_BYTES = 256, 1 << 20
_UNPACKED, _PACKED = 2, 3
_DATA_PAGES = (5, 8)
"""headers of data pages, of both versions"""
_NUM_VALUES = 1


def check_pages(stream: BinaryIO, start: int, length: int, *, max_values: int | None = None) -> int:
    """Raise ValueError when the pages in ``start .. start + length`` of a file unpack to more than we hold.

    Returns the bytes of the largest one. `max_values` is for columns of lists: a row may hold any number of values
    there, and equal ones cost no bytes. Reads their headers only and leaves the stream anywhere. Raises IndexError or
    ValueError for what is no page header.
    """
    total, count, values, largest, at, end = 0, 0, 0, 0, start, start + length
    while at < end:
        header = _read_header(stream, at, end)
        total += header.unpacked
        count += 1
        values += header.values
        if max_values is not None and values > max_values:
            raise ValueError(f"a row group with more than {max_values} values in a column of lists")
        if header.unpacked > MAX_PAGE_BYTES:
            raise ValueError(f"a page unpacks to {header.unpacked} bytes, the limit is {MAX_PAGE_BYTES}")
        if total > MAX_CHUNK_BYTES or count > _MAX_PAGES:
            found = f"{count} pages of a row group unpack to {total} bytes"
            raise ValueError(f"{found}, the limits are {_MAX_PAGES} and {MAX_CHUNK_BYTES}; write smaller row groups")
        largest = max(largest, header.unpacked)
        at += header.length + header.packed
    return largest


def first_page(stream: BinaryIO, start: int, length: int) -> tuple[int, int, int]:
    """(where its content starts, bytes of it in the file, bytes unpacked) of the page at `start`. Errors as above."""
    header = _read_header(stream, start, start + length)
    return start + header.length, header.packed, header.unpacked


class _Header(NamedTuple):
    """The length of a page's header, and what it says of the page: bytes in the file, bytes unpacked, values."""

    length: int
    packed: int
    unpacked: int
    values: int


def _read_header(stream: BinaryIO, at: int, end: int) -> _Header:
    stream.seek(at)
    data = stream.read(min(_HEADER_BYTES, end - at))
    try:
        return _parse_header(data)
    except IndexError:  # it carries statistics
        return _parse_header(data + stream.read(min(_MAX_HEADER_BYTES, end - at - len(data))))


def _parse_header(data: bytes) -> _Header:
    cursor = Cursor(data)
    sizes = {_UNPACKED: -1, _PACKED: -1}
    values = 0
    for field, kind in cursor.fields():
        if kind == I32 and field in sizes:
            sizes[field] = cursor.signed()
        elif kind == STRUCT and field in _DATA_PAGES:
            values += _read_count(cursor)
        else:
            cursor.skip(kind)
    if min(sizes.values()) < 0:
        raise ValueError("a page header without sizes")
    return _Header(length=cursor.at, packed=sizes[_PACKED], unpacked=sizes[_UNPACKED], values=values)


def _read_count(cursor: Cursor) -> int:
    """The number of values of a data page, from its own header."""
    count = 0
    for field, kind in cursor.fields():
        if kind == I32 and field == _NUM_VALUES:
            count = cursor.signed()
            if count < 0:
                raise ValueError(f"a page with {count} values")
        else:
            cursor.skip(kind)
    return count
