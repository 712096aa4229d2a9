"""Which frames a film has, and when each is shown: one pass over its packets, proved on the first frames.

Packets say it where every packet has a timestamp and the decoder agrees with them on the first frames. Where it does
not (fields in packets of their own, B-frames without times, raw streams, a cut file), the film is decoded once to know.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO

from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.media.video.containers import cut_sign, names_other_files
from farm.media.video.decoder import FrameSource
from farm.media.video.facts import frame_facts
from farm.media.video.messages import DEMUXERS, heard
from farm.media.video.packets import PacketFeed, StampedPacket, holds_shown_frame, is_entry, packet_stamp, splices
from farm.media.video.source import film_stream, header_of, opened, unsafe
from farm.media.video.values import FilmTable, FrameFacts, VideoHeader
from farm.records import VideoParams

_PROVED_FRAMES = 24
"""first frames whose times must be what the packets say"""
_JUMP_S = 1
"""timestamps of keyframes that go back by more than this are another clock's"""
_SEARCH_S = 1
"""before a keyframe that is sought in containers without an index"""
_WITHOUT_LENGTH = frozenset({"mpegts", "mpeg", "nut", "mxf", "dv", "ivf"})
"""containers whose structure does not say where they end"""
_WITH_DURATION = frozenset({"matroska", "webm", "flv", "asf"})
"""containers that say in their heads how long the film is"""
_ONE_TO_ONE = frozenset({"h264", "hevc", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "prores", "mjpeg", "ffv1"})
"""codecs of which each packet makes one frame, but for fields"""
_LOST_SHARE = Fraction(1, 4)
"""of the first frames that may be missing before it is the packets that are not believed"""
_SKIPPING = frozenset({"mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h263", "flv1", "wmv1", "wmv2", "wmv3", "vc1"})
_SKIPPED_BYTES = 8
"""codecs that mark a frame that is not coded by a packet of a few bytes"""
_SAME_RATE = Fraction(1, 200)


@dataclass(slots=True)
class _Packets:
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


@dataclass(slots=True)
class _Decoded:
    """What a decoder made of the film or of its beginning."""

    stamps: list[int] = field(default_factory=list[int])
    """in the order in which frames came"""
    whole: list[bool] = field(default_factory=list[bool])
    facts: FrameFacts | None = None
    interlaced: bool = False
    damaged: bool = False
    """whether anything was"""


def read_table(source: BinaryIO, url: str, params: VideoParams) -> FilmTable:
    """Every frame of the film; nothing but its beginning is decoded where packets can be believed.

    Raises:
        ItemError: as `farm.media.video.source.opened` and `film_stream`; NO_FRAMES; TRUNCATED for a cut file unless
            `params.salvage` is set; UNSUPPORTED for pixel formats that are not read and for times that jump back.
    """
    packets = _read_packets(source, url)
    if names_other_files(packets.header.container, source):
        raise unsafe(url, "its index points to other files")
    sign = cut_sign(packets.header.container, source)
    if not packets.stamps:
        raise _no_frames(packets, sign, url)
    sign = sign or _tail_sign(source, packets, url)
    if sign:
        return _cut_table(source, packets, sign, url, params)
    _check_jumps(packets, url)
    lost = _lost(packets, url, params)
    proof = _decode(source, packets, url, _PROVED_FRAMES)
    if proof.facts is None:
        proof = _decode(source, packets, url, None)
        if proof.facts is None:
            found = f"none of its {len(packets.stamps)} frames can be decoded"
            raise ItemError(ErrorKind.DECODE_ERRORS, url, found, "copy it again, or leave it out")
    doubtful = packets.counted or packets.splices or packets.skipping
    known = None if doubtful else _proved(packets, proof)
    if known is None:
        proof = _decode(source, packets, url, None)
        known = list(proof.stamps)
    return _table(packets, proof, known, warning=lost)


def _lost(packets: _Packets, url: str, params: VideoParams) -> str | None:
    """What the container has lost within the file: an error, or the warning where that is allowed."""
    missing = (packets.declared or 0) - len(packets.stamps) if packets.header.container.startswith("mov") else 0
    if not packets.failures and missing <= 0:
        return None
    places = max(packets.failures, 1)
    found = f"the container is damaged in {places} place{'s' * (places > 1)}"
    if missing > 0:
        found = f"{len(packets.stamps)} of {packets.declared} frames are there; {found}"
    if params.allow_damaged:
        return f"{found}; what it lost is not in the output"
    advice = "copy it again, or go on with what is there with --allow-damaged"
    raise ItemError(ErrorKind.DECODE_ERRORS, url, found, advice)


