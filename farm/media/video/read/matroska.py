"""Matroska and WebM: what the elements of a file say of it as a whole. Only heads, and the list of tracks, are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_SEGMENT, _CLUSTER, _TRACKS = 0x18538067, 0x1F43B675, 0x1654AE6B
_ELEMENTS = frozenset(
    (
        *(0x1A45DFA3, _SEGMENT, 0xEC, 0xBF),  # EBML, segment, void, checksum
        *(0x114D9B74, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),  # of a cluster: its time, its place, and blocks
    )
)
"""names of the elements at the top of a Matroska file, of a segment and of a cluster (RFC 9559)"""
_ENCRYPTION = (0xAE, 0x6D80, 0x6240, 0x5035)
"""TrackEntry, ContentEncodings, ContentEncoding, ContentEncryption"""
_HEAD_BYTES = 12
_TRACKS_BYTES = 1 << 24


def cut_sign(file: BinaryIO, size: int) -> str | None:
    """Elements follow each other to the end of the file.

    What was streamed has a segment of unknown size, and from browsers clusters of unknown size: there the walk goes
    on within them, since the demuxer takes any end for the film's. It reads the head of each cluster or of each block.
    """
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(_HEAD_BYTES)
        found = _element_head(head)
        if found is None:
            return "it ends within an element" if len(head) < _HEAD_BYTES and head[0] else None
        name, length, start = found
        if name not in _ELEMENTS:
            return None  # lost between elements: damage, whatever the length
        if length is None and name not in (_SEGMENT, _CLUSTER):
            return None
        at += start + (length or 0)
    return f"its last element ends {at - size} bytes beyond the file" if at > size else None


def encryption(file: BinaryIO) -> str | None:
    """How the list of tracks, which stands before the first cluster, says that one is encrypted; None: none is."""
    at = 0
    while True:
        file.seek(at)
        found = _element_head(file.read(_HEAD_BYTES))
        if found is None or found[0] == _CLUSTER:
            return None
        name, length, start = found
        if name == _TRACKS:
            file.seek(at + start)
            level = [file.read(min(length or 0, _TRACKS_BYTES))]
            for wanted in _ENCRYPTION:
                level = [content for data in level for content in _children(data, wanted)]
            return "ContentEncryption of a track" if level else None
        if length is None and name != _SEGMENT:
            return None
        at += start + (0 if name == _SEGMENT else length or 0)


def _children(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of the elements of one name, among those that follow each other in `data`."""
    at = 0
    while (found := _element_head(data[at : at + _HEAD_BYTES])) is not None:
        name, length, start = found
        end = len(data) if length is None else at + start + length
        if name == wanted:
            yield data[at + start : end]
        at = end


def _element_head(head: bytes) -> tuple[int, int | None, int] | None:
    """Name, size (None: unknown) and where the content starts; None: no element."""
    name_length = 9 - head[0].bit_length() if head else 9
    if name_length > 4 or len(head) <= name_length:
        return None
    size_length = 9 - head[name_length].bit_length()
    end = name_length + size_length
    if size_length > 8 or len(head) < end:
        return None
    length = int.from_bytes(head[name_length:end], "big") & ((1 << 7 * size_length) - 1)
    unknown = length == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:name_length], "big"), None if unknown else length, end
