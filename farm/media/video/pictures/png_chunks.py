"""What stands in a PNG beside its pixels, put behind its header while another program writes the file."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_HEAD = 8 + 25
"""the signature and IHDR (PNG specification, 5.2 and 11.2.2)"""


def profile_chunk(icc: bytes) -> bytes:
    """An ICC profile as iCCP (PNG specification, 11.3.2.3); it must stand before the pixels."""
    return _chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))


def xmp_chunk(packet: bytes) -> bytes:
    """An XMP packet in UTF-8 as iTXt, not compressed (XMP specification, part 3, 1.1.5)."""
    return _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


class BehindHeader:
    """A file that a PNG is written to, with `chunks` between its header and what the writer lets follow.

    The writer may seek as it likes: it sees the file without them. `sink`: seekable, not closed.
    """

    def __init__(self, sink: BinaryIO, chunks: bytes) -> None:
        self._sink, self._chunks = sink, chunks
        self._start, self._at = sink.tell(), 0

    def write(self, data: bytes) -> int:
        """Writes all of it."""
        view = memoryview(data)
        head = max(0, min(len(view), _HEAD - self._at))
        if head:
            self._put(self._at, view[:head])
            if self._at + head == _HEAD:
                self._put(_HEAD, memoryview(self._chunks))
        if head < len(view):
            self._put(max(self._at, _HEAD) + len(self._chunks), view[head:])
        self._at += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file; whence 0 or 1. Raises ValueError for the end, which nobody who writes has to ask for."""
        if whence not in (0, 1):
            raise ValueError(f"seek: whence {whence}, 0 or 1 was expected")
        self._at = offset + (self._at if whence else 0)
        return self._at

    def tell(self) -> int:
        """Where the next byte goes, without the chunks."""
        return self._at

    def _put(self, at: int, view: memoryview) -> None:
        self._sink.seek(self._start + at)
        self._sink.write(view)
