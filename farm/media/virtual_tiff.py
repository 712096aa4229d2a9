"""The head of an uncompressed BigTIFF whose pixels follow row by row (BigTIFF design, TIFF 6.0 tags)."""

from __future__ import annotations

import struct
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
