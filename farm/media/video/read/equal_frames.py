"""Y4M and raw DV: files of frames of one size, so that the end of a whole one is the end of a frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO

_HEAD_BYTES = 4096
_FRAME, _FRAME_HEAD_BYTES = b"FRAME", 256
_COLOURS = re.compile(r"(mono|420|411|422|444)(?:jpeg|mpeg2|paldv|(alpha))?p?(9|1[0-9])?", re.IGNORECASE)
_CHROMA_SHIFT: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"420": (1, 1), "411": (2, 0), "422": (1, 0), "444": (0, 0)}
)
_DV_HEAD = (b"\x1f\x07\x00\x3f", b"\x1f\x07\x00\xbf")
"""of a frame of 525 lines, of 625 lines (IEC 61834-2)"""
_DV_BYTES = (120_000, 144_000)
_DV_KIND_AT = 451
_DV_TIMES: Mapping[int, int] = MappingProxyType({0x00: 1, 0x01: 1, 0x04: 2, 0x14: 4, 0x18: 2})
"""how many times those bytes a frame has by its kind: 25, 50, 100 (1080 lines, 720 lines) Mbit/s (SMPTE 370)"""


def y4m_cut_sign(file: BinaryIO, size: int) -> str | None:
    """Behind the head, each frame is a line that may hold parameters and its planes."""
    line, newline, _ = file.read(_HEAD_BYTES).partition(b"\n")
    frame = _y4m_frame_bytes(line.decode("latin-1").split(" "))
    if not newline or frame is None:
        return None
    at = len(line) + 1
    plain = len(_FRAME) + 1 + frame
    if (size - at) % plain == 0 and _last_bytes(file, size, plain).startswith(_FRAME + b"\n"):
        return None  # no need to go from frame to frame
    while at < size:
        file.seek(at)
        head = file.read(_FRAME_HEAD_BYTES)
        line, newline, _ = head.partition(b"\n")
        if not line.startswith(_FRAME[: len(line)]) or (not newline and len(head) == _FRAME_HEAD_BYTES):
            return None  # lost between frames: damage, or what was added
        at += len(line) + 1 + frame
    return f"its last frame ends {at - size} bytes beyond the file" if at > size else None


def _last_bytes(file: BinaryIO, size: int, count: int) -> bytes:
    file.seek(size - min(size, count))
    return file.read(len(_FRAME) + 1)


def _y4m_frame_bytes(words: list[str]) -> int | None:
    """Bytes of the planes of one frame, by the words of the head; None where they do not say it."""
    said = {word[:1]: word[1:] for word in words[1:] if word[:1] in ("W", "H", "C")}
    older = next((word[7:] for word in words if word.startswith("XYSCSS=")), "420")
    colours = _COLOURS.fullmatch(said.get("C", older))
    width, height = said.get("W", ""), said.get("H", "")
    if colours is None or not width.isdecimal() or not height.isdecimal():
        return None
    luma = int(width) * int(height)
    samples = luma * (2 if colours[2] else 1)
    if colours[1] in _CHROMA_SHIFT:
        across, down = _CHROMA_SHIFT[colours[1]]
        samples += 2 * -(-int(width) >> across) * -(-int(height) >> down)
    return samples * (2 if colours[3] else 1) or None


def dv_cut_sign(file: BinaryIO, size: int) -> str | None:
    """Every frame says of which of a few sizes it is."""
    head = file.read(_DV_KIND_AT + 1)
    if not head.startswith(_DV_HEAD) or len(head) <= _DV_KIND_AT:
        return None
    times = _DV_TIMES.get(head[_DV_KIND_AT] & 0x1F)
    if times is None:
        return None
    frame = _DV_BYTES[head[3] >> 7] * times
    return f"{size % frame} of the {frame} bytes of the last frame are there" if size % frame else None
