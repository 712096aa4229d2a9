"""Matroska and WebM: what the elements of a file say of it as a whole. Only heads, and the list of tracks, are read."""

from __future__ import annotations

from typing import BinaryIO

from farm.media.video.ebml import HEAD_BYTES, SEGMENT, VOID, children, head_of

_CLUSTER, _TRACKS = 0x1F43B675, 0x1654AE6B
_ELEMENTS = frozenset(
    (
        *(0x1A45DFA3, SEGMENT, VOID, 0xBF),  # EBML, segment, void, checksum
        *(0x114D9B74, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),  # of a cluster: its time, its place, and blocks
    )
)
"""names of the elements at the top of a Matroska file, of a segment and of a cluster (RFC 9559)"""
_ENCRYPTION = (0xAE, 0x6D80, 0x6240, 0x5035)
"""TrackEntry, ContentEncodings, ContentEncoding, ContentEncryption"""
_TRACKS_BYTES = 1 << 24


def cut_sign(file: BinaryIO, size: int) -> str | None:
    """Elements follow each other to the end of the file.

    What was streamed has a segment of unknown size, and from browsers clusters of unknown size: there the walk goes
    on within them, since the demuxer takes any end for the film's. It reads the head of each cluster or of each block.
    """
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(HEAD_BYTES)
        found = head_of(head)
        if found is None:
            return "it ends within an element" if len(head) < HEAD_BYTES and head[0] else None
        name, length, start = found
        if name not in _ELEMENTS:
            return None  # lost between elements: damage, whatever the length
        if length is None and name not in (SEGMENT, _CLUSTER):
            return None
        at += start + (length or 0)
    return f"its last element ends {at - size} bytes beyond the file" if at > size else None


def encryption(file: BinaryIO) -> str | None:
    """How the list of tracks, which stands before the first cluster, says that one is encrypted; None: none is."""
    at = 0
    while True:
        file.seek(at)
        found = head_of(file.read(HEAD_BYTES))
        if found is None or found[0] == _CLUSTER:
            return None
        name, length, start = found
        if name == _TRACKS:
            file.seek(at + start)
            level = [file.read(min(length or 0, _TRACKS_BYTES))]
            for wanted in _ENCRYPTION:
                level = [
                    data[one.content : one.end]
                    for data in level
                    for one in children(data, 0, len(data))
                    if one.name == wanted
                ]
            return "ContentEncryption of a track" if level else None
        if length is None and name != SEGMENT:
            return None
        at += start + (0 if name == SEGMENT else length or 0)
