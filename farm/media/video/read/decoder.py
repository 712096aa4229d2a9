"""One decoder over one stream: frames in the order in which they are shown, each with its name and whether it is whole.

A frame is damaged when its decoder says so (concealment, a missing reference), refuses its packet or complains of a
checksum, and when it was predicted from a damaged one: all frames decoded after that one up to the next entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType
from typing import Literal

import av
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from farm.media.video.faults import check_memory
from farm.media.video.planes import source_format
from farm.media.video.read import vp9
from farm.media.video.read.messages import heard
from farm.media.video.read.packets import PacketFeed, holds_shown_frame, is_entry, is_reference
from farm.media.video.read.source import pixel_format_name

_TALKERS = ("ffv1", "mjpeg")
"""decoders that tell of damage by messages alone; they run in one thread, in which messages can be heard"""
_LIBVPX: Mapping[str, Literal["libvpx-vp9", "libvpx"]] = MappingProxyType({"vp9": "libvpx-vp9", "vp8": "libvpx"})
"""decoders of 8 bits that give the alpha of WebM; that of VP9 notices damage, too. FFmpeg's own do neither"""
_PENDING = 64
"""packets whose frames a decoder may hold; those before are taken for lost"""
_ANY_PIXELS, _GROWTH = 1 << 24, 4
"""a frame of so many pixels is decoded whatever the container says, and one of so many times its size"""
_LATER_KEYS = 2
"""keyframes later than the one sought that show that a seek went too far"""
_ENDLESS = 1 << 63
"""above all stamps"""


@dataclass(slots=True, kw_only=True)
class DecodedFrame:
    """A frame as it left the decoder."""

    stamp: int
    frame: av.VideoFrame
    damaged: bool


