"""Packets of a film's other streams, read once from its source; what is damaged is left out or ends the film."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction

from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard

from farm.errors import ErrorKind, ItemError
from farm.media.video.faults import check_memory
from farm.media.video.write.late import demuxed, late_streams
from farm.media.video.write.streams import Others
from farm.media.video.write.tracks import AnyPacket, CopiedTrack, Track

_READ_FAILURES = 16
"""reads that may fail one after the other before the rest of a damaged file is given up"""
_ADVICE = "copy it again, or go on without what is damaged with --allow-damaged"


def other_packets(
    source: InputContainer, url: str, others: Others, shift: Fraction
) -> Iterator[tuple[Fraction, AnyPacket]]:
    """(decode time in seconds, packet) of all tracks, in the order of the source's file.

    Args:
        others: has the tracks, and receives warnings.
        shift: seconds that everything in the output is later.

    Raises:
        EncodingError: an encoder refuses.
        ItemError: DECODE_ERRORS or CORRUPT for what is damaged, unless `others` is lenient.
    """
    if not others.tracks:
        return
    now = Fraction(0)
    for packet in _read(source, url, others):
        track = others.tracks[packet.stream_index]
        time = None if packet.pts is None else packet.pts * packet.time_base
        for made in track.send(packet):
            now = _shifted(made, shift, now)
            yield now, made
        _judge(track, time, url, others)
    for track in others.tracks.values():
        for made in track.flush():
            now = _shifted(made, shift, now)
            yield now, made
        _judge(track, None, url, others)
        _tell(track, others)
    if late_streams(source):
        others.warnings.append("a stream that begins late in the source is left out")


def damaged_packet(url: str, name: str, time: Fraction | None) -> ItemError:
    """The error of a packet that is damaged.

    Args:
        name: of its stream.
        time: in seconds; None: it has none.
    """
    place = "" if time is None else f" at {float(time):.3f} s"
    return ItemError(ErrorKind.DECODE_ERRORS, url, f"a packet of {name}{place} is damaged", _ADVICE)


def _tell(track: Track, others: Others) -> None:
    """What a person should know of a track that has come to its end."""
    if track.damaged:
        others.lacking = True
        packets = "1 damaged packet" if track.damaged == 1 else f"{track.damaged} damaged packets"
        verb = "is" if track.damaged == 1 else "are"
        others.warnings.append(f"{packets} of {track.name} {verb} {track.instead}")
    if isinstance(track, CopiedTrack) and track.moved:
        packets = "1 packet" if track.moved == 1 else f"{track.moved} packets"
        verb = "is" if track.moved == 1 else "are"
        most = max(round(track.furthest * 1000), 1)
        others.warnings.append(f"{packets} of {track.name}, whose times step back, {verb} up to {most} ms later")


def _judge(track: Track, time: Fraction | None, url: str, others: Others) -> None:
    if track.damaged and not others.lenient:
        raise damaged_packet(url, track.name, time)


def _read(source: InputContainer, url: str, others: Others) -> Iterator[AnyPacket]:
    """Packets of the tracks; after a damaged place those that come behind it."""
    wanted = [source.streams[index] for index in others.tracks]
    for stream in source.streams:
        if stream.index not in others.tracks:
            stream.discard = Discard.all  # demuxers with an index then leave out the bytes
    in_a_row, failed = 0, None
    while in_a_row < _READ_FAILURES:
        try:
            for packet in demuxed(source, wanted):
                if packet.size or packet.pts is not None or packet.dts is not None:  # else that this was all
                    if failed is not None and not others.lenient:
                        raise _unreadable(url, failed) from failed
                    in_a_row = 0
                    yield packet
            return
        except FFmpegError as error:
            check_memory(error)
            if not others.lenient and (failed is not None or not _may_end(source, error)):
                raise _unreadable(url, error) from error
            in_a_row, failed = in_a_row + 1, error
    others.lacking = True
    others.warnings.append("the other streams end where the source is damaged")


def _unreadable(url: str, error: FFmpegError) -> ItemError:
    found = f"its other streams cannot be read to the end ({str(error)[:200]})"
    return ItemError(ErrorKind.CORRUPT, url, found, _ADVICE)


def _may_end(source: InputContainer, error: FFmpegError) -> bool:
    """Whether that is how FFmpeg's demuxer of GXF ends, by -1: it was the end where the next read finds nothing."""
    return source.format.name == "gxf" and error.errno == errno.EPERM


def _shifted(packet: AnyPacket, shift: Fraction, before: Fraction) -> Fraction:
    """Move a packet by so many seconds; its decode time, or that of the packet before where it has none."""
    if shift and packet.pts is not None and packet.dts is not None:
        ticks = round(shift / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return before if packet.dts is None else packet.dts * packet.time_base
