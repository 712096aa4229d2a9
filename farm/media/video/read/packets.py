"""Packets of one stream: what names them, which of them hold a frame that is shown, and where decoding may start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from farm.media.video.faults import check_memory
from farm.media.video.read import vp9

_READ_FAILURES = 16
"""reads that may fail one after the other before the rest of a damaged file is given up"""
_SEARCH_BYTES = 4096
"""of a packet that are searched for what comes before its first slice"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StampedPacket:
    """A packet with its name."""

    packet: Packet[VideoStream]
    stamp: int | None
    """None: it has no timestamp"""


class PacketFeed:
    """Packets of the stream from where its container stands, empty ones left out; damage between them is skipped."""

    def __init__(self, container: InputContainer, stream: VideoStream, *, counted: bool) -> None:
        """Args:

        counted: name packets by their number; the container must stand at its start.
        """
        self._container = container
        self._stream = stream
        self._counted = counted
        self.failures = 0
        """reads that failed so far"""
        self.empty = 0
        """packets without a byte so far: frames that a recorder dropped"""
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all

    def __iter__(self) -> Iterator[StampedPacket]:
        number = in_a_row = 0
        while in_a_row < _READ_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    if not packet.size:
                        self.empty += packet.dts is not None  # else it is the mark of the end
                        continue
                    in_a_row = 0
                    yield StampedPacket(packet=packet, stamp=number if self._counted else packet_stamp(packet))
                    number += 1
                return
            except IndexError:
                return  # PyAV's, behind the last packet, where streams turned up that were not there when it opened
            except (FFmpegError, ValueError) as error:
                check_memory(error)
                in_a_row += 1
                self.failures += 1


def packet_stamp(packet: Packet[VideoStream]) -> int | None:
    """The timestamp that names a packet and the frame made of it."""
    return packet.dts if packet.pts is None else packet.pts


def holds_shown_frame(codec: str, packet: Packet[VideoStream]) -> bool:
    """Whether a packet makes a frame that is shown: edit lists leave some out, VP8 and VP9 keep hidden references."""
    if packet.is_discard:
        return False
    if codec in ("vp8", "libvpx"):
        return bool(memoryview(packet)[0] >> 4 & 1)  # RFC 6386, 9.1: show_frame
    if codec in ("vp9", "libvpx-vp9"):
        return vp9.shows_frame(memoryview(packet))
    return True


def is_entry(codec: str, extradata: bytes | None, packet: Packet[VideoStream]) -> bool:
    """Whether decoding may start at this packet: every frame shown at or after its own is then whole.

    Containers also mark recovery points of H.264 that are reached only some frames later (intra refresh), or that are
    not exact; those are none.
    """
    if not packet.is_keyframe or packet.is_corrupt or packet.is_discard:
        return False
    if codec not in ("h264", "hevc"):
        return True
    for unit in _units(codec, _head(packet), extradata):
        if codec == "hevc" and unit[0] >> 1 & 63 < 32:  # the first slice: BLA, IDR or CRA
            return 16 <= unit[0] >> 1 & 63 <= 21
        if codec == "h264" and unit[0] & 31 in (1, 2, 5):
            return unit[0] & 31 == 5
        if codec == "h264" and unit[0] & 31 == 6 and _exact_recovery(unit[1:]):
            return True
    return False


def splices(codec: str, extradata: bytes | None, packet: Packet[VideoStream]) -> bool:
    """Whether frames after this packet may be left out by the decoder, as after a splice in HEVC (BLA)."""
    if codec != "hevc" or not packet.is_keyframe:
        return False
    kinds = [unit[0] >> 1 & 63 for unit in _units(codec, _head(packet), extradata)]
    return any(16 <= kind <= 18 for kind in kinds)


def is_reference(codec: str, extradata: bytes | None, packet: Packet[VideoStream]) -> bool:
    """Whether other frames may be predicted from this packet's; true where that is not known."""
    for unit in _units(codec, _head(packet), extradata) if codec in ("h264", "hevc") else ():
        kind = unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63
        if codec == "h264" and kind in (1, 2, 5):
            return unit[0] & 0x60 != 0
        if codec == "hevc" and kind < 32:  # the even ones below 16 are of use to no frame of their layer
            return kind >= 16 or kind % 2 == 1
    return not packet.is_disposable


def _head(packet: Packet[VideoStream]) -> bytes:
    return bytes(memoryview(packet)[:_SEARCH_BYTES])


def _units(codec: str, data: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """NAL units of a packet, cut where `data` is: behind start codes, or each behind its length."""
    if extradata and extradata[0] == 1:
        at, last = 0, 21 if codec == "hevc" else 4  # where hvcC and avcC keep the bytes of a length, less one
        size = (extradata[last] & 3) + 1 if len(extradata) > last else 4
        while at + size < len(data):
            length = int.from_bytes(data[at : at + size], "big")
            if length:
                yield data[at + size : at + size + length]
            at += size + length
        return
    at = data.find(b"\0\0\1")
    while at >= 0:
        end = data.find(b"\0\0\1", at + 3)
        unit = data[at + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        at = end


def _exact_recovery(sei: bytes) -> bool:
    """Whether an H.264 SEI unit says that decoding is exact from this very frame on (H.264, D.2.8)."""
    data = sei.replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(data):
        kind = size = 0
        while at < len(data) and data[at] == 255:
            kind, at = kind + 255, at + 1
        kind, at = kind + data[at] if at < len(data) else kind, at + 1
        while at < len(data) and data[at] == 255:
            size, at = size + 255, at + 1
        size, at = size + data[at] if at < len(data) else size, at + 1
        if kind == 6 and at < len(data):
            return data[at] >> 6 == 0b11  # recovery_frame_cnt 0 is one set bit, exact_match_flag follows
        at += size
    return False
