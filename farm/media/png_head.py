"""What the first bytes of a PNG say that libvips does not pass on (PNG, third edition, 5 and 11)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_HEADER_AT, _HEADER_END = 12, 33
"""chunk type of IHDR to the end of its checksum"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PngHead:
    """The header chunk of a PNG, and whether it is an animation."""

    width: int
    height: int
    sound: bool
    """the checksum of the header is right"""
    frames: int
    """1, or the frames of an APNG"""


def read_png_head(head: bytes) -> PngHead | None:
    """Read the first bytes of a file with a PNG signature; None where no whole header chunk comes first."""
    if len(head) < _HEADER_END or head[_HEADER_AT : _HEADER_AT + 4] != b"IHDR":
        return None
    return PngHead(
        width=int.from_bytes(head[16:20], "big"),
        height=int.from_bytes(head[20:24], "big"),
        sound=zlib.crc32(head[_HEADER_AT:29]) == int.from_bytes(head[29:_HEADER_END], "big"),
        frames=_frames(head),
    )


def _frames(head: bytes) -> int:
    """What the animation control chunk says, which stands before the pixels; a chunk behind `head` is not seen."""
    at = _HEADER_END
    while at + 12 <= len(head) and head[at + 4 : at + 8] != b"IDAT":
        if head[at + 4 : at + 8] == b"acTL":
            return max(1, int.from_bytes(head[at + 8 : at + 12], "big"))
        at += 12 + int.from_bytes(head[at : at + 4], "big")
    return 1
