"""Streams of a source on their way into an output, packet by packet."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Protocol, TypeAlias, cast

from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from farm.media.video.faults import check_memory
from farm.media.video.write.audio import encoding

AnyPacket: TypeAlias = "Packet[Stream]"
_STEP_S = 1
"""times that step back by more are another clock's, as those of the film's keyframes are"""
_NOT_STRICT = 0x20000
"""AVFMT_TS_NONSTRICT: a muxer that takes packets of equal decode times"""
_REORDER = 16
"""packets whose decode times a demuxer may leave out at the beginning: as many as any codec reorders"""


class Track(Protocol):
    """A stream of the source on its way into the output; what is damaged is counted, and left out or silence."""

    name: str
    """as warnings have it"""
    damaged: int
    """packets of the source so far that cannot be decoded or that the container refuses"""
    instead: str
    """what they are in the output"""

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """Packets of the output that this one of the source becomes, in their own time base.

        Raises:
            EncodingError: its encoder refuses.
        """
        ...

    def flush(self) -> list[AnyPacket]:
        """What was still held. Raises as `send`."""
        ...


class CopiedTrack:
    """Packets as they are, but for decode times that do not rise, which containers refuse.

    Where two recordings were joined, or an edit list shows a place twice, times step back a little: each packet is then
    decoded right behind the one before, and shown no earlier. After a step of more than `_STEP_S` another clock counts,
    and its packets would pile up in one place: until they are past the first clock they stay where they are.
    """

    def __init__(self, target: Stream, name: str) -> None:
        self.name = name
        self.damaged = 0
        self.instead = "left out"
        self._target = target
        self._reordered = isinstance(target, VideoStream)
        self._held: list[AnyPacket] = []
        """of the beginning of a video, whose decode times follow from the first that is known"""
        self._next: int | None = None
        self._last: int | None = None
        """the latest decode time so far"""
        self._astray = False
        """whether another clock counts"""
        self.moved = 0
        """packets so far that are later than in the source"""
        self.furthest = Fraction(0)
        """seconds that one of them is later, at most"""

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packet itself; one without times follows the one before."""
        packet.stream = self._target
        if self._reordered and self._next is None and packet.dts is None and len(self._held) < _REORDER:
            self._held.append(packet)
            return []
        if packet.dts is None:
            packet.dts = packet.pts if packet.pts is not None else self._next
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is None:
            packet.pts, packet.dts = 0, 0
        packets = [*self._released(packet.dts), packet]
        for one in packets:
            self._raise(one)
        self._next = packet.dts + max(packet.duration or 0, 1)
        return packets

    def flush(self) -> list[AnyPacket]:
        """What is still held, in a video of few packets."""
        return self._released(min((packet.pts or 0 for packet in self._held), default=0) + 1)

    def _raise(self, packet: AnyPacket) -> None:
        """Move a packet behind the one before where its decode time is not."""
        dts = packet.dts or 0
        before, self._last = self._last, dts if self._last is None else max(dts, self._last)
        late = 0 if before is None else before + self._least(packet) - dts
        self._astray = late > 0 and (self._astray or late * packet.time_base > _STEP_S)
        if late <= 0 or self._astray:
            return
        self._last = packet.dts = dts + late
        self.moved += 1
        self.furthest = max(self.furthest, late * packet.time_base)
        if packet.pts is not None:
            packet.pts = max(packet.pts, packet.dts)

    def _least(self, packet: AnyPacket) -> int:
        """Ticks between two packets at least: one of the output, or none where the container takes equal times."""
        if self._target.type not in ("audio", "video") or self._target.container.format.flags & _NOT_STRICT:
            return 0
        return max(ceil((self._target.time_base or packet.time_base) / packet.time_base), 1)

    def _released(self, before: int) -> list[AnyPacket]:
        """What is held, decoded one after the other before a time."""
        released, self._held = self._held, []
        for packet in reversed(released):
            before -= max(packet.duration or 0, 1)
            packet.dts = before if packet.pts is None else min(before, packet.pts)
            packet.pts = packet.dts if packet.pts is None else packet.pts
        return released


class TextTrack:
    """Text subtitles in another form, by FFmpeg's own decoders and encoders."""

    def __init__(self, source: SubtitleStream, target: SubtitleStream, name: str) -> None:
        self.name = name
        self.damaged = 0
        self.instead = "left out"
        self._decoder = cast(SubtitleCodecContext, source.codec_context)
        self._encoder = cast(SubtitleCodecContext, target.codec_context)
        self._target = target
        self._decoder.open(strict=False)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self._encoder.time_base = source.time_base or Fraction(1, 1000)

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """One subtitle; what only ends another, as in MP4, is none."""
        try:
            found = self._decoder.decode2(packet)
        except FFmpegError as error:
            check_memory(error)
            self.damaged += 1
            return []
        if found is None or len(found) == 0:
            return []
        with encoding(self.name):
            encoded = cast("AnyPacket", self._encoder.encode_subtitle(found))
        encoded.stream, encoded.time_base = self._target, packet.time_base
        encoded.pts = encoded.dts = packet.pts
        encoded.duration = packet.duration
        return [encoded]

    def flush(self) -> list[AnyPacket]:
        """Nothing is held."""
        return []
