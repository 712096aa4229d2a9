"""An uncompressed BigTIFF whose pixels follow row by row, as a file (BigTIFF design, TIFF 6.0 tags)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SHORT, _LONG, _LONG8 = 3, 4, 16
_ENTRY_BYTES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StripLayout:
    """Where the pixels of an uncompressed picture lie."""

    width: int
    height: int
    bands: int
    """1..4: gray, gray + alpha, RGB, RGB + alpha"""
    sample_bytes: int
    """1 or 2"""
    rows: int
    """of a strip; the last strip may have fewer"""

    @property
    def row_bytes(self) -> int:
        return self.width * self.bands * self.sample_bytes

    @property
    def strips(self) -> int:
        return -(-self.height // self.rows)


def virtual_tiff_head(layout: StripLayout) -> bytes:
    """All bytes before the first pixel; the rows follow without gaps, little-endian."""
    tags: list[tuple[int, int, list[int]]] = [
        (256, _LONG, [layout.width]),
        (257, _LONG, [layout.height]),
        (258, _SHORT, [8 * layout.sample_bytes] * layout.bands),
        (259, _SHORT, [1]),  # no compression
        (262, _SHORT, [1 if layout.bands < 3 else 2]),  # black is zero, or RGB
        (273, _LONG8, []),  # strip offsets, below
        (277, _SHORT, [layout.bands]),
        (278, _LONG, [layout.rows]),
        (279, _LONG8, []),  # strip byte counts, below
        (284, _SHORT, [1]),  # samples side by side
    ]
    if layout.bands in (2, 4):
        tags.append((338, _SHORT, [2]))  # straight alpha
    tables_at = 16 + 8 + _ENTRY_BYTES * len(tags) + 8
    offsets, sizes = _strips(layout, tables_at + 16 * layout.strips)
    head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags))
    for tag, kind, values in tags:
        table = {273: offsets, 279: sizes}.get(tag)
        if table is not None and layout.strips > 1:
            where = tables_at + (8 * layout.strips if tag == 279 else 0)
            head += struct.pack("<HHQQ", tag, kind, layout.strips, where)
        else:
            head += struct.pack("<HHQ", tag, kind, len(table or values)) + _inline(kind, table or values)
    return head + bytes(8) + struct.pack(f"<{2 * layout.strips}Q", *offsets, *sizes)


class VirtualTiff:
    """The picture as a file object whose pixels are read once, from top to bottom; its head as often as wanted.

    `blocks`: the pixels, row after row in blocks of any length, each asked for when its first byte is. What they raise
    comes out of read().
    """

    def __init__(self, layout: StripLayout, blocks: Iterator[memoryview]) -> None:
        self.layout = layout
        self._blocks = blocks
        self._head = virtual_tiff_head(layout)
        self._end = len(self._head) + layout.height * layout.row_bytes
        self._block = memoryview(b"")
        self._block_at = len(self._head)
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As of any file."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def read(self, size: int, /) -> bytes:
        """As of any file. Raises ValueError for a block that is gone."""
        parts: list[bytes] = []
        while size > 0 and self._at < self._end:
            part = self._some(size)
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        """Up to `size` bytes from where we are, at least one."""
        if self._at < len(self._head):
            return self._head[self._at : self._at + size]
        while self._at >= self._block_at + len(self._block):
            self._block_at += len(self._block)
            self._block = next(self._blocks)
        start = self._at - self._block_at
        if start < 0:
            raise ValueError("the pixels of a virtual TIFF are read once, from top to bottom")
        return bytes(self._block[start : start + size])


def _strips(layout: StripLayout, data_at: int) -> tuple[list[int], list[int]]:
    """Offset and length in bytes of every strip."""
    strip_bytes = layout.rows * layout.row_bytes
    offsets = [data_at + strip_bytes * index for index in range(layout.strips)]
    ends = [*offsets[1:], data_at + layout.height * layout.row_bytes]
    return offsets, [end - start for start, end in zip(offsets, ends, strict=True)]


def _inline(kind: int, values: list[int]) -> bytes:
    """Values that fit into the eight bytes of an entry."""
    code = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
    return struct.pack(f"<{len(values)}{code}", *values).ljust(8, b"\0")
