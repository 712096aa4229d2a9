"""The shape of samples in Matroska and WebM, written into the finished file.

FFmpeg's muxer takes it from a field of the stream that PyAV does not let one set, and AV1, VP9, FFV1 and ProRes have no
place in their bitstreams that is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import BinaryIO

from farm.media.video.ebml import SEGMENT, VOID, Element, children, element

_HEADER_BYTES = 1 << 20
"""Matroska's description of the tracks lies within so much of the beginning; parameter sets take a few kB"""
_SEEK_HEAD, _SEEK_POSITION, _TRACKS, _TRACK, _VIDEO = 0x114D9B74, 0x53AC, 0x1654AE6B, 0xAE, 0xE0
_WIDTH, _HEIGHT, _SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT = 0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2
_RATIO = b"\3"
"""DisplayUnit: width and height shown are a ratio, not pixels"""


def write_display_size(file: BinaryIO, sample_aspect: Fraction, rank: int) -> None:
    """Write how wide and high a video track is shown.

    Args:
        file: a Matroska or WebM file as FFmpeg's muxer wrote it; seekable, for reading and writing.
        rank: video tracks before that one.

    Raises:
        ValueError: the file has no such track, or no room.
    """
    file.seek(0)
    changed = with_display_size(file.read(_HEADER_BYTES), sample_aspect, rank)
    file.seek(0)
    file.write(changed)
    file.seek(0, 2)


def with_display_size(head: bytes, sample_aspect: Fraction, rank: int) -> bytes:
    """The beginning of a file with the size that one of its video tracks is shown in; of the same length.

    The Tracks grow towards the front, into the room that FFmpeg's muxer keeps free after its list of places.
    """
    segment = _first(children(head, 0, len(head)), SEGMENT)
    parts = [part for part in children(head, segment.content, len(head)) if part.at < len(head)]
    tracks, room = _first(parts, _TRACKS), _first(parts, VOID)
    grown = _grown(head, tracks, sample_aspect, rank)
    more = len(grown) - (tracks.end - tracks.at)
    free = room.end - room.at - more
    if free < 9 or room.at > tracks.at:
        raise ValueError("no room for the size that the film is shown in")
    moved = {part.at - segment.content for part in parts if room.at < part.at <= tracks.at}
    front = _with_places(head[: room.at], segment, moved, more)
    return front + element(VOID, bytes(free - 9)) + head[room.end : tracks.at] + grown + head[tracks.end :]


def _first(parts: Iterable[Element], name: int) -> Element:
    found = next((part for part in parts if part.name == name), None)
    if found is None:
        raise ValueError(f"no element {name:#x} where FFmpeg writes it")
    return found


def _grown(head: bytes, tracks: Element, sample_aspect: Fraction, rank: int) -> bytes:
    """The Tracks with the size shown in one of those that have a Video element."""
    before = 0
    for track in children(head, tracks.content, tracks.end):
        for video in children(head, track.content, track.end) if track.name == _TRACK else ():
            before += video.name == _VIDEO
            if video.name == _VIDEO and before > rank:
                inner = _video(head, video, sample_aspect)
                entry = head[track.content : video.at] + _element(_VIDEO, inner) + head[video.end : track.end]
                return _element(
                    _TRACKS, head[tracks.content : track.at] + _element(_TRACK, entry) + head[track.end : tracks.end]
                )
    raise ValueError("no video track")


def _video(head: bytes, video: Element, sample_aspect: Fraction) -> bytes:
    """The content of the Video element: in pixels where the width is whole, else as the ratio of the sides."""
    parts = list(children(head, video.content, video.end))
    width, height = (
        int.from_bytes(head[part.content : part.end], "big")
        for name in (_WIDTH, _HEIGHT)
        for part in parts
        if part.name == name
    )
    shown = width * sample_aspect
    ratio = shown / height
    across, down = (shown.numerator, height) if shown.denominator == 1 else (ratio.numerator, ratio.denominator)
    kept = b"".join(
        head[part.at : part.end] for part in parts if part.name not in (_SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT)
    )
    unit = b"" if shown.denominator == 1 else _element(_SHOWN_UNIT, _RATIO)
    return kept + _element(_SHOWN_WIDTH, _number(across)) + _element(_SHOWN_HEIGHT, _number(down)) + unit


def _with_places(front: bytes, segment: Element, moved: set[int], by: int) -> bytes:
    """What stands before the room, with the places of parts in its list that have moved towards the front."""
    changed = bytearray(front)
    for part in children(front, segment.content, len(front)):
        if part.name != _SEEK_HEAD:
            continue
        for entry in children(front, part.content, part.end):
            for field in children(front, entry.content, entry.end):
                place = int.from_bytes(front[field.content : field.end], "big")
                if field.name == _SEEK_POSITION and place in moved:
                    changed[field.content : field.end] = (place - by).to_bytes(field.end - field.content, "big")
    return bytes(changed)


def _element(name: int, data: bytes) -> bytes:
    """With a size of no more bytes than it needs."""
    return element(name, data, -(-(len(data) + 1).bit_length() // 7))


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")
