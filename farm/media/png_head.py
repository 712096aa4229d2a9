"""What the first bytes of a PNG say that libvips does not pass on (PNG, third edition, 5 and 11)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_AT, _HEADER_END = 12, 33
"""chunk type of IHDR to the end of its checksum"""
_MOST_CHUNKS = 10_000
"""between header and pixels; more are somebody's joke, and libpng stops at 1000 that it keeps"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PngHead:
    """The header chunk of a PNG, and what stands before its pixels."""

    width: int
    height: int
    sound: bool
    """the checksum of the header is right"""
    frames: int
    """1, or the frames of an APNG"""
    profile: bool
    """there is a colour profile, whatever it is worth"""


def read_png_head(file: BinaryIO) -> PngHead | None:
    """Read the chunks before the pixels of a file with a PNG signature; None where no whole header chunk comes first.

    Args:
        file: seekable; its position is changed. Of chunks other than the header, eight bytes are read.
    """
    file.seek(0)
    head = file.read(_HEADER_END)
    if len(head) < _HEADER_END or head[_HEADER_AT : _HEADER_AT + 4] != b"IHDR":
        return None
    frames, profile = 1, False
    for kind, at in _chunks_before_pixels(file):
        if kind == b"acTL":
            file.seek(at)
            frames = max(1, int.from_bytes(file.read(4), "big"))
        profile = profile or kind == b"iCCP"
    return PngHead(
        width=int.from_bytes(head[16:20], "big"),
        height=int.from_bytes(head[20:24], "big"),
        sound=zlib.crc32(head[_HEADER_AT:29]) == int.from_bytes(head[29:_HEADER_END], "big"),
        frames=frames,
        profile=profile,
    )


def _chunks_before_pixels(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(kind, offset of the data) of the chunks between header and pixels, as far as they are chunks."""
    at = _HEADER_END
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or not head[4:].isalpha() or head[4:] in (b"IDAT", b"IEND"):
            return
        yield head[4:], at + 8
        at += 12 + int.from_bytes(head[:4], "big")
