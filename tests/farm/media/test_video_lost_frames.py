"""Frames that are lost in the middle of a film are missed, whoever does not tell: a decoder or a demuxer."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.read.packet_table import PacketTable
from farm.media.video.read.proof import Proof, proved_stamps
from farm.media.video.values import VideoHeader
from tests.clips import X265, clip, h264, remuxed, sequential
from tests.farm.media.test_video_table import table_of

PACKET = 188
FRAMES = 50


def stamps_of(data: bytes) -> list[int]:
    """As the packets say."""
    with av.open(io.BytesIO(data)) as container:
        return sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)


def decoded_count(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for packet in container.demux(video=0) for _ in quietly(packet))


def quietly(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []


@pytest.mark.parametrize("number", [0, 1])
def test_frames_that_a_damaged_slice_of_hevc_takes_along_are_frames(number: int) -> None:
    """FFmpeg shows none of the group and says so in its log alone."""
    whole = clip("libx265", "matroska", options={"x265-params": X265 + ":keyint=12:bframes=2"}, frames=FRAMES)
    with av.open(io.BytesIO(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe][number]
        assert packet.pos is not None
        start = whole.index(bytes(packet), packet.pos)
        size = packet.size
    data = bytearray(whole)
    for at in range(start + size // 100, start + size // 20):
        data[at] ^= 0xA5
    assert decoded_count(bytes(data)) < FRAMES
    assert list(table_of(bytes(data)).stamps) == stamps_of(whole)


def proved(stamps: list[int], got: list[int], *, codec: str = "hevc", key: bool = True) -> list[int] | None:
    rate = Fraction(25)
    header = VideoHeader(
        container="mov",
        stream_index=0,
        codec=codec,
        width=2,
        height=2,
        pix_fmt="yuv420p",
        time_base=1 / rate,
        rate=rate,
        frames=None,
        duration_s=None,
    )
    packets = PacketTable(header=header, counted=False, stamps=stamps, entries=stamps[:1] if key else [])
    packets.first_key = (stamps[0], 0)
    return proved_stamps(packets, Proof(stamps=got))


def test_packets_are_believed_where_frames_are_missing_and_not_where_several_make_a_frame() -> None:
    packets = list(range(24))
    assert proved(packets, packets) == packets
    assert proved(packets, packets[:9] + packets[20:]) == packets, "more than half is lost"
    assert proved(packets, packets[15:]) == packets, "the first keyframe, too"
    assert proved(packets, packets[::2]) is None, "fields"
    assert proved(packets, packets[1::3]) is None
    assert proved(packets, packets[::2], codec="mpeg2video") is None
    assert proved(packets, packets[15:], key=False) is None, "a keyframe that nothing starts from"


def transport(skip: range) -> bytes:
    """A film of three seconds without some of its packets."""
    return b"".join(
        part
        for at, part in enumerate(split(h264("mpegts", "bframes=2:keyint=75:scenecut=0", frames=75)))
        if at not in skip
    )


def split(data: bytes) -> list[bytes]:
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def test_packets_that_a_transport_stream_has_lost_are_damage() -> None:
    whole = transport(range(0))
    half = len(whole) // PACKET // 2
    data = transport(range(half, half + 100))
    assert 55 < len(stamps_of(data)) < 74
    with pytest.raises(ItemError) as caught:
        table_of(data)
    assert caught.value.kind is ErrorKind.DECODE_ERRORS
    assert "the container is damaged in 1 place" in caught.value.found
    table = table_of(data, allow_damaged=True)
    assert table.lacking
    assert "what it lost is not in the output" in str(table.warning)


def test_recordings_that_were_joined_are_whole_and_it_is_said() -> None:
    """Their packets are numbered anew from where the second begins."""
    table = table_of(rejoined(transport(range(0))))
    assert list(table.stamps) == list(table_of(transport(range(0))).stamps)
    assert not table.lacking
    assert "do not follow each other in 1 place, first after" in str(table.warning)
    assert table_of(transport(range(0))).warning is None


def rejoined(data: bytes) -> bytes:
    """The same packets, numbered anew from the middle on, amid a group."""
    parts = [bytearray(part) for part in split(data)]
    firsts = [
        at for at, part in enumerate(parts) if part[1] & 0x40 and int.from_bytes(part[1:3], "big") & 0x1FFF == 256
    ]
    for part in parts[firsts[len(firsts) // 2] :]:
        part[3] = part[3] & 0xF0 | (part[3] + 5) & 0x0F
    return b"".join(parts)


@pytest.mark.parametrize("steps", [(1, 1, 1, 2), (1, 1, 1, 1, 1, 1, 1, 1, 1, 2), (2, 3)])
def test_frames_whose_steps_vary_are_not_missing_where_packets_do_not_follow_each_other(steps: tuple[int, ...]) -> None:
    times = [1800 * sum(steps[at % len(steps)] for at in range(number)) for number in range(60)]
    data = h264("mpegts", "bframes=0:keyint=60:scenecut=0", frames=60, times=times)
    table = table_of(rejoined(data))
    assert list(table.stamps) == list(table_of(data).stamps)
    assert not table.lacking
    assert "do not follow each other" in str(table.warning)


def test_leading_frames_that_hevc_lost_condemn_no_others() -> None:
    """Packets before a keyframe of an open group are cut out: what leads it refers to them, all else is whole."""
    options = {"x265-params": X265 + ":open-gop=1:keyint=20:min-keyint=20:bframes=2:scenecut=0"}
    whole = clip("libx265", "mpegts", options=options, frames=60)
    with av.open(io.BytesIO(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
    gone = set(range(keys[-1] - 6, keys[-1]))
    numbers = iter(range(len(packets)))
    cut = remuxed(whole, "mpegts", lambda _: next(numbers) not in gone)
    table = table_of(cut)
    assert len(table.stamps) == 54
    assert table.warning is None


def test_a_film_that_begins_amid_a_refresh_begins_where_it_is_over() -> None:
    options = "intra-refresh=1:keyint=40:bframes=0"
    whole = h264("mpegts", options, frames=120, size=(320, 32))
    parts = split(whole)
    data = b"".join(parts[:3] + parts[3 + len(parts) // 4 :])
    assert list(table_of(data).stamps) == [time for time, _ in sequential(data)]
