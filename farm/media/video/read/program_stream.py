"""MPEG program streams (.mpg, .vob): is the last packet whole? Only the end of the file is read."""

from __future__ import annotations

import re
from typing import BinaryIO

_START = re.compile(b"\0\0\1[\xb9-\xff]")
"""start codes of this layer; those of video are lower"""
_END, _PACK = 0xB9, 0xBA
_TAIL_BYTES = 1 << 18
"""four times as long as a packet can be"""
_TRUSTED = 3
"""packets that follow each other before they are taken for such: sound may hold a start code by chance"""


def cut_sign(file: BinaryIO, size: int) -> str | None:
    """The last packet is longer than what is there of it.

    Nothing says where a program ends: many whole ones have no end code, so its absence is no sign, and of a file that
    was cut between two packets nothing can be known here.
    """
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    for start in _START.finditer(tail):
        at, steps = start.start(), 0
        while (length := _packet_bytes(tail, at)) is not None:
            at, steps = at + length, steps + 1
        if steps >= _TRUSTED:
            return f"its last packet ends {at - len(tail)} bytes beyond the file" if at > len(tail) else None
    return None


def _packet_bytes(data: bytes, at: int) -> int | None:
    """Of the packet at an offset, at least as many as its head has; None: there is none, or it does not say it."""
    head = data[at : at + 14]
    kind = head[3] if len(head) > 3 else _PACK
    if head[:3] != b"\0\0\1" or kind < _END:
        return None
    if kind == _END:
        return 4
    if kind == _PACK:  # of MPEG-2, with stuffing, or of MPEG-1
        return 14 + (head[13] & 7 if len(head) == 14 else 0) if head[4:5] >= b"\x40" else 12
    length = int.from_bytes(head[4:6], "big")
    return 6 + length if length or len(head) < 6 else None
