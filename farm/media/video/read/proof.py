"""Do packets tell the truth? The film, or its beginning, as a decoder shows it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO

from av.error import FFmpegError

from farm.media.video.faults import check_memory
from farm.media.video.read.decoder import FrameSource
from farm.media.video.read.facts import frame_facts
from farm.media.video.read.packet_table import PacketTable
from farm.media.video.read.source import film_stream, opened
from farm.media.video.values import FrameFacts, VideoHeader

_ONE_TO_ONE = frozenset({"h264", "hevc", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "prores", "mjpeg", "ffv1"})
"""codecs of which each packet makes one frame, but for fields"""
_LOST_SHARE = Fraction(1, 4)
"""of the first frames that may be missing in any order; of more it is the packets that are not believed, where every
so many of them make a frame"""
_STEPS = range(2, 5)
"""packets of a frame, then"""


@dataclass(slots=True)
class Proof:
    """What a decoder made of the film or of its beginning."""

    stamps: list[int] = field(default_factory=list[int])
    """in the order in which frames came"""
    whole: list[bool] = field(default_factory=list[bool])
    facts: FrameFacts | None = None
    interlaced: bool = False
    damaged: bool = False
    """whether anything was"""


def decode_film(source: BinaryIO, packets: PacketTable, url: str, limit: int | None) -> Proof:
    """Decode from the start of the file, up to `limit` frames.

    Raises:
        ItemError: UNSUPPORTED for frames that are not read.
    """
    decoded = Proof()
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
        except (FFmpegError, ValueError) as error:
            check_memory(error)
            frame = None
        if frame is None:
            return facts
        told = frame_facts(frame, stream, header.codec, url)
    return replace(told, layout=replace(told.layout, alpha=facts.layout.alpha), pix_fmt=facts.pix_fmt)


def proved_stamps(packets: PacketTable, proof: Proof) -> list[int] | None:
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
    orderly = got == [stamp for stamp in behind if stamp in set(got)]
    one_to_one = packets.header.codec in _ONE_TO_ONE and not proof.interlaced
    few = len(behind) - len(got) <= _LOST_SHARE * len(behind)
    return shown if orderly and one_to_one and (few or _is_loss(packets, behind, got)) else None  # told of later


def _is_loss(packets: PacketTable, behind: Sequence[int], got: Sequence[int]) -> bool:
    """Whether many frames are missing, and not because a film begins amid its groups or has fields in packets.

    Points where a refresh ends count as keyframes, but not as entries: what is before them has nothing to build on.
    """
    begins = packets.first_key is not None and packets.first_key[0] in packets.entries
    begins = begins or got[:1] == behind[:1]
    return begins and not _is_regular(behind, got)


def _is_regular(behind: Sequence[int], got: Sequence[int]) -> bool:
    """Whether every so many packets make a frame, as fields in packets of their own do."""
    return any(list(got) == list(behind[start::step]) for step in _STEPS for start in range(step))
