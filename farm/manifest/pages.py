"""What the pages of a Parquet column say they unpack to, read from their headers before anything is unpacked.

A file's footer says how large its columns are, but nothing makes it say the truth: a footer of 1000 bytes over a page
of 2 GB costs the reader 2 GB. Each page has a header of its own (Thrift compact protocol, struct PageHeader of
parquet.thrift: field 2 the unpacked size, field 3 the size in the file), which the reader allocates by.
"""

from __future__ import annotations

from typing import BinaryIO

MAX_PAGE_BYTES = 64 << 20
"""largest page, unpacked; writers make pages of about 1 MB, some one of all 122 880 rows of a group"""
MAX_CHUNK_BYTES = 256 << 20
"""largest column of one row group, unpacked"""
_MAX_PAGES = 100_000
_HEADER_BYTES, _MAX_HEADER_BYTES = 256, 1 << 20
_MAX_DEPTH = 8
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_UNPACKED, _PACKED = 2, 3


def check_pages(stream: BinaryIO, start: int, length: int) -> None:
    """Raise ValueError when the pages in ``start .. start + length`` of a file unpack to more than we hold.

    Reads their headers only and leaves the stream anywhere. IndexError or ValueError for what is no page header.
    """
    total, count, at, end = 0, 0, start, start + length
    while at < end:
        header = _read_header(stream, at, end)
        total += header.unpacked
        count += 1
        if header.unpacked > MAX_PAGE_BYTES:
            raise ValueError(f"a page unpacks to {header.unpacked} bytes, the limit is {MAX_PAGE_BYTES}")
        if total > MAX_CHUNK_BYTES or count > _MAX_PAGES:
            found = f"{count} pages of a row group unpack to {total} bytes"
            raise ValueError(f"{found}, the limits are {_MAX_PAGES} and {MAX_CHUNK_BYTES}; write smaller row groups")
        at += header.at + header.packed


def _read_header(stream: BinaryIO, at: int, end: int) -> _Header:
    stream.seek(at)
    data = stream.read(min(_HEADER_BYTES, end - at))
    try:
        return _Header(data)
    except IndexError:  # it carries statistics
        return _Header(data + stream.read(min(_MAX_HEADER_BYTES, end - at - len(data))))


class _Header:
    """A cursor over one struct of the compact protocol. Running over the end is an IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        """bytes of the header, once it is read"""
        self.unpacked = self.packed = -1
        self._read()
        if min(self.unpacked, self.packed) < 0:
            raise ValueError("a page header without sizes")

    def _read(self) -> None:
        field = 0
        while kind := self._byte():
            step = kind >> 4
            field = field + step if step else self._signed()
            if kind & 15 == _I32 and field == _UNPACKED:
                self.unpacked = self._signed()
            elif kind & 15 == _I32 and field == _PACKED:
                self.packed = self._signed()
            else:
                self._skip(kind & 15, 0)

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in a page header")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("a page header nested too deeply")
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self.at += 1
        elif kind in (_I16, _I32, _I64):
            self._varint()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind == _STRUCT:
            self._skip_struct(depth)
        elif kind in (_LIST, _SET):
            self._skip_list(depth)
        else:
            raise ValueError(f"a page header with a field of kind {kind}")

    def _skip_struct(self, depth: int) -> None:
        while kind := self._byte():
            if not kind >> 4:
                self._varint()
            self._skip(kind & 15, depth + 1)

    def _skip_list(self, depth: int) -> None:
        head = self._byte()
        kind, count = head & 15, head >> 4
        for _ in range(self._varint() if count == 15 else count):
            self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
            if self.at > len(self._data):
                raise IndexError("a list that is longer than its page header")
