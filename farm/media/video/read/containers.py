"""Is a film's file cut short? Read from the structure of its container, not from what a demuxer says.

FFmpeg reads what is there of a cut file and ends without an error. Only a few heads are read, whatever the size.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

_TS_PACKET = 188
_TAIL_BYTES = 1 << 16
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = frozenset(
    (
        *(0x1A45DFA3, _SEGMENT, 0xEC, 0xBF),  # EBML, segment, void, checksum
        *(0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF),  # of a cluster: its time, its place, and blocks
    )
)
"""names of the elements at the top of a Matroska file, of a segment and of a cluster (RFC 9559)"""
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def cut_sign(container: str, file: BinaryIO) -> str | None:
    """What shows that the end of the file is missing, as half a sentence; None: nothing does.

    Args:
        container: FFmpeg's names of the demuxer; of those that are not known here nothing is said.
        file: seekable; its position is changed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    checks = [check for name, check in _CHECKS.items() if name in container.split(",")]
    return checks[0](file, size) if checks else None


def looks_like(head: bytes) -> str | None:
    """The container that a file begins like, for files that no demuxer could open."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"):
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:16] == _ASF_HEADER:
        return "asf"
    signatures = ((b"\x1a\x45\xdf\xa3", "matroska"), (b"FLV\x01", "flv"), (b"OggS", "ogg"))
    return next((name for magic, name in signatures if head.startswith(magic)), None)


def names_other_files(container: str, file: BinaryIO) -> bool:
    """Whether an MP4 or QuickTime index says that samples lie in other files (data references that are not "self")."""
    if "mov" not in container.split(","):
        return False
    level = [(0, file.seek(0, os.SEEK_END))]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        level = [extent for start, end in level for extent in _children(file, start, end, name)]
    return any(_refers_outside(file, start, end) for start, end in level)


def _children(file: BinaryIO, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of one name lie, among those between two offsets."""
    at = start
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        length, begin = int.from_bytes(head[:4], "big"), at + 8
        if length == 1 and len(head) == 16:
            length, begin = int.from_bytes(head[8:], "big"), at + 16
        length = end - at if length == 0 else length
        if length < 8:
            return
        if head[4:8] == wanted:
            yield begin, min(at + length, end)
        at += length


def _refers_outside(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    data = file.read(min(end - start, _TAIL_BYTES))
    at = 8  # behind version, flags and the number of entries
    while at + 12 <= len(data):
        if not data[at + 11] & 1:
            return True
        at += max(12, int.from_bytes(data[at : at + 4], "big"))
    return False


def _boxes(file: BinaryIO, size: int) -> str | None:
    """ISO base media and QuickTime: boxes follow each other to the end, and one of them is the index."""
    at, names = 0, set[bytes]()
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:  # to the end of the file
            length = size - at
        if length < 8 or not name.isascii():
            return None  # lost between boxes: damage, whatever the length
        names.add(name)
        at += length
    if b"moov" not in names:
        return "there is no index (moov box)"
    return f"the last box ends {at - size} bytes beyond the file" if at > size else None


def _ebml(file: BinaryIO, size: int) -> str | None:
    """Matroska and WebM: elements follow each other to the end of the file.

    What was streamed has a segment of unknown size, and from browsers clusters of unknown size: there the walk goes
    on within them, since the demuxer takes any end for the film's. It reads the head of each cluster or of each block.
    """
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        found = _element_head(head)
        if found is None:
            return "it ends within an element" if len(head) < 12 and head[0] else None
        name, length, start = found
        if name not in _ELEMENTS:
            return None  # lost between elements: damage, whatever the length
        if length is None and name not in (_SEGMENT, _CLUSTER):
            return None
        at += start + (length or 0)
    return f"its last element ends {at - size} bytes beyond the file" if at > size else None


def _element_head(head: bytes) -> tuple[int, int | None, int] | None:
    """Name, size (None: unknown) and where the content starts; None: no element."""
    name_length = 9 - head[0].bit_length()
    if name_length > 4 or len(head) <= name_length:
        return None
    size_length = 9 - head[name_length].bit_length()
    end = name_length + size_length
    if size_length > 8 or len(head) < end:
        return None
    length = int.from_bytes(head[name_length:end], "big") & ((1 << 7 * size_length) - 1)
    unknown = length == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:name_length], "big"), None if unknown else length, end


def _riff(file: BinaryIO, size: int) -> str | None:
    """AVI: one RIFF chunk after the other (OpenDML); a recorder that lost power leaves their sizes 0."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        if head[:4] != b"RIFF":
            return None
        length = int.from_bytes(head[4:8], "little")
        if length == 0:
            return "its RIFF chunk was never finished"
        at += 8 + length + length % 2
    return f"the RIFF chunk ends {at - size} bytes beyond the file" if at > size + 1 else None


def _transport(file: BinaryIO, size: int) -> str | None:
    """MPEG-TS of 188 bytes a packet, or of 192 on Blu-ray and 204 with error correction."""
    head = file.read(4 * 204 + 5)
    for length, start in ((_TS_PACKET, 0), (192, 4), (204, 0)):
        if all(head[start + n * length : start + n * length + 1] == b"G" for n in range(4)):
            return f"{size % length} bytes of the last packet of {length} are there" if size % length else None
    return None


def _flash(file: BinaryIO, size: int) -> str | None:
    """FLV: after each tag stands how long it was."""
    if size < 13 + 15:
        return "there is no tag"
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    start = size - 4 - length
    if length >= 11 and start >= 13:
        file.seek(start)
        head = file.read(4)
        if head[0] & 0x1F in (8, 9, 18) and int.from_bytes(head[1:], "big") + 11 == length:
            return None
    return "it ends within a tag"


def _ogg(file: BinaryIO, size: int) -> str | None:
    """Ogg: the last page is whole and says that it is the last of its stream."""
    file.seek(max(0, size - _TAIL_BYTES - 282))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return "there is no last page"
    lacing = tail[at + 27 : at + 27 + tail[at + 26]]
    if len(lacing) < tail[at + 26] or at + 27 + len(lacing) + sum(lacing) > len(tail):
        return "it ends within a page"
    return None if tail[at + 5] & 4 else "its last page is missing"


def _asf(file: BinaryIO, size: int) -> str | None:
    """ASF: the file properties say how long the file is, unless it was broadcast."""
    head = file.read(_TAIL_BYTES)
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0 or at + 92 > len(head):
        return None
    length, flags = struct.unpack_from("<Q", head, at + 40)[0], struct.unpack_from("<I", head, at + 88)[0]
    return f"{length - size} bytes are missing" if length > size and not flags & 1 else None


def _ivf(file: BinaryIO, size: int) -> str | None:
    """IVF: each frame behind a head that says how long it is."""
    at = 32
    while at < size:
        file.seek(at)
        head = file.read(12)
        at += 12 + int.from_bytes(head[:4], "little")
    return f"the last frame ends {at - size} bytes beyond the file" if at > size else None


_CHECKS: Mapping[str, Callable[[BinaryIO, int], str | None]] = MappingProxyType(
    {
        "mov": _boxes,
        "matroska": _ebml,
        "avi": _riff,
        "mpegts": _transport,
        "flv": _flash,
        "ogg": _ogg,
        "asf": _asf,
        "ivf": _ivf,
    }
)
"""demuxer -> check"""