@dataclass(slots=True)
class DamageTracker:
    """Which frames suffer from what was found so far. Positions count packets in the order they are decoded."""

    start: int | None
    """stamp of the packet that decoding began at: what is shown before it is not whole, and is no damage"""
    positions: dict[int, int] = field(default_factory=dict[int, int])
    """of frames that are shown, by stamp"""
    entries: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(position, stamp) of packets that decoding may start from"""
    spreading: list[int] = field(default_factory=list[int])
    """positions of damaged frames that others may be predicted from"""
    alone: set[int] = field(default_factory=set[int])
    """stamps of damaged frames that nothing is predicted from"""
    references: set[int] = field(default_factory=set[int])
    """stamps of frames that others may be predicted from"""
    pending: dict[int, int] = field(default_factory=dict[int, int])
    """positions of frames, by stamp, that have not come out yet"""
    sent: int = 0

    def send(self, stamp: int, *, shown: bool, entry: bool, reference: bool) -> None:
        """A packet goes to the decoder."""
        if shown:
            self.positions[stamp] = self.pending[stamp] = self.sent
            if len(self.pending) > _PENDING:
                del self.pending[next(iter(self.pending))]
        if entry:
            self.entries.append((self.sent, stamp))
        if reference:
            self.references.add(stamp)
        self.sent += 1

    def is_settled(self, stamp: int) -> bool:
        """Whether everything that this frame may be predicted from has come out, so that its damage is known."""
        position = self.positions.get(stamp, self.sent)
        return all(position < other for other in self.pending.values())

    def mark(self, stamp: int, *, unreferenced: bool = False) -> None:
        """The frame of this name is damaged."""
        if self.start is not None and stamp < self.start:
            return
        if unreferenced or stamp not in self.references:
            self.alone.add(stamp)
        else:
            self.spreading.append(self.positions.get(stamp, self.sent - 1))

    def is_damaged(self, stamp: int) -> bool:
        """Whether this frame, as far as is known now, is damaged or predicted from damage."""
        if stamp in self.alone:
            return True
        if not self.spreading:
            return False
        position = self.positions.get(stamp, self.sent)
        entries = takewhile(lambda one: one[1] > stamp, reversed(self.entries[: self._entries_to(position)]))
        count = self._entries_to(position) - sum(1 for _ in entries)  # leading frames belong to the group before
        first = self.entries[count - 1][0] if count else 0
        return any(first <= at <= position for at in self.spreading)

    def _entries_to(self, position: int) -> int:
        """How many entries were sent up to this position."""
        return bisect_right(self.entries, (position, _ENDLESS))


class FrameSource:
    """Frames of one stream from where its container stands."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, counted: bool, threads: int, start: int | None = None
    ) -> None:
        """Args:

        start: the packet of this stamp is the first that is decoded; None: the first there is.
        """
        self._container = container
        self._stream = stream
        self._counted = counted
        self._start = start
        self.found_start = start is None
        self.tracker = DamageTracker(start=start)
        self.failed = False
        """whether anything at all was damaged"""
        self._context = open_decoder(stream, threads)
        self._codec = self._context.name
        self.is_own = self._context is stream.codec_context
        """whether the decoder knows what the container says of colours and rotation"""
        self._single = self._context.thread_count == 1
        self._most_pixels = _most_pixels(stream)

    def frames(self) -> Iterator[DecodedFrame]:
        """Every frame that the decoder shows, to the end of the file."""
        for packet, stamp in self._packets():
            yield from self._decoded(packet, stamp)
        yield from self._decoded(None, None)

    def _packets(self) -> Iterator[tuple[Packet[VideoStream], int]]:
        extradata = self._stream.codec_context.extradata
        later = 0
        for one in PacketFeed(self._container, self._stream, counted=self._counted):
            if one.stamp is None:
                continue
            if self._start is not None and not self.found_start and one.stamp != self._start:
                later += one.packet.is_keyframe and one.stamp > self._start
                if later > _LATER_KEYS:
                    return
                continue
            packet, self.found_start = one.packet, True
            self.tracker.send(
                one.stamp,
                shown=holds_shown_frame(self._codec, packet),
                entry=is_entry(self._codec, extradata, packet),
                reference=is_reference(self._codec, extradata, packet),
            )
            packet.pts = one.stamp  # what the decoder hands on to the frame
            yield packet, one.stamp

    def _decoded(self, packet: Packet[VideoStream] | None, stamp: int | None) -> Iterator[DecodedFrame]:
        frames: list[av.VideoFrame] = []
        with heard(self._codec if self._single else "") as complaints:
            try:
                frames = [] if self._is_too_large(packet, stamp) else self._context.decode(packet)
            except (FFmpegError, ValueError) as error:
                check_memory(error)
                self._damage(stamp)
        if complaints:
            self._damage(stamp)
        for frame in frames:
            if frame.pts is None:
                continue
            if frame.is_corrupt:
                self._damage(frame.pts, unreferenced=self._is_b_frame(frame))
        for frame in frames:
            if frame.pts is not None:
                self.tracker.pending.pop(frame.pts, None)
                yield DecodedFrame(stamp=frame.pts, frame=frame, damaged=self.tracker.is_damaged(frame.pts))

    def _is_too_large(self, packet: Packet[VideoStream] | None, stamp: int | None) -> bool:
        """Whether a packet, which is damaged then, is kept from a decoder that allocates whatever it asks for."""
        if packet is None or self._codec != "libvpx-vp9":
            return False
        too_large = vp9.largest_frame(memoryview(packet)) > self._most_pixels
        if too_large:
            self._damage(stamp)
        return too_large

    def _damage(self, stamp: int | None, *, unreferenced: bool = False) -> None:
        if stamp is not None and (self.tracker.start is None or stamp >= self.tracker.start):
            self.failed = True
            self.tracker.mark(stamp, unreferenced=unreferenced)

    def _is_b_frame(self, frame: av.VideoFrame) -> bool:
        """Whether nothing is predicted from it; in later codecs B-frames may be referred to."""
        return frame.pict_type == PictureType.B and self._codec in ("mpeg1video", "mpeg2video", "mpeg4")


def open_decoder(stream: VideoStream, threads: int) -> VideoCodecContext:
    """The decoder of a stream, not yet open."""
    context = stream.codec_context
    other, known = _LIBVPX.get(context.name), source_format(pixel_format_name(context))
    alpha = any(name.lower() == "alpha_mode" and value == "1" for name, value in stream.metadata.items())
    if other and known is not None and known.depth == 8 and (alpha or other == "libvpx-vp9"):
        context = av.Codec(other, "r").create("video")
    context.thread_count = 1 if context.name in _TALKERS else threads
    context.thread_type = ThreadType.SLICE  # a thread a frame would name the wrong packet when it refuses one
    # More error detection calls padding of old encoders damage.
    context.options = {"err_detect": "crccheck", "max_pixels": str(_most_pixels(stream))}
    return context


def _most_pixels(stream: VideoStream) -> int:
    """Of a frame that is decoded: damaged headers ask for gigabytes."""
    context = stream.codec_context
    return max(_ANY_PIXELS, _GROWTH * context.width * context.height)