def _read_packets(source: BinaryIO, url: str) -> _Packets:
    with heard(*DEMUXERS) as complaints, opened(source, url) as container:
        stream = film_stream(container, url)
        header = header_of(container, stream)
        packets = _collect(container, stream, header, counted=container.format.flags & _NO_TIMESTAMPS != 0)
    if packets.nameless:
        with opened(source, url) as container:
            packets = _collect(container, film_stream(container, url), header, counted=True)
    packets.failures += len(complaints)
    return packets


_NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS: raw streams"""


def _collect(container: InputContainer, stream: VideoStream, header: VideoHeader, *, counted: bool) -> _Packets:
    packets = _Packets(header=header, counted=counted)
    extradata = stream.codec_context.extradata
    feed = PacketFeed(container, stream, counted=counted)
    for one in feed:
        _note(packets, one, header.codec, extradata)
    packets.failures = feed.failures
    if packets.start is not None and _starts_with_key(stream, packets.start_times):
        packets.first_key = (packets.start, 0)  # although its packet may be too damaged to look like one
        packets.entries = [packets.start, *(stamp for stamp in packets.entries if stamp != packets.start)]
    packets.declared = _declared(stream, header)
    return packets


def _note(packets: _Packets, one: StampedPacket, codec: str, extradata: bytes | None) -> None:
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


def _no_frames(packets: _Packets, sign: str | None, url: str) -> ItemError:
    if sign:
        found = f"0{_of(packets)} frames decodable; {sign}"
        return ItemError(ErrorKind.TRUNCATED, url, found, "copy it again")
    return ItemError(ErrorKind.NO_FRAMES, url, "its video stream has no frames", "leave the file out of the manifest")


def _tail_sign(source: BinaryIO, packets: _Packets, url: str) -> str | None:
    """What shows that a container without a length of its own was cut: its very last frame is not whole."""
    names = packets.header.container.split(",")
    if not packets.entries or packets.counted or not _WITHOUT_LENGTH.intersection(names):
        return None
    start = packets.entries[-2:][0]  # leading frames of the last keyframe are predicted from the group before it
    with opened(source, url) as container:
        stream = film_stream(container, url)
        frames = FrameSource(container, stream, counted=False, threads=1, start=start)
        container.seek(start - int(_SEARCH_S / packets.header.time_base), stream=stream)
        stamps = {one.stamp for one in frames.frames()}
    last = next(reversed(frames.tracker.positions), None)  # some containers give other stamps after a seek
    whole = last is None or (last in stamps and not frames.tracker.is_damaged(last))
    return None if whole else "its last frame is not whole"


def _of(packets: _Packets) -> str:
    """How many frames there should be, as far as anything says so."""
    if packets.declared:
        return f" of {packets.declared}"
    header = packets.header
    if header.duration_s and _WITH_DURATION.intersection(header.container.split(",")):
        return f" of about {round(header.duration_s * float(header.rate))}"
    return ""


def _cut_table(source: BinaryIO, packets: _Packets, sign: str, url: str, params: VideoParams) -> FilmTable:
    """What is left of a cut file, found by decoding all of it: the frames that are whole."""
    decoded = _decode(source, packets, url, None)
    whole = [
        stamp
        for stamp, sound in zip(decoded.stamps, decoded.whole, strict=True)
        if sound and stamp not in packets.corrupt
    ]
    found = f"{len(whole)}{_of(packets)} frames decodable; {sign}"
    if not whole or not params.salvage:
        advice = "copy it again, or keep what it still holds with --salvage" if whole else "copy it again"
        raise ItemError(ErrorKind.TRUNCATED, url, found, advice)
    return _table(packets, decoded, whole, warning=f"the file is cut: {found}")


def _check_jumps(packets: _Packets, url: str) -> None:
    """Refuse films whose clock starts anew within them: one timestamp would name several frames."""
    ticks = _JUMP_S / packets.header.time_base
    for before, after in zip(packets.entries, packets.entries[1:], strict=False):
        if before - after > ticks:
            found = f"timestamps of its keyframes jump back, from {before} to {after}"
            advice = "remux it with one clock first, such as with ffmpeg -fflags +genpts -c copy"
            raise ItemError(ErrorKind.UNSUPPORTED, url, found, advice)


def _decode(source: BinaryIO, packets: _Packets, url: str, limit: int | None) -> _Decoded:
    """Decode from the start of the file, up to `limit` frames."""
    decoded = _Decoded()
    with opened(source, url) as container:
        stream = film_stream(container, url)
        frames = FrameSource(container, stream, counted=packets.counted, threads=1)
        for one in frames.frames():
            if decoded.facts is None:
                decoded.facts = frame_facts(one.frame, stream, packets.header.codec, url)
            decoded.interlaced = decoded.interlaced or one.frame.interlaced_frame
            decoded.stamps.append(one.stamp)
            decoded.whole.append(not one.damaged)
            if len(decoded.stamps) == limit:
                break
        decoded.damaged = frames.failed
    if decoded.facts is not None and not frames.is_own:
        decoded.facts = _said_by_container(source, decoded.facts, packets.header, url)
    return decoded


def _said_by_container(source: BinaryIO, facts: FrameFacts, header: VideoHeader, url: str) -> FrameFacts:
    """Facts whose colours, rotation and HDR metadata come from FFmpeg's own decoder, which is told of the container."""
    with opened(source, url) as container:
        stream = film_stream(container, url)
        try:
            frame = next(container.decode(stream), None)
        except FFmpegError:
            frame = None
        if frame is None:
            return facts
        told = frame_facts(frame, stream, header.codec, url)
    return replace(told, layout=replace(told.layout, alpha=facts.layout.alpha), pix_fmt=facts.pix_fmt)


