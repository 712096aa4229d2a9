"""MP4 and QuickTime (ISO base media): what the boxes of a file say of it as a whole. Only their heads are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

_INDEX, _MEDIA, _FRAGMENT = b"moov", frozenset({b"mdat", b"imda"}), b"moof"
_TOP = frozenset(
    (
        *(_INDEX, *_MEDIA, _FRAGMENT, b"ftyp", b"styp", b"free", b"skip", b"wide", b"uuid", b"meta", b"meco", b"udta"),
        *(b"mfra", b"sidx", b"ssix", b"prft", b"emsg", b"pdin", b"bloc", b"pnot", b"PICT"),
    )
)
"""names of the boxes at the top of a file (ISO/IEC 14496-12, table 1, and QuickTime)"""
_ENCRYPTED = frozenset((b"encv", b"enca", b"enct", b"encs", b"encm", b"drmi", b"drms"))
"""names of sample entries of encrypted tracks: of common encryption (ISO/IEC 14496-12, 8.12), and FairPlay's"""
_REFERENCE_BYTES = 1 << 16


def begins(head: bytes) -> bool:
    """Whether a file begins like one of these."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp")


def cut_sign(file: BinaryIO, size: int) -> str | None:
    """Boxes follow each other to the end of the file, and one of them is the index.

    What comes behind index and media under a name that no box at the top has is junk that was added, such as a tag or
    text, whatever length it seems to have: nothing of the film is missing.
    """
    at, name, seen = 0, b"", set[bytes]()
    while at + 8 <= size:
        file.seek(at)
        name, start, end = _extent(file.read(16), at, size)
        if end < start or not name.isascii():
            return None  # lost between boxes: damage, whatever the length
        if end > size and name not in _TOP and _INDEX in seen and seen & _MEDIA:
            return None
        seen.add(name)
        at = end
    if _INDEX not in seen:
        return "there is no index (moov box)"
    if at > size:
        return f"the last box ends {at - size} bytes beyond the file"
    file.seek(at)
    rest = file.read()
    media_come = name == _FRAGMENT or not seen & _MEDIA
    more_comes = _FRAGMENT in seen and rest[:1] == b"\0"  # as the length of what may begin a fragment
    return "it ends within the head of a box" if any(rest) and (media_come or more_comes) else None


def _extent(head: bytes, at: int, limit: int) -> tuple[bytes, int, int]:
    """Name of the box at an offset, and where its content starts and ends; the end lies before it in what is no box."""
    length, start = int.from_bytes(head[:4], "big"), at + 8
    if length == 1:
        length, start = int.from_bytes(head[8:16], "big") if len(head) == 16 else 16, at + 16
    return head[4:8], start, limit if length == 0 else at + length


def names_other_files(file: BinaryIO) -> bool:
    """Whether the index says that samples lie in other files (data references that are not "self")."""
    level = _contents(file, (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"))
    return any(_refers_outside(file, start, end) for start, end in level)


def encryption(file: BinaryIO) -> str | None:
    """How the index says that samples are encrypted: the name of their kind; None: they are not."""
    for start, end in _contents(file, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")):
        for name, _, _ in _children(file, start + 8, end):  # behind version, flags and the number of entries
            if name in _ENCRYPTED:
                return f"sample entry {name.decode()}"
    return None


def _contents(file: BinaryIO, path: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """Where the contents of all boxes at one path lie."""
    level = [(0, file.seek(0, os.SEEK_END))]
    for wanted in path:
        boxes = (box for start, end in level for box in _children(file, start, end))
        level = [(start, end) for name, start, end in boxes if name == wanted]
    return level


def _children(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Names of the boxes between two offsets, and where their contents lie."""
    at = start
    while at + 8 <= end:
        file.seek(at)
        name, begin, stop = _extent(file.read(16), at, end)
        if stop < begin:
            return
        yield name, begin, min(stop, end)
        at = stop


def _refers_outside(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    data = file.read(min(end - start, _REFERENCE_BYTES))
    at = 8  # behind version, flags and the number of entries
    while at + 12 <= len(data):
        if not data[at + 11] & 1:
            return True
        at += max(12, int.from_bytes(data[at : at + 4], "big"))
    return False
