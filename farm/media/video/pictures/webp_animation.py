"""An animated WebP, frame by frame (WebP container specification): pictures of libvips in the chunks of an animation.

libwebp's own animation encoder, which libvips and FFmpeg use, drops frames that equal the one before; here every frame
stays. Of a frame only what differs from the one before is stored, in a rectangle.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from farm.media.image import EncodeSpec, ImageMeta, Pixels, encode

_ANIMATED, _XMP, _ALPHA, _ICC = 0x02, 0x04, 0x10, 0x20
"""flags of the first chunk"""
_NO_BLEND = 0x02
"""a frame's pixels replace what was there"""
_CANVAS_AT = 12
_MOST = (1 << 32) - 10
"""bytes that RIFF can say"""
_MOST_DELAY = (1 << 24) - 1
_PIXELS = frozenset({b"ALPH", b"VP8 ", b"VP8L"})


class WebpWriter:
    """Writes the frames of one animation, in order, to a seekable file. Holds the frame before."""

    def __init__(self, sink: BinaryIO, spec: EncodeSpec, plays: int, icc: bytes | None, xmp: bytes | None) -> None:
        """Nothing is written before the first frame.

        Args:
            spec: webp, with its quality.
            plays: how often the animation is shown; 0: for ever.
            icc: profile of the pixels.
        """
        self._sink = sink
        self._spec = EncodeSpec(format="webp", quality=spec.quality)
        self._plays = plays
        self._icc, self._xmp = icc, xmp
        self._before: Pixels | None = None
        self._start = sink.tell()

    def write(self, pixels: Pixels, delay_ms: int, url: str) -> None:
        """One frame more.

        Args:
            pixels: HWC of 8 bits, each frame of one size and number of channels.

        Raises:
            ItemError: as `farm.media.image.encode` says.
        """
        if self._before is None:
            self._begin(pixels)
            top, left, bottom, right = 0, 0, *pixels.shape[:2]
        else:
            top, left, bottom, right = _changed(self._before, pixels)
        self._before = pixels
        part: Pixels = pixels[top:bottom, left:right]
        still = encode(part, ImageMeta(), self._spec, url)
        head = b"".join(_u24(value) for value in (left // 2, top // 2, right - left - 1, bottom - top - 1))
        head += _u24(min(delay_ms, _MOST_DELAY)) + bytes((_NO_BLEND,))
        self._chunk(b"ANMF", head + _pixel_chunks(still))

    def finish(self) -> None:
        """Write what stands after the frames, and the size in front.

        Raises:
            OverflowError: the file is larger than the format can say.
        """
        if self._xmp:
            self._chunk(b"XMP ", self._xmp)
        size = self._sink.tell() - self._start - 8
        if size > _MOST:
            raise OverflowError(f"{size} bytes, which a WebP cannot say")
        self._sink.seek(self._start + 4)
        self._sink.write(struct.pack("<I", size))
        self._sink.seek(0, 2)

    def _begin(self, pixels: Pixels) -> None:
        height, width, channels = pixels.shape
        flags = _ANIMATED | (_ALPHA if channels in (2, 4) else 0)
        flags |= (_ICC if self._icc else 0) | (_XMP if self._xmp else 0)
        self._sink.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", bytes((flags, 0, 0, 0)) + _u24(width - 1) + _u24(height - 1))
        if self._icc:
            self._chunk(b"ICCP", self._icc)
        self._chunk(b"ANIM", bytes(4) + struct.pack("<H", min(self._plays, 65_535)))

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._sink.write(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1))


def _u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _changed(before: Pixels, after: Pixels) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a rectangle that holds all changes, its corner at even places; one pixel at least."""
    differs = (before != after).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return 0, 0, 1, 1
    return int(rows[0]) & ~1, int(columns[0]) & ~1, int(rows[-1]) + 1, int(columns[-1]) + 1


def _pixel_chunks(still: bytes) -> bytes:
    """The chunks of a still WebP that hold pixels."""
    found, at = b"", _CANVAS_AT
    while at + 8 <= len(still):
        length = int.from_bytes(still[at + 4 : at + 8], "little")
        end = at + 8 + length + (length & 1)
        found += still[at:end] if still[at : at + 4] in _PIXELS else b""
        at = end
    return found
