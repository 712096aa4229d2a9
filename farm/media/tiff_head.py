"""How large a TIFF says it is, read from its first directory (TIFF 6.0, and BigTIFF): libtiff prepares tables for
every strip that a giant would have before anybody can ask it."""

from __future__ import annotations

import struct
from typing import BinaryIO

_WIDTH, _HEIGHT = 256, 257
_MOST_ENTRIES = 64
"""of a directory that are looked at: entries are sorted, and these two come first"""


def read_tiff_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height in pixels; None where the directory does not say both.

    Args:
        file: seekable, with the signature of a TIFF; its position is changed.
    """
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    if len(head) < 16:
        return None
    entry, count, offset = ("HHQ8s", "Q", "Q") if big else ("HHI4s", "H", "I")
    file.seek(struct.unpack_from(order + offset, head, 8 if big else 4)[0])
    raw = file.read(struct.calcsize(order + count))
    if len(raw) < struct.calcsize(order + count):
        return None
    size = struct.calcsize(order + entry)
    directory = file.read(size * min(struct.unpack(order + count, raw)[0], _MOST_ENTRIES))
    found: dict[int, int] = {}
    for tag, kind, _, value in struct.iter_unpack(order + entry, directory[: len(directory) // size * size]):
        layout = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in (_WIDTH, _HEIGHT) and layout and struct.calcsize(order + layout) <= len(value):
            found[tag] = struct.unpack_from(order + layout, value)[0]
    return (found[_WIDTH], found[_HEIGHT]) if len(found) == 2 else None
