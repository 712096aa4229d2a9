"""Does a film end whole whose container does not say where it ends? Its last frames, and the last of its sound."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard

from farm.media.video.faults import check_memory, reading
from farm.media.video.read.decoder import FrameSource
from farm.media.video.read.packet_table import PacketTable
from farm.media.video.read.source import film_stream, opened, seek_to

_WITHOUT_LENGTH = frozenset({"mpegts", "mpeg", "nut", "mxf", "dv", "ivf"})
"""containers whose structure does not say where they end, or not always"""
_SEARCH_S = 1
"""before a keyframe that is sought in containers without an index"""
_EVEN_SOUND = frozenset({"mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "ac3", "dca"})
"""decoders of sound that comes in frames of one length as a rule, or of two that differ by padding"""
_PADDING_BYTES = 2
"""at most, in AC-3"""
_SOUND_BYTES = 1 << 21
"""end of the file that the last of the sound is sought in"""
_COMPARED = 4
"""frames of sound at least that the last one is compared with"""


def tail_sign(source: BinaryIO, packets: PacketTable, url: str) -> str | None:
    """What shows that such a film was cut: its last frame, or in MPEG program streams its sound's, is not whole.

    Of sound whose frames have no length in common (PCM, AAC) nothing is known.
    """
    names = packets.header.container.split(",")
    if not _WITHOUT_LENGTH.intersection(names):
        return None
    if packets.entries and not packets.counted and not _frames_end_whole(source, packets, url):
        return "its last frame is not whole"
    if "mpeg" in names and not _sound_ends_whole(source, url):
        return "its sound ends within a frame"
    return None


def _frames_end_whole(source: BinaryIO, packets: PacketTable, url: str) -> bool:
    start = packets.entries[-2:][0]  # leading frames of the last keyframe are predicted from the group before it
    whole = _last_is_whole(source, url, start, start - int(_SEARCH_S / packets.header.time_base))
    if whole is None:
        whole = _last_is_whole(source, url, start, None)
    return bool(whole)


def _last_is_whole(source: BinaryIO, url: str, start: int, place: int | None) -> bool | None:
    """Whether the last frame is, decoded from the packet of stamp `start` on; None where the container cannot seek.

    Args:
        place: the timestamp from which that packet is sought; None: from the start of the file.
    """
    with opened(source, url) as container:
        stream = film_stream(container, url)
        if place is not None and not seek_to(container, stream, place):
            return None
        frames = FrameSource(container, stream, counted=False, threads=1, start=start)
        stamps = {one.stamp for one in frames.frames()}
    last = next(reversed(frames.tracker.positions), None)  # some containers give other stamps after a seek
    return last is None or (last in stamps and not frames.tracker.is_damaged(last))


def _sound_ends_whole(source: BinaryIO, url: str) -> bool:
    """Whether no track's last frame is shorter than all of those before it, which have one length."""
    with reading(url):
        size = source.seek(0, os.SEEK_END)
    with opened(source, url) as container:
        lengths = _last_lengths(container, max(0, size - _SOUND_BYTES))
    return not any(_falls_short(track) for track in lengths.values())


def _last_lengths(container: InputContainer, place: int) -> Mapping[int, Sequence[int]]:
    """Bytes of the frames of each track of even sound, from a place in the file on."""
    lengths: defaultdict[int, list[int]] = defaultdict(list)
    tracks = [one for one in container.streams.audio if one.codec_context.name in _EVEN_SOUND]
    for stream in container.streams:
        if stream not in tracks:
            stream.discard = Discard.all
    if not tracks:
        return lengths
    try:
        if place:
            container.seek(place, unsupported_byte_offset=True)
        for packet in container.demux(*tracks):
            if packet.size:
                lengths[packet.stream_index].append(packet.size)
    except (FFmpegError, ValueError, IndexError) as error:  # the last as in PacketFeed
        check_memory(error)  # damage: what came before it is compared
    return lengths


def _falls_short(lengths: Sequence[int]) -> bool:
    before = lengths[1:-1]  # the first may have lost its beginning
    if len(before) < _COMPARED or max(before) - min(before) > _PADDING_BYTES:
        return False
    return lengths[-1] < max(before) - _PADDING_BYTES
