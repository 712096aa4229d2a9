"""Which frames a film has, and when each is shown: one pass over its packets, proved on the first frames.

Packets say it where every packet has a timestamp and the decoder agrees with them on the first frames. Where it does
not (fields in packets of their own, B-frames without times, raw streams, a cut file), the film is decoded once to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.film import VideoParams
from farm.media.video.read.packet_table import PacketTable, read_packets
from farm.media.video.read.proof import Proof, decode_film, proved_stamps
from farm.media.video.read.structure import judged
from farm.media.video.read.tail import tail_sign
from farm.media.video.values import FilmTable, VideoHeader

_PROVED_FRAMES = 24
"""first frames whose times must be what the packets say"""
_JUMP_S = 1
"""timestamps of keyframes that go back by more than this are another clock's"""
_NEAR = 3
"""frames between a gap and the packet that tells of it: they lie in the order of decoding"""
_AROUND, _GAP = 25, 1.9
"""a gap is so many times the longest step of so many frames before and behind it"""
_WITH_DURATION = frozenset({"matroska", "webm", "flv", "asf", "mxf"})
"""containers that say in their heads how long the film is"""
_SAME_RATE = Fraction(1, 200)
_SLOWEST, _FASTEST = Fraction(1, 100_000), Fraction(100_000)
"""frames a second that encoders are told at least and at most; frames keep their times"""


def read_table(source: BinaryIO, url: str, params: VideoParams) -> FilmTable:
    """Every frame of the film; nothing but its beginning is decoded where packets can be believed.

    Raises:
        ItemError: as `read_packets` and `structure.judged`; NO_FRAMES; TRUNCATED for a cut file unless `params.salvage`
            is set; UNSUPPORTED for pixel formats that are not read and for times that jump back.
    """
    packets = read_packets(source, url)
    sign = judged(packets.header.container, source, url)
    if not packets.stamps:
        raise _no_frames(packets, sign, url)
    sign = sign or tail_sign(source, packets, url)
    if sign:
        return _cut_table(source, packets, sign, url, params)
    _check_jumps(packets, url)
    lost = _lost(packets, url, params)
    proof = decode_film(source, packets, url, _PROVED_FRAMES)
    if proof.facts is None:
        proof = decode_film(source, packets, url, None)
        if proof.facts is None:
            found = f"none of its {len(packets.stamps)} frames can be decoded"
            raise ItemError(ErrorKind.DECODE_ERRORS, url, found, "copy it again, or leave it out")
    doubtful = packets.counted or packets.splices or packets.skipping
    known = None if doubtful else proved_stamps(packets, proof)
    if known is None:
        proof = decode_film(source, packets, url, None)
        known = list(proof.stamps)
    return _table(packets, proof, known, lost=lost, doubt=_seams(packets))


def _lost(packets: PacketTable, url: str, params: VideoParams) -> str | None:
    """What the container has lost within the file: an error, or the warning where that is allowed."""
    missing = (
        (packets.declared or 0) - len(packets.stamps) - packets.empty
        if packets.header.container.startswith("mov")
        else 0
    )
    failures = packets.failures + len(_gaps(packets))
    if not failures and missing <= 0:
        return None
    places = max(failures, 1)
    found = f"the container is damaged in {places} place{'s' * (places > 1)}"
    if missing > 0:
        found = f"{len(packets.stamps)} of {packets.declared} frames are there; {found}"
    if params.allow_damaged:
        return f"{found}; what it lost is not in the output"
    advice = "copy it again, or go on with what is there with --allow-damaged"
    raise ItemError(ErrorKind.DECODE_ERRORS, url, found, advice)