def _proved(packets: _Packets, proof: _Decoded) -> list[int] | None:
    """The stamps of all frames in the order they are shown, or None where the decoder does not agree with the packets.

    What lies before the first keyframe, and the leading frames of that one, are frames only if the decoder shows them.
    """
    shown = sorted(packets.stamps)
    got = proof.stamps
    if packets.first_key is not None and got:
        key, before = packets.first_key
        lost = set(packets.stamps[:before])
        first = bisect_left(shown, got[0])
        if all(stamp < key or stamp in lost for stamp in shown[:first]):
            shown = [stamp for stamp in shown[first:] if stamp not in lost or stamp in got]
    if proof.damaged or shown[: len(got)] == got:
        return shown
    behind = shown[: bisect_left(shown, got[-1]) + 1] if got else []
    lost = len(behind) - len(got)
    orderly = got == [stamp for stamp in behind if stamp in set(got)]
    one_to_one = packets.header.codec in _ONE_TO_ONE and not proof.interlaced
    return shown if orderly and one_to_one and lost <= _LOST_SHARE * len(behind) else None  # damage, told of later


def _table(packets: _Packets, decoded: _Decoded, stamps: list[int], warning: str | None = None) -> FilmTable:
    if decoded.facts is None:
        raise ValueError("a film without a frame")
    header = packets.header
    facts = replace(decoded.facts, interlaced=decoded.interlaced)
    times = _times(packets, stamps)
    places: dict[int, int | None] = {}
    for place, stamp in enumerate(stamps):
        places[stamp] = None if stamp in places else place
    found = (places.get(stamp) for stamp in packets.entries)
    keys = tuple(sorted({place for place in found if place is not None})) if not packets.counted else ()
    first = packets.first_key[0] if packets.first_key is not None else packets.start
    return FilmTable(
        header=header,
        facts=facts,
        rate=_rate(header, times),
        stamps=tuple(stamps),
        times=tuple(times),
        keys=keys,
        start=None if packets.counted else first,
        warning=warning,
    )


def _times(packets: _Packets, stamps: Sequence[int]) -> list[int]:
    """When each frame is shown, strictly ascending: frames of one time follow each other by one tick."""
    clock = sorted(time for time in packets.clock if time is not None)
    if packets.counted and len(clock) == len(stamps):
        wanted: Sequence[int] = clock
    elif packets.counted:
        ticks = 1 / (packets.header.rate * packets.header.time_base)
        wanted = [round(number * ticks) for number in range(len(stamps))]
    else:
        wanted = sorted(stamps)
    times: list[int] = []
    for time in wanted:
        times.append(time if not times or time > times[-1] else times[-1] + 1)
    return times


def _rate(header: VideoHeader, times: Sequence[int]) -> Fraction:
    """Frames a second on average; the container's word where the times bear it out."""
    if len(times) < 2 or times[-1] <= times[0]:
        return header.rate if 0 < header.rate <= 1000 else Fraction(25)
    average = (len(times) - 1) / ((times[-1] - times[0]) * header.time_base)
    if abs(average - header.rate) <= _SAME_RATE * average:
        return header.rate
    return average.limit_denominator(1001) if average > 1 else average.limit_denominator(100_000)
