"""Is a file that could not be decoded cut short, or damaged inside? Read from its structure, not from error texts.

Asked after a decoder has failed; the answer chooses between the classes `truncated` and `corrupt`. Of PNG and JPEG also
asked when it has not: their decoders can be content with the pixels and never look for what should stand behind them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO

_SCAN_BYTES = 1 << 16
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPG_END = b"\xff\xd9"


def is_cut(file_format: str, file: BinaryIO) -> bool:
    """Whether the structure of the file promises more bytes than there are.

    Args:
        file_format: a name as `farm.media.formats.sniff` gives it.
        file: seekable; its position is changed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return _CHECKS[file_format](file, size)


def ends_early(file_format: str, file: BinaryIO) -> bool:
    """Whether the end of a file is missing whose pixels could be decoded; of other formats than PNG and JPEG, no."""
    if file_format == "jpg":
        file.seek(-len(_JPG_END), os.SEEK_END)
        return file.read() != _JPG_END and is_cut("jpg", file)
    return file_format == "png" and is_cut("png", file)


def _png(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - len(_PNG_END)))
    if file.read() == _PNG_END:
        return False
    at = 8
    while at < size:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return True
        if head[4:] == b"IEND":
            return at + 12 > size
        if not head[4:].isalpha():
            return False  # lost between chunks: damage, whatever the length
        at += 12 + int.from_bytes(head[:4], "big")
    return True


def _jpg(file: BinaryIO, size: int) -> bool:
    """Walk the marker segments to the first scan, then look for the end marker behind it."""
    at = 2
    while at + 4 <= size:
        file.seek(at)
        marker = file.read(4)
        if marker[0] != 0xFF:
            return False
        if marker[1] in (0xFF, *range(0xD0, 0xD9)):  # fill byte or a marker without a length
            at += 1 if marker[1] == 0xFF else 2
            continue
        at += 2 + int.from_bytes(marker[2:], "big")
        if marker[1] == 0xDA:
            return not _finds_end_marker(file, at)
    return True


def _finds_end_marker(file: BinaryIO, at: int) -> bool:
    """Entropy-coded data escapes 0xFF, so FF D9 behind the first scan is the end."""
    file.seek(at)
    last = b""
    while block := file.read(_SCAN_BYTES):
        if _JPG_END in last + block:
            return True
        last = block[-1:]
    return False


def _webp(file: BinaryIO, size: int) -> bool:
    return int.from_bytes(file.read(8)[4:], "little") + 8 > size


def _gif(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 64))
    return not file.read().rstrip(b"\0").endswith(b";")


def _boxes(file: BinaryIO, size: int) -> bool:
    """ISO base media (AVIF, HEIC): top-level boxes follow each other to the end."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return True
        length = int.from_bytes(head[:4], "big")
        if length == 0:  # to the end of the file
            return False
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return False
        at += length
    return at > size


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325


def _tiff(file: BinaryIO, size: int) -> bool:
    """Whether the first directory, or a strip or tile that it names, ends beyond the file."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = len(head) == 16 and struct.unpack(order + "H", head[2:4])[0] == 43
    if len(head) < (16 if big else 8):
        return True
    entry, count, offset = ("HHQQ", "Q", "Q") if big else ("HHII", "H", "I")
    (start,) = struct.unpack(order + offset, head[8:16] if big else head[4:8])
    file.seek(start)
    raw = file.read(struct.calcsize(order + count))
    if len(raw) < struct.calcsize(order + count):
        return True
    length = struct.calcsize(order + entry) * min(struct.unpack(order + count, raw)[0], 4096)
    directory = file.read(length)
    if len(directory) < length:
        return True
    tags: dict[int, list[int]] = {}
    for tag, kind, number, value in struct.iter_unpack(order + entry, directory):
        if tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES) and kind in _TIFF_TYPES:
            if number > size:  # more values than the file has bytes
                return True
            tags[tag] = _tiff_values(file, order + str(number) + _TIFF_TYPES[kind], struct.pack(order + offset, value))
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        pairs = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        if any(at + length > size for at, length in pairs):
            return True
    return False


def _tiff_values(file: BinaryIO, layout: str, inline: bytes) -> list[int]:
    """The values of one directory entry, which lie in the entry itself when they fit."""
    length = struct.calcsize(layout)
    data = inline[:length]
    if length > len(inline):
        offset = "Q" if len(inline) == 8 else "I"
        file.seek(struct.unpack(layout[0] + offset, inline)[0])
        data = file.read(length)
    return list(struct.unpack(layout, data)) if len(data) == length else [1 << 62]


_CHECKS: Mapping[str, Callable[[BinaryIO, int], bool]] = MappingProxyType(
    {"png": _png, "jpg": _jpg, "webp": _webp, "gif": _gif, "avif": _boxes, "heic": _boxes, "tiff": _tiff}
)