def _gaps(packets: PacketTable) -> list[int]:
    """Packets of which the demuxer knows that something is missing there, and beside which frames are.

    Recordings that were joined begin with an entry after whatever pause, and where rates vary a step is no gap.
    """
    if not packets.corrupt or packets.counted:
        return []
    shown, entries = sorted(packets.stamps), set(packets.entries)
    steps = [after - before for before, after in pairwise(shown)]
    found: list[int] = []
    for place, step in enumerate(steps):
        told = packets.corrupt.intersection(shown[max(0, place - _NEAR) : place + 2 + _NEAR])
        if not told or not entries.isdisjoint(shown[place + 1 : place + 2 + _NEAR]):
            continue
        around = steps[max(0, place - _AROUND) : place] + steps[place + 1 : place + 1 + _AROUND]
        if around and step >= _GAP * max(around):
            found.append(min(told))
    return found


def _seams(packets: PacketTable) -> str | None:
    """What is said where the demuxer missed packets, and no frame is."""
    doubtful = sorted(packets.corrupt - set(_gaps(packets)))
    if not doubtful:
        return None
    places = f"{len(doubtful)} place{'s' * (len(doubtful) > 1)}"
    if not packets.counted:
        places += f", first after {float((doubtful[0] - min(packets.stamps)) * packets.header.time_base):.1f} s"
    return f"its packets do not follow each other in {places}: joined there, or something was lost on the way"


def _no_frames(packets: PacketTable, sign: str | None, url: str) -> ItemError:
    if packets.header.container.startswith("mov") and packets.declared and packets.start is None:
        sign = sign or "nothing is there of what its index names"
    if sign:
        found = f"0{_of(packets)} frames decodable; {sign}"
        return ItemError(ErrorKind.TRUNCATED, url, found, "copy it again")
    return ItemError(ErrorKind.NO_FRAMES, url, "its video stream has no frames", "leave the file out of the manifest")


def _of(packets: PacketTable) -> str:
    """How many frames there should be, as far as anything says so."""
    if packets.declared:
        return f" of {packets.declared}"
    header = packets.header
    if header.duration_s and header.duration_s > 0 and _WITH_DURATION.intersection(header.container.split(",")):
        return f" of about {round(header.duration_s * float(header.rate))}"
    return ""


def _cut_table(source: BinaryIO, packets: PacketTable, sign: str, url: str, params: VideoParams) -> FilmTable:
    """What is left of a cut file, found by decoding all of it: the frames that are whole."""
    decoded = decode_film(source, packets, url, None)
    whole = [
        stamp
        for stamp, sound in zip(decoded.stamps, decoded.whole, strict=True)
        if sound and stamp not in packets.corrupt
    ]
    found = f"{len(whole)}{_of(packets)} frames decodable; {sign}"
    if not whole or not params.salvage:
        advice = "copy it again, or keep what it still holds with --salvage" if whole else "copy it again"
        raise ItemError(ErrorKind.TRUNCATED, url, found, advice)
    return _table(packets, decoded, whole, lost=f"the file is cut: {found}")


def _check_jumps(packets: PacketTable, url: str) -> None:
    """Refuse films whose clock starts anew within them: one timestamp would name several frames."""
    ticks = _JUMP_S / packets.header.time_base
    for before, after in zip(packets.entries, packets.entries[1:], strict=False):
        if before - after > ticks:
            found = f"timestamps of its keyframes jump back, from {before} to {after}"
            advice = "remux it with one clock first, such as with ffmpeg -fflags +genpts -c copy"
            raise ItemError(ErrorKind.UNSUPPORTED, url, found, advice)


def _table(
    packets: PacketTable, decoded: Proof, stamps: list[int], lost: str | None, doubt: str | None = None
) -> FilmTable:
    """`lost`: of the film; `doubt`: what may be, and is said alone."""
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
        warning="; ".join(filter(None, (lost, doubt))) or None,
        lacking=lost is not None,
    )


def _times(packets: PacketTable, stamps: Sequence[int]) -> list[int]:
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
    if _SLOWEST <= header.rate <= _FASTEST and abs(average - header.rate) <= _SAME_RATE * average:
        return header.rate
    average = max(_SLOWEST, min(average, _FASTEST))
    return average.limit_denominator(1001) if average > 1 else average.limit_denominator(_SLOWEST.denominator)
