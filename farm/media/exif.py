"""EXIF of a source, brought into a form that libvips writes: parsed tags, upright, without the old thumbnail."""

from __future__ import annotations

import struct
import zlib

import pyvips

_PREFIX = b"Exif\0\0"
EMPTY_EXIF = b"II*\0\x08\0\0\0" + bytes(6)
"""a block without a tag"""


def exif_fields(exif: bytes) -> dict[str, str | bytes]:
    """The tags of an EXIF block by libvips' field names, and the block itself; empty when it cannot be read.

    libvips writes only those tags of a block that also stand beside it as fields, and makes the fields only when it
    loads a file. So a PNG of one pixel carries the block once through a loader. (A JPEG could hold 64 KB only.)
    """
    block = exif.removeprefix(_PREFIX)
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return {}
    carrier = pyvips.Image.pngload_buffer(_one_pixel_png(block))
    fields: dict[str, str | bytes] = {}
    for name in carrier.get_fields():
        value = carrier.get(name)
        wanted = name == "exif-data" or (name.startswith("exif-ifd") and not name.startswith("exif-ifd1"))
        if wanted and isinstance(value, (str, bytes)):
            fields[name] = value
    return fields


def _one_pixel_png(block: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"eXIf", block), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
