"""Pieces: the packets of one segment as a small Matroska file, whose packets' timestamps in ms are frame numbers.

A void element at the end of the Segment says how many packets there are and a checksum over all of them, because the
reader of Matroska checks nothing: a piece that is cut or flipped is found when it is joined.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from types import TracebackType
from typing import BinaryIO, cast

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.media.video.ebml import VOID, lengthened
from farm.media.video.hdr import with_hdr

_TICK = Fraction(1, 1000)
"""Matroska's, and so a frame's number"""
_SEAL = struct.Struct(">2s8sII")
"""void element of 16 bytes, name, packets, checksum"""
_VOID, _NAME = bytes((VOID, 0x90)), b"farmseal"


_HEADER_BYTES = 1 << 20
"""the description of the track lies within so much of the beginning"""


_REORDER = 64
"""frames; more than any encoder reorders"""


class BrokenPieceError(Exception):
    """A piece is not what was written; the message says how."""


class UnfitPiecesError(ItemError):
    """Pieces do not make up their film, though they may be as they were written: they have to be made anew."""

    def __init__(self, url: str, found: str, index: int | None = None) -> None:
        advice = "run the same command again; pieces that do not fit are made anew"
        super().__init__(ErrorKind.CHANGED_DURING_READ, url, found, advice)
        self.args = (url, found, index)
        self.index = index
        """of the only one that is of no use; None: nothing says which of them all is right"""


class PieceWriter:
    """Takes what an encoder gives, in coding order."""

    def __init__(self, encoder: str, configure: Callable[[VideoStream], None]) -> None:
        self._buffer = io.BytesIO()
        options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
        self._output = av.open(self._buffer, "w", format="matroska", container_options=options)
        self.packets = 0
        try:
            stream: VideoStream = self._output.add_stream(encoder, rate=25)  # type: ignore[call-overload]
            self._stream: VideoStream | None = stream
            configure(stream)
            stream.codec_context.open()
        except BaseException:
            self.close()
            raise

    def encode(self, frame: VideoFrame | None) -> None:
        """One frame more, or None to empty the encoder."""
        if self._stream is None:
            raise ValueError("the piece is closed")
        for packet in cast("list[Packet[VideoStream]]", self._stream.encode(frame)):
            packet.time_base = _TICK  # not converted: frame numbers stay
            packet.duration = 1
            packet.dts = self.packets - _REORDER  # x265's own are wrong in segments of few frames; Matroska keeps none
            self.packets += 1
            self._output.mux(packet)

    def finish(self) -> bytes:
        """The whole piece; the encoder was emptied."""
        self._output.close()
        checksum = 0
        self._buffer.seek(0)
        with av.open(self._buffer, "r", format="matroska") as again:  # the muxer has changed packets of H.264 and HEVC
            for packet in again.demux(again.streams.video[0]):
                checksum = _sum(checksum, packet) if packet.pts is not None else checksum
        with self._buffer.getbuffer() as data:
            start = lengthened(data[:_HEADER_BYTES], _SEAL.size)
        self._buffer.seek(0)
        self._buffer.write(start)
        self._buffer.seek(0, io.SEEK_END)
        self._buffer.write(_SEAL.pack(_VOID, _NAME, self.packets, checksum))
        return self._buffer.getvalue()  # the buffer's own bytes, not a copy

    def close(self) -> None:
        """Give the encoder and the buffer back at once.

        PyAV's container and stream refer to each other: unless the container is closed, the encoder's memory waits for
        Python to look for such circles, which it does by the number of objects and not by what they hold.
        """
        self._stream = None
        with suppress(FFmpegError, ValueError):
            self._output.close()
        with suppress(BufferError):  # the frames of an error on its way may still look at it
            self._buffer.close()


class PieceReader:
    """One piece, open for reading; used in a with-statement. The file is closed with it."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the seal and the header.

        Raises:
            BrokenPieceError: it is no piece, or cut.
        """
        self._file = file
        try:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(size - _SEAL.size, 0))
            void, name, self.packets, self._checksum = _SEAL.unpack(file.read(_SEAL.size))
            if (void, name) != (_VOID, _NAME):
                raise BrokenPieceError("it does not end as a piece does")
            file.seek(0)
            self._input = av.open(file, "r", format="matroska")
            self.stream = self._input.streams.video[0]
        except (struct.error, IndexError, FFmpegError) as error:
            file.close()
            raise BrokenPieceError(str(error)[:200]) from error
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> PieceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._input.close()
        self._file.close()

    @property
    def extradata(self) -> bytes:
        return self.stream.codec_context.extradata or b""

    def numbered(self) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """(frame number in the piece, packet), in coding order; what is found wrong is found at the end at the latest.

        Raises:
            BrokenPieceError: packets are missing, changed or doubled.
        """
        checksum, seen = 0, set[int]()
        try:
            for packet in self._input.demux(self.stream):
                if packet.pts is None:  # how the reader says that this was all
                    continue
                number = round(packet.pts * packet.time_base / _TICK)
                if not 0 <= number < self.packets or number in seen:
                    raise BrokenPieceError(f"frame {number} of {self.packets} is no frame of it, or is there twice")
                seen.add(number)
                checksum = _sum(checksum, packet)
                yield number, packet
        except FFmpegError as error:
            raise BrokenPieceError(str(error)[:200]) from error
        if len(seen) != self.packets or checksum != self._checksum:
            raise BrokenPieceError(f"{len(seen)} of {self.packets} packets, and their checksum is another")


class _Chained:
    """Bytes, and then what is left of a file: how frames are reordered is known from whole frames only, and the first
    may be larger than any header. It cannot seek, so that nobody looks for what has moved."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def read(self, count: int) -> bytes:
        if not self._head:
            return self._rest.read(count)
        data, self._head = bytes(self._head[:count]), self._head[count:]
        return data


@contextmanager
def template_of(file: BinaryIO, options: Mapping[str, str]) -> Generator[VideoStream]:
    """A stream like that of the piece, for an output to copy: with HDR metadata that no encoder took. Closes the file.

    Args:
        options: of the film.

    Raises:
        BrokenPieceError: it is no piece.
    """
    with file:
        try:
            header = with_hdr(file.read(_HEADER_BYTES), options)
            container = av.open(_Chained(header, file), "r", format="matroska")
        except (FFmpegError, ValueError, IndexError) as error:
            raise BrokenPieceError(str(error)[:200]) from error
        with container:
            if not container.streams.video:
                raise BrokenPieceError("it has no video stream")
            yield container.streams.video[0]


def _sum(checksum: int, packet: Packet[VideoStream]) -> int:
    """Over the packet's number, whether it is a keyframe, its bytes, and what lies beside them, such as alpha."""
    number = round((packet.pts or 0) * packet.time_base / _TICK)
    checksum = zlib.crc32(struct.pack(">q?", number, packet.is_keyframe), checksum)
    for side in packet.iter_sidedata():
        checksum = zlib.crc32(bytes(side), checksum)
    return zlib.crc32(memoryview(packet), checksum)
