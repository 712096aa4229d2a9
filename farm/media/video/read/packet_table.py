"""What one pass over a film's packets tells: which hold frames that are shown, and where decoding may start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

from farm.errors import ItemError
from farm.media.video.read.messages import DEMUXERS, heard
from farm.media.video.read.packets import PacketFeed, StampedPacket, holds_shown_frame, is_entry, packet_stamp, splices
from farm.media.video.read.source import film_stream, header_of, opened
from farm.media.video.read.structure import without_film
from farm.media.video.values import VideoHeader

_SKIPPING = frozenset({"mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h263", "flv1", "wmv1", "wmv2", "wmv3", "vc1"})
_SKIPPED_BYTES = 8
"""codecs that mark a frame that is not coded by a packet of a few bytes"""
_NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS: raw streams"""


@dataclass(slots=True)
class PacketTable:
    """The packet table, in the order of the file."""

    header: VideoHeader
    counted: bool
    """packets are named by their number"""
    stamps: list[int] = field(default_factory=list[int])
    """of packets that hold a frame that is shown"""
    entries: list[int] = field(default_factory=list[int])
    """stamps of packets that decoding may start from"""
    first_key: tuple[int, int] | None = None
    """stamp of the first keyframe, and how many shown frames come before it in the file"""
    start: int | None = None
    """stamp of the first packet"""
    start_times: frozenset[int | None] = frozenset()
    """timestamps of the first packet"""
    clock: list[int | None] = field(default_factory=list[int | None])
    """timestamps of those packets where they are named by number"""
    empty: int = 0
    """packets without a byte, which stand for no frame"""
    nameless: int = 0
    """packets without any timestamp"""
    corrupt: set[int] = field(default_factory=set[int])
    """stamps of packets of which the demuxer knows that something is missing"""
    declared: int | None = None
    """frames that the container promises"""
    failures: int = 0
    """places where the demuxer lost its way or its packets"""
    splices: bool = False
    """whether HEVC was cut and joined, so that frames after a keyframe may be left out"""
    skipping: bool = False
    """whether packets may stand for no frame, or for one that is repeated"""


def read_packets(source: BinaryIO, url: str) -> PacketTable:
    """One pass over the packets of the film's stream; a second where they turn out to have no timestamps.

    Raises:
        ItemError: as `farm.media.video.read.source.opened` and `film_stream`, but for what is cut or encrypted.
    """
    with heard(*DEMUXERS) as complaints, opened(source, url) as container:
        try:
            stream = film_stream(container, url)
        except ItemError as error:
            raise without_film(container.format.name, source, error) from error
        header = header_of(container, stream)
        packets = _collect(container, stream, header, counted=container.format.flags & _NO_TIMESTAMPS != 0)
    if packets.nameless:
        with opened(source, url) as container:
            packets = _collect(container, film_stream(container, url), header, counted=True)
    packets.failures += len(complaints)
    return packets


def _collect(container: InputContainer, stream: VideoStream, header: VideoHeader, *, counted: bool) -> PacketTable:
    packets = PacketTable(header=header, counted=counted)
    extradata = stream.codec_context.extradata
    feed = PacketFeed(container, stream, counted=counted)
    for one in feed:
        _note(packets, one, header.codec, extradata)
    packets.failures, packets.empty = feed.failures, feed.empty
    if packets.start is not None and _starts_with_key(stream, packets.start_times):
        packets.first_key = (packets.start, 0)  # although its packet may be too damaged to look like one
        packets.entries = [packets.start, *(stamp for stamp in packets.entries if stamp != packets.start)]
    packets.declared = _declared(stream, header)
    return packets


def _note(packets: PacketTable, one: StampedPacket, codec: str, extradata: bytes | None) -> None:
    """Enter one packet into the table."""
    if one.stamp is None:
        packets.nameless += 1
        return
    if packets.start is None:
        packets.start = one.stamp
        packets.start_times = frozenset((one.packet.pts, one.packet.dts))
    if one.packet.is_corrupt:
        packets.corrupt.add(one.stamp)
    if one.packet.is_keyframe and packets.first_key is None:
        packets.first_key = (one.stamp, len(packets.stamps))
    if holds_shown_frame(codec, one.packet):
        packets.stamps.append(one.stamp)
        if packets.counted:
            packets.clock.append(packet_stamp(one.packet))
        if is_entry(codec, extradata, one.packet):
            packets.entries.append(one.stamp)
    packets.skipping = packets.skipping or (codec in _SKIPPING and one.packet.size < _SKIPPED_BYTES)
    packets.splices = packets.splices or splices(codec, extradata, one.packet)


def _starts_with_key(stream: VideoStream, times: frozenset[int | None]) -> bool:
    """Whether the container's index says that the first packet is a keyframe."""
    first = stream.index_entries[0] if len(stream.index_entries) else None
    return first is not None and first.is_keyframe and first.timestamp in times


def _declared(stream: VideoStream, header: VideoHeader) -> int | None:
    """Frames that the container promises: its index without what edit lists leave out, or its count."""
    if header.container.startswith("mov") and header.frames:
        shown = sum(1 for entry in stream.index_entries if not entry.is_discard)
        return min(header.frames, shown) if shown else header.frames
    return header.frames
