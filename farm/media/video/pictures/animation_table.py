"""The frames of a GIF, WebP or APNG as the file's own structure tells them: how many, how long each, is the file whole.

Only heads of blocks are read, no pixel (GIF89a, 1990; WebP container specification; PNG, third edition). Decoders do
not tell all of it: libvips gives no delays of a file that is cut, FFmpeg rounds those of an APNG.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import BinaryIO

_STILL_DELAY = Fraction(1, 10)
"""of a picture that is no animation"""
_CENTI, _MILLI = 100, 1000
"""units a second of the delays of GIF and WebP; of an APNG 100 where its denominator is 0"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimationTable:
    """What an animated picture says of its frames."""

    delays: tuple[Fraction, ...]
    """seconds that each whole frame asks to be shown, 0 included, as the file has it"""
    plays: int
    """how often it is shown; 0: for ever"""
    whole: bool
    """whether the file goes on to its end"""
    animated: bool = True
    """False for a picture that is none"""
    declared: int | None = None
    """frames that the file says it has"""
    end: int = 0
    """bytes from the start up to the end of the last whole frame"""

    @property
    def frames(self) -> int:
        return len(self.delays)


_STILL = AnimationTable(delays=(_STILL_DELAY,), plays=1, whole=True, animated=False)


def read_animation_table(file: BinaryIO, file_format: str) -> AnimationTable:
    """Walk the blocks of a file.

    Args:
        file: seekable; its position is changed.
        file_format: gif, webp or png, by content; any other is a picture of one frame.
    """
    if file_format not in _READERS:
        return _STILL
    file.seek(0)
    return _READERS[file_format](file)


def _read_gif(file: BinaryIO) -> AnimationTable:
    """Blocks to the trailer, past zeros between them. A cut file's last frame counts when its data are all there."""
    delays: list[Fraction] = []
    plays, delay, end = 1, Fraction(0), 0
    head = file.read(13)
    _skip_palette(file, head[10] if len(head) == 13 else 0)
    while (kind := file.read(1)) in (b"\x21", b"\x2c", b"\0"):
        if kind == b"\0":
            continue  # one end of a chain too many, as some encoders write it
        if kind == b"\x2c":
            _skip_palette(file, (file.read(9) or b"\0")[-1])
            file.seek(1, os.SEEK_CUR)  # size of the first code
            if _sub_blocks(file) is None:
                break
            delays.append(delay)
            delay, end = Fraction(0), file.tell()
            continue
        label = file.read(1)
        blocks = _sub_blocks(file)
        if blocks is None:
            break
        if label == b"\xf9" and blocks and len(blocks[0]) >= 4:
            delay = Fraction(int.from_bytes(blocks[0][1:3], "little"), _CENTI)
        elif label == b"\xff" and len(blocks) > 1 and blocks[0] in (b"NETSCAPE2.0", b"ANIMEXTS1.0"):
            again = int.from_bytes(blocks[1][1:3], "little")
            plays = again + 1 if again else 0  # it counts what comes after the first time
    return AnimationTable(delays=tuple(delays), plays=plays, whole=kind == b";", end=end)


def _size(file: BinaryIO) -> int:
    """Bytes of the file, which is at its start again afterwards."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


def _sub_blocks(file: BinaryIO) -> list[bytes] | None:
    """The first two blocks of a chain, which is read to its end; None where the file ends before."""
    first: list[bytes] = []
    while length := file.read(1):
        if length == b"\0":
            return first
        block = file.read(length[0])
        if len(block) < length[0]:
            return None
        if len(first) < 2:
            first.append(block)
    return None


def _read_webp(file: BinaryIO) -> AnimationTable:
    """Chunks to the end that the first one tells."""
    size = _size(file)
    told = 8 + int.from_bytes(file.read(12)[4:8], "little")
    delays: list[Fraction] = []
    plays, still, end, at = 1, False, 0, 12
    while at + 8 <= min(told, size):
        file.seek(at)
        head = file.read(8 + 16)
        length = int.from_bytes(head[4:8], "little")
        at += 8 + length + (length & 1)
        still = still or head[:4] in (b"VP8 ", b"VP8L")
        if at > size:
            break
        if head[:4] == b"ANIM" and length >= 6:
            plays = int.from_bytes(head[12:14], "little")
        elif head[:4] == b"ANMF" and len(head) == 24:
            delays.append(Fraction(int.from_bytes(head[20:23], "little"), _MILLI))
            end = at
    if still and not delays:
        return _STILL
    return AnimationTable(delays=tuple(delays), plays=plays, whole=told <= size, end=end)


def _read_png(file: BinaryIO) -> AnimationTable:
    """Chunks to IEND. A frame is whole when the chunk after its data begins."""
    delays: list[Fraction] = []
    plays, declared, pending, end, at = 1, None, None, 0, 8
    whole, size = False, _size(file)
    while not whole and at + 12 <= size:
        file.seek(at)
        head = file.read(8 + 26)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if pending is not None and kind in (b"fcTL", b"IEND"):
            delays.append(pending)
            pending, end = None, at
        if at + 12 + length > size:
            break
        if kind == b"acTL" and length >= 8:
            declared, plays = struct.unpack(">II", head[8:16])
        elif kind == b"fcTL" and length >= 26 and declared is not None:
            above, below = struct.unpack(">HH", head[28:32])
            pending = Fraction(above, below or _CENTI)
        at += 12 + length
        whole = kind == b"IEND"
    if declared is None:
        return _STILL
    return AnimationTable(delays=tuple(delays), plays=plays, whole=whole, declared=declared, end=end)


_READERS: Mapping[str, Callable[[BinaryIO], AnimationTable]] = MappingProxyType(
    {"gif": _read_gif, "webp": _read_webp, "png": _read_png}
)
