"""What the structure of a film's file says of it as a whole: is it cut short, encrypted, in other files, misnamed?

FFmpeg reads what is there of a cut file and ends without an error. Only a few heads are read, whatever the size.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO

from farm.kinds import CONTAINERS, extension_of
from farm.media.video.read import boxes, equal_frames, matroska, mxf, program_stream

_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""bytes of a packet of a transport stream (plain, on Blu-ray, with error correction), and where its 0x47 stands"""
_TS_MARKS = 5
_HEAD_BYTES = 4096
_TAIL_BYTES = 1 << 16
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_ENCRYPTION = (bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"), bytes.fromhex("14e68a292226174cb935dae07ee9289c"))
"""objects in the head of protected files: content encryption, and the extended one"""
_NUT_INDEX = bytes.fromhex("4e58dd672f23e64e")
_GXF_HEAD, _GXF_END = b"\0\0\0\0\1", 0xFB
_REAL_CHUNKS = frozenset((b".RMF", b"PROP", b"CONT", b"MDPR", b"DATA", b"INDX", b"RMMD", b"RMJE", b"RJMD"))


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
    if boxes.begins(head):
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:16] == _ASF_HEADER:
        return "asf"
    signatures = ((b"\x1a\x45\xdf\xa3", "matroska"), (b"FLV\x01", "flv"), (b"OggS", "ogg"))
    return next((name for magic, name in signatures if head.startswith(magic)), None)


def transport_packet(head: bytes) -> int | None:
    """Bytes of a packet where a file begins with five of a transport stream or more; FFmpeg wants ten to be sure."""
    if head.startswith(b"GIF8"):  # begins with a packet's mark, 0x47, and may have a palette of them
        return None
    for length, start in _TS_PACKETS:
        if head[start::length][:_TS_MARKS] == b"G" * _TS_MARKS:
            return length
    return None


def names_other_files(container: str, file: BinaryIO) -> bool:
    """Whether the index of an MP4 or QuickTime file says that samples lie in other files."""
    return "mov" in container.split(",") and boxes.names_other_files(file)


def encryption(container: str, file: BinaryIO) -> str | None:
    """What says that tracks of the file are encrypted, in a few words; None: nothing does."""
    names = container.split(",")
    if "mov" in names:
        return boxes.encryption(file)
    if "matroska" in names:
        return matroska.encryption(file)
    if names[0] in ("asf", "asf_o"):
        file.seek(0)
        head = file.read(_TAIL_BYTES)
        return "a protected Windows Media file" if any(mark in head for mark in _ASF_ENCRYPTION) else None
    return None


def misnamed(url: str, container: str) -> str | None:
    """A warning when the name says one kind of film and the content another; the content is believed."""
    extension = extension_of(url)
    if extension not in CONTAINERS:
        return None
    name = container.split(",")[0]
    title, own = _NAMES.get(name, (name, ()))
    return None if extension in own else f"named .{extension} but holds {title}"


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
    """MPEG-TS: whole packets."""
    length = transport_packet(file.read(_HEAD_BYTES))
    over = size % length if length else 0
    return f"{over} bytes of the last packet of {length} are there" if over else None


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


def _nut(file: BinaryIO, size: int) -> str | None:
    """NUT: muxers close it with an index, whose last bytes say how far back it begins; FFmpeg's unless told not to."""
    file.seek(max(0, size - 12))
    back = int.from_bytes(file.read(8), "big")
    file.seek(max(0, size - back))
    return None if file.read(len(_NUT_INDEX)) == _NUT_INDEX else "its index is missing, which comes last"


def _gxf(file: BinaryIO, size: int) -> str | None:
    """GXF (SMPTE ST 360): packets follow each other; the last one is an end mark, which stands alone in whole files."""
    file.seek(max(0, size - 16))
    head = file.read(16)
    at = size if head.startswith(_GXF_HEAD + bytes([_GXF_END])) else 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[6:10], "big")
        if len(head) == 16 and (not head.startswith(_GXF_HEAD) or not head.endswith(b"\xe1\xe2") or length < 16):
            return None  # lost between packets: damage, or what was added
        at += max(length, 16)
    if at > size:
        return f"the last packet ends {at - size} bytes beyond the file"
    return None if head[5:6] == bytes([_GXF_END]) else "its end mark is missing"


def _real(file: BinaryIO, size: int) -> str | None:
    """RealMedia: chunks, one of which holds all packets; a broadcast leaves its size 0, FFmpeg says 10 too many."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "big")
        if head[:4] not in _REAL_CHUNKS or length < 8:
            return None
        at += length
    return f"the last chunk ends {at - size} bytes beyond the file" if at > size + 10 else None


_CHECKS: Mapping[str, Callable[[BinaryIO, int], str | None]] = MappingProxyType(
    {
        "mov": boxes.cut_sign,
        "matroska": matroska.cut_sign,
        "avi": _riff,
        "mpegts": _transport,
        "flv": _flash,
        "ogg": _ogg,
        "asf": _asf,
        "ivf": _ivf,
        "mpeg": program_stream.cut_sign,
        "mxf": mxf.cut_sign,
        "gxf": _gxf,
        "nut": _nut,
        "rm": _real,
        "yuv4mpegpipe": equal_frames.y4m_cut_sign,
        "dv": equal_frames.dv_cut_sign,
    }
)
"""demuxer -> check"""
_MPEG = ("mpg", "mpeg", "vob", "m1v", "m2v")
_NAMES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mov": ("MP4 or QuickTime", ("mp4", "m4v", "f4v", "3gp", "3gpp", "3g2", "mov", "qt")),
        "matroska": ("Matroska or WebM", ("mkv", "mk3d", "webm")),
        "avi": ("AVI", ("avi", "divx")),
        "mpegts": ("an MPEG transport stream", ("ts", "mts", "m2t", "m2ts")),
        "mpeg": ("an MPEG program stream", _MPEG),
        "mpegvideo": ("MPEG video without a container", _MPEG),
        "m4v": ("MPEG-4 video without a container", ("m4v",)),
        **dict.fromkeys(("asf", "asf_o"), ("Windows Media", ("wmv", "asf"))),
        "flv": ("Flash video", ("flv", "f4v")),
        "ogg": ("Ogg", ("ogv", "ogm")),
        "mxf": ("MXF", ("mxf",)),
        "nut": ("NUT", ("nut",)),
        "yuv4mpegpipe": ("Y4M", ("y4m",)),
        "dv": ("DV", ("dv",)),
        "rm": ("RealMedia", ("rm", "rmvb")),
        "gxf": ("GXF", ("gxf",)),
        "ivf": ("IVF", ("ivf",)),
        "obu": ("AV1 without a container", ("obu",)),
        "h264": ("H.264 without a container", ("h264", "264")),
        "hevc": ("HEVC without a container", ("hevc", "h265", "265")),
    }
)
"""demuxer -> what it reads, and the lower-case extensions that go with it; others are named as FFmpeg names them"""
