"""What is beside the restored video is copied to its end where streams begin late, times step back, or FFmpeg errs."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.write import late
from farm.media.video.write.join import join_film
from farm.media.video.write.tracks import CopiedTrack
from farm.media.video.write.trial import first_refused
from tests.farm.media.films import ffmpeg, openers, pieces_of, read, through, video_params
from tests.farm.media.joined import FAST, PICTURE, X264, check_video, lavfi, packets, streams

MP2 = ("-c:a", "mp2", "-b:a", "64k")


def joined(path: Path, *parts: Path) -> Path:
    """Recordings one after the other in one file."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def sounds(path: Path) -> list[list[bytes]]:
    """Packets of every sound, those of streams that begin late too."""
    look = {"probesize": "50000000", "analyzeduration": "99000000", "scan_all_pmts": "1"}
    with av.open(str(path), container_options=look) as container:
        kept: dict[int, list[bytes]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(container.streams.audio):
            if packet.size:
                kept[packet.stream_index].append(bytes(packet))
        return list(kept.values())


def recording(place: Path, suffix: str, first_s: int, video: tuple[str, ...]) -> Path:
    """A film whose second part alone has a second sound; FFmpeg also looks at the last 250 000 bytes of a file."""
    noise = lavfi("testsrc2=s=160x96:r=25,noise=alls=100:allf=t", 1)
    parts = (
        (lavfi("testsrc2=s=160x96:r=25", first_s), first_s, 1, 0.0),
        (lavfi("testsrc2=s=160x96:r=25"), 1, 2, first_s + 0.6),
        (noise, 1, 1, first_s + 1.7),
    )
    made: list[Path] = []
    for number, (picture, seconds, count, start) in enumerate(parts):
        tones = [lavfi(f"sine={220 * (tone + 1)}:r=48000", seconds) for tone in range(count)]
        mapped = [word for index in range(count + 1) for word in ("-map", str(index))]
        made.append(
            ffmpeg(
                place / f"{number}.{suffix}",
                *(*picture, *(word for tone in tones for word in tone), *mapped, *video),
                *("-c:a", "mp2", "-b:a", "64k", "-output_ts_offset", str(start)),
            )
        )
    assert made[-1].stat().st_size > 300_000
    return joined(place / f"in.{suffix}", *made)


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream."""
    return recording(tmp_path_factory.mktemp("broadcast"), "ts", 2, (*X264, "-bf", "0", "-qp", "12"))


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program stream."""
    return recording(tmp_path_factory.mktemp("disc"), "mpg", 9, ("-c:v", "mpeg2video", "-bf", "0", "-q:v", "1"))


@pytest.mark.parametrize("film", ["broadcast", "disc"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_stream_that_begins_late_is_copied(
    film: str, suffix: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path, out = request.getfixturevalue(film), tmp_path / f"out.{suffix}"
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1, "FFmpeg does not see it as it opens the file"
    source, warning = through(path, out, **FAST)
    assert warning is None
    check_video(out, source)
    wanted = sounds(path)
    assert [len(one) > 30 for one in wanted] == [True, True]
    assert sounds(out) == wanted


@pytest.mark.parametrize("film", ["broadcast", "disc"])
@pytest.mark.parametrize("audio", ["copy", "transcode"])
def test_a_stream_that_begins_later_than_is_looked_for_is_told_of(
    film: str, audio: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "_LOOK", {})
    path, out = request.getfixturevalue(film), tmp_path / "out.mkv"
    source, warning = through(path, out, audio=audio, **FAST)
    assert warning == "a stream that begins late in the source is left out"
    check_video(out, source)
    if audio == "copy":
        assert sounds(out) == sounds(path)[:1]
    else:
        assert packets(out, 1)[-1][0] > packets(path, 1)[-1][0] - Fraction(1, 10)


def test_a_refused_packet_of_the_film_is_no_other_streams_fault(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *lavfi("sine=440:r=48000"), *X264, *MP2)
    with av.open(str(path)) as source:
        assert first_refused(source, "mp4", []) is None


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
@pytest.mark.parametrize("lenient", [False, True])
def test_sound_of_two_recordings_that_overlap_is_copied_whole(suffix: str, lenient: bool, tmp_path: Path) -> None:
    parts = [
        ffmpeg(
            tmp_path / f"{number}.ts",
            *(*lavfi("testsrc2=s=160x96:r=24", 0.875), *lavfi("sine=440:r=48000"), *X264, "-bf", "0", *MP2),
            *("-output_ts_offset", start),
        )
        for number, start in enumerate(("0", "0.9"))
    ]
    path, out = joined(tmp_path / "in.ts", *parts), tmp_path / f"out.{suffix}"
    source, warning = through(path, out, allow_damaged=lenient, **FAST)
    assert warning is not None
    assert warning.startswith("4 packets of stream 1 (audio, mp2), whose times step back, are up to ")
    assert warning.count("step back") == 1
    assert 50 < int(warning.split()[-3]) < 150
    check_video(out, source)
    assert sounds(out) == sounds(path)


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("mkv", None),
        ("mp4", "2 packets of stream 1 (audio, mp2), whose times step back, are up to 1 ms later"),
    ],
)
def test_sound_whose_times_repeat_is_copied_whole(suffix: str, said: str | None, tmp_path: Path) -> None:
    plain = ffmpeg(tmp_path / "plain.mkv", *PICTURE, *lavfi("sine=440:r=48000"), *X264, "-bf", "0", *MP2)
    path, out = tmp_path / "in.mkv", tmp_path / f"out.{suffix}"
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        targets = [output.add_stream_from_template(one, opaque=True) for one in source.streams]
        heard, before = 0, 0
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream_index == 1:
                heard += 1
                if heard in (10, 20):
                    packet.pts = packet.dts = before
                before = packet.dts or 0
            packet.stream = targets[packet.stream_index]
            output.mux(packet)
    _, warning = through(path, out, **FAST)
    assert warning == said
    assert sounds(out) == sounds(path) == sounds(plain)


def copied(track: CopiedTrack, *times: int) -> list[int | None]:
    """Decode times in milliseconds of packets that a track made of those of these times."""
    made: list[int | None] = []
    for time in times:
        packet = av.Packet(b"x")
        packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), time, time
        made += [one.dts for one in track.send(packet)]
    return made


def test_times_that_step_far_back_are_left_as_they_are() -> None:
    with av.open(io.BytesIO(), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=48000)
        output.start_encoding()
        track = CopiedTrack(stream, "sound")
        assert copied(track, 0, 4000, 4000, 3500, 4500) == [0, 4000, 4001, 4002, 4500]
        assert (track.moved, track.furthest) == (2, Fraction(502, 1000))
        assert copied(track, 2000, 4000, 4499, 4501, 4501) == [2000, 4000, 4499, 4501, 4502], "no pile at the seam"
        assert track.moved == 3


@pytest.fixture(scope="module")
def server_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GXF with sound."""
    return ffmpeg(
        tmp_path_factory.mktemp("server") / "in.gxf",
        *(*lavfi("testsrc2=s=720x576:r=25", 2), *lavfi("sine=440:r=48000", 2)),
        *("-c:v", "mpeg2video", "-b:v", "2M", "-bf", "0", "-c:a", "pcm_s16le", "-ac", "1"),
    )


def test_the_end_of_a_gxf_is_no_damage(server_film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    through(server_film, out, **FAST)
    assert [one["codec_name"] for one in streams(out, "audio")] == ["pcm_s16le"]
    assert sounds(out) == sounds(server_film)


def test_damage_of_a_gxf_is_not_its_end(server_film: Path, tmp_path: Path) -> None:
    params = video_params(container="mkv", **FAST)
    source = read(server_film, params)
    data = bytearray(server_film.read_bytes())
    with av.open(str(server_film)) as container:
        at = [packet.pos for packet in container.demux() if packet.size and packet.pos is not None][5]
    data[at - 64 : at + 64] = b"\x55" * 128
    with pytest.raises(ItemError, match="its other streams cannot be read to the end") as caught:
        join_film(
            io.BytesIO(data),
            "film",
            source.film,
            source.pts,
            params,
            openers(pieces_of(source, ())),
            io.BytesIO(),
            None,
        )
    assert caught.value.kind is ErrorKind.CORRUPT
