"""MXF (SMPTE ST 377-1): does the file go on to its end? Only keys and lengths are read, from one to the next."""

from __future__ import annotations

import os
from typing import BinaryIO

_UNIVERSAL = bytes.fromhex("060e2b34")
"""what every key begins with"""
_PARTITION = bytes.fromhex("060e2b34020501010d01020101")
_HEADER, _FOOTER = b"\2", b"\4"
"""kinds of partitions, behind which stands a byte with their state"""
_CLOSED = (b"\2", b"\4")
"""states in which what a partition says is final"""
_RANDOM_INDEX = bytes.fromhex("060e2b34020501010d01020101110100")
_KEY_BYTES, _HEAD_BYTES = 16, 25
_FOOTER_PLACE = 24
"""where in a partition's content stands, in 8 bytes, where the footer is; 0: not known, or there is none"""
_RUN_IN_BYTES = 1 << 16
_INDEX_BYTES = 1 << 24


def cut_sign(file: BinaryIO, size: int) -> str | None:
    """Packets of a key, a length and a value follow each other to the end; a finished file has a footer there.

    Whole files show it by the list of partitions at their very end, or by the footer that their header names; only
    those without both, which were never finished, are walked through.
    """
    run_in = file.read(_RUN_IN_BYTES).find(_PARTITION + _HEADER)
    if run_in < 0 or _ends_in_index(file, size):
        return None
    final, footer = _promise(file, run_in)
    if footer is not None and run_in + footer >= size:
        return f"its footer should begin {run_in + footer - size} bytes behind its end"
    at, closed = run_in, footer is None and final
    if footer is not None and _key(file, run_in + footer).startswith(_PARTITION + _FOOTER):
        at = run_in + footer
    while at < size:
        file.seek(at)
        head = file.read(_HEAD_BYTES)
        if not head.startswith(_UNIVERSAL[: len(head)]):
            return None  # lost between packets, or behind the last
        value = _value(head)
        if value is None:
            return "it ends within the head of a packet" if len(head) < _HEAD_BYTES else None
        closed = closed or head.startswith(_PARTITION + _FOOTER)
        at += sum(value)
    if at > size:
        return f"its last packet ends {at - size} bytes beyond the file"
    return None if closed else "it was never finished: there is no footer"


def _ends_in_index(file: BinaryIO, size: int) -> bool:
    """Whether the file ends in the list of its partitions, whose last four bytes say how long it is."""
    file.seek(-4, os.SEEK_END)
    length = int.from_bytes(file.read(4), "big")
    return _KEY_BYTES < length <= min(size, _INDEX_BYTES) and _key(file, size - length) == _RANDOM_INDEX


def _key(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(_KEY_BYTES)


def _promise(file: BinaryIO, at: int) -> tuple[bool, int | None]:
    """Of the header partition at an offset: whether it is final, and where it says that the footer is."""
    file.seek(at)
    head = file.read(_HEAD_BYTES)
    file.seek(at + (_value(head) or (0, 0))[0] + _FOOTER_PLACE)
    footer = int.from_bytes(file.read(8), "big")
    return head[len(_PARTITION) + 1 :].startswith(_CLOSED), footer or None


def _value(head: bytes) -> tuple[int, int] | None:
    """Where the value of a packet that begins so starts, and its bytes; None where that is not said, or cut off."""
    size = head[_KEY_BYTES : _KEY_BYTES + 1]
    if not size:
        return None
    if size[0] < 0x80:
        return _KEY_BYTES + 1, size[0]
    more = head[_KEY_BYTES + 1 : _KEY_BYTES + 1 + (size[0] & 0x7F)]
    if not more or len(more) < size[0] & 0x7F:
        return None
    return _KEY_BYTES + 1 + len(more), int.from_bytes(more, "big")
