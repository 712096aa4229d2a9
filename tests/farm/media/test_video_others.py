"""What is beside the restored video is copied bit for bit where it goes in, and what is damaged is told."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.write.audio import _encoder
from tests.farm.media.films import ffmpeg, through
from tests.farm.media.joined import FAST, PICTURE, X264, check_copied, check_video, lavfi, packets, streams


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("pcm_alaw", "mov"),
        ("pcm_mulaw", "avi"),
        ("pcm_s16le", "avi"),
        ("adpcm_ms", "avi"),
        ("adpcm_ima_wav", "avi"),
        ("adpcm_yamaha", "avi"),
        ("wmav1", "asf"),
        ("wmav2", "asf"),
        ("libgsm_ms", "avi"),
    ],
)
def test_sound_that_matroska_holds_under_microsofts_names_is_copied(codec: str, suffix: str, tmp_path: Path) -> None:
    rate = "8000" if "gsm" in codec else "44100"
    path = ffmpeg(
        tmp_path / f"in.{suffix}",
        *(*PICTURE, *lavfi(f"sine=440:r={rate}"), *X264, "-bf", "0", "-strict", "-2", "-c:a", codec),
    )
    out = tmp_path / "out.mkv"
    _, warning = through(path, out, **FAST)
    assert warning is None
    check_copied(out, path, "audio")
    samples = [ffmpeg(tmp_path / f"{one.stem}.raw", "-i", str(one), "-vn", "-f", "s16le") for one in (path, out)]
    assert samples[0].read_bytes() == samples[1].read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
def test_sound_that_a_container_does_not_hold_is_encoded_anew(suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.avi", *PICTURE, *lavfi("sine=440:r=44100"), *X264, "-bf", "0", "-c:a", "adpcm_ms")
    _, warning = through(path, tmp_path / f"out.{suffix}", **({} if suffix == "webm" else FAST))
    assert warning == f"stream 1 (audio, adpcm_ms) does not go into {suffix} and is encoded anew"


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_plain_samples_whose_channels_nobody_names_are_copied(suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(
        tmp_path / "in.avi",
        *(*PICTURE, *lavfi("sine=440:r=48000"), *X264, "-bf", "0", "-c:a", "pcm_s16le", "-ac", "2"),
    )
    out = tmp_path / f"out.{suffix}"
    _, warning = through(path, out, **FAST)
    assert warning is None
    assert b"".join(sounds(out)[0]) == b"".join(sounds(path)[0])


def test_another_video_of_an_old_codec_is_copied(tmp_path: Path) -> None:
    path = ffmpeg(
        tmp_path / "in.avi",
        *(*PICTURE, *lavfi("testsrc2=s=64x48:r=24"), "-map", "0", "-map", "1", *X264, "-bf", "0"),
        *("-c:v:1", "msmpeg4v2", "-disposition:v:0", "default"),
    )
    out = tmp_path / "out.mkv"
    _, warning = through(path, out, **FAST)
    assert warning == "stream 1 (video, msmpeg4v2) is copied, not restored"
    assert [digest for _, digest in packets(out, 1)] == [digest for _, digest in packets(path, 1)]
    assert streams(out, "video")[1]["codec_name"] == "msmpeg4v2"


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream with two sounds in ADTS."""
    return ffmpeg(
        tmp_path_factory.mktemp("broadcast") / "in.ts",
        *(*PICTURE, *lavfi("sine=440:r=44100"), *lavfi("sine=220:r=44100"), "-map", "0", "-map", "1", "-map", "2"),
        *(*X264, "-bf", "0", "-c:a", "aac", "-metadata:s:a:1", "language=deu"),
    )


def spoilt(path: Path, out: Path, stream: int, *numbers: int, inside: bool = False) -> Path:
    """The film with a sample rate that does not exist in the headers of some of a stream's packets of ADTS.

    Args:
        inside: the headers are whole, and what follows them is nonsense.
    """
    with av.open(str(path)) as source, av.open(str(out), "w", format="mpegts") as output:
        for one in source.streams:
            output.add_stream_from_template(one, opaque=True).metadata.update(one.metadata)
        packets = [packet for packet in source.demux() if packet.size]
        those = [packet for packet in packets if packet.stream_index == stream]
        spoilt = {id(those[number]) for number in numbers}
        for packet in packets:
            made = av.Packet(bytes(packet))
            if id(packet) in spoilt:
                data = bytes(packet)
                made = av.Packet(data[:2] + bytes((data[2] | 0x3C,)) + data[3:])
                if inside:
                    made = av.Packet(data[:7] + bytes(byte ^ 0x5A for byte in data[7:]))
            made.stream, made.time_base = output.streams[packet.stream_index], packet.time_base
            made.pts, made.dts, made.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
            output.mux(made)
    return out


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("number", [0, 20, -1])
def test_a_damaged_packet_of_sound_is_the_sources_fault_unless_it_is_allowed(
    suffix: str, number: int, broadcast: Path, tmp_path: Path
) -> None:
    path, out = spoilt(broadcast, tmp_path / "in.ts", 2, number), tmp_path / f"out.{suffix}"
    with pytest.raises(ItemError, match=r"a packet of stream 2 \(audio, aac, deu\) at \d\.\d+ s is damaged") as caught:
        through(path, out, **FAST)
    assert caught.value.kind is ErrorKind.DECODE_ERRORS
    assert "--allow-damaged" in caught.value.advice
    source, warning = through(path, out, allow_damaged=True, **FAST)
    assert warning == "1 damaged packet of stream 2 (audio, aac, deu) is left out"
    check_video(out, source)
    wanted = sounds(broadcast)
    del wanted[1][number]
    assert sounds(out) == wanted


def sounds(path: Path) -> list[list[bytes]]:
    """Packets of every sound, without the headers of ADTS."""
    with av.open(str(path)) as container:
        kept: dict[int, list[bytes]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(container.streams.audio):
            if packet.size:
                data = bytes(packet)
                kept[packet.stream_index].append(data[7:] if data[:2] == b"\xff\xf1" else data)
        return list(kept.values())


def test_damaged_sound_that_is_encoded_anew_is_silence_and_counted(broadcast: Path, tmp_path: Path) -> None:
    path, out = spoilt(broadcast, tmp_path / "in.ts", 1, 10, 20, 30), tmp_path / "out.mkv"
    with pytest.raises(ItemError, match=r"a packet of stream 1 \(audio, aac\) at 1\.6\d+ s is damaged") as caught:
        through(path, out, audio="transcode", **FAST)
    assert caught.value.kind is ErrorKind.DECODE_ERRORS
    _, warning = through(path, out, audio="transcode", salvage=True, **FAST)
    assert warning == "3 damaged packets of stream 1 (audio, aac) are silence"
    loud = [_loudness(one) for one in (out, broadcast)]
    assert len(loud[0]) == pytest.approx(len(loud[1]), abs=3)
    assert sum(loud[0] < 0.01) == pytest.approx(sum(loud[1] < 0.01) + 6, abs=3), "69 ms of about a second"


def _loudness(path: Path) -> np.ndarray:
    """Largest sample of every 10 ms of the first sound."""
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    return np.abs(samples[: len(samples) // (rate // 100) * (rate // 100)].reshape(-1, rate // 100)).max(axis=1)


def test_sound_that_begins_in_the_middle_of_something_is_not_damaged(broadcast: Path, tmp_path: Path) -> None:
    path = spoilt(broadcast, tmp_path / "in.ts", 1, 0, 1)
    assert through(path, tmp_path / "out.webm", audio="transcode")[1] is None
    path = spoilt(broadcast, tmp_path / "in.ts", 1, *range(len(sounds(broadcast)[0])), inside=True)
    with pytest.raises(ItemError, match=r"a packet of stream 1 \(audio, aac\) is damaged"):
        through(path, tmp_path / "out.webm", audio="transcode")


@pytest.mark.parametrize("change", [("5.1", 48000), ("mono", 48000), ("stereo", 44100)], ids=str)
def test_sound_that_changes_its_form_is_encoded_anew_to_its_end(change: tuple[str, int], tmp_path: Path) -> None:
    """As broadcasts do where another programme begins; it stays in sync and in the form that it begins with."""
    parts = [
        ffmpeg(
            tmp_path / f"{number}.ac3",
            *lavfi(f"sine=440:r={rate}:d=1"),
            *("-af", f"volume=4,pan={layout}|" + "|".join(f"c{at}=c0" for at in range(channels)), "-c:a", "ac3"),
        )
        for number, (layout, channels, rate) in enumerate(
            [("stereo", 2, 48000), (change[0], {"5.1": 6, "mono": 1, "stereo": 2}[change[0]], change[1])]
        )
    ]
    (tmp_path / "both.ac3").write_bytes(b"".join(one.read_bytes() for one in parts))
    sound = ("-f", "ac3", "-i", str(tmp_path / "both.ac3"))
    path = ffmpeg(tmp_path / "in.ts", *PICTURE, *sound, *X264, "-c:a", "copy")
    for suffix in ("mp4", "webm"):
        out = tmp_path / f"out.{suffix}"
        _, warning = through(path, out, audio="transcode", **({} if suffix == "webm" else FAST))
        assert warning is None
        loud = _loudness(out)
        assert 180 < len(loud) < 225
        assert (loud[5:180] > 0.05).mean() > 0.95


@pytest.mark.parametrize(
    ("codec", "form", "becomes"),
    [("flac", "s16", "pcm_s16le"), ("flac", "s32", "pcm_s32le"), ("wavpack", "fltp", "pcm_f32le")],
)
def test_sound_that_lost_nothing_loses_nothing_in_quicktime(
    codec: str, form: str, becomes: str, tmp_path: Path
) -> None:
    sound = ("-f", "lavfi", "-t", "1", "-i", "anoisesrc=r=48000:seed=1:a=0.7,pan=stereo|c0=c0|c1=-0.3*c0")
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *sound, *X264, "-c:a", codec, "-sample_fmt", form)
    out = tmp_path / "out.mov"
    _, warning = through(path, out, **FAST)
    assert warning == f"stream 1 (audio, {codec}) does not go into mov and is encoded anew"
    assert [one["codec_name"] for one in streams(out, "audio")] == [becomes]
    samples = [ffmpeg(tmp_path / f"{one.stem}.raw", "-i", str(one), "-vn", "-f", "f64le") for one in (path, out)]
    assert samples[0].read_bytes() == samples[1].read_bytes()


def test_broadcasters_sound_that_lost_nothing_loses_nothing_in_matroska(tmp_path: Path) -> None:
    path = ffmpeg(
        tmp_path / "in.ts", *PICTURE, *lavfi("sine=440:r=48000", 1), *X264, "-ac", "2", "-c:a", "s302m", "-strict", "-2"
    )
    out = tmp_path / "out.mkv"
    _, warning = through(path, out, **FAST)
    assert warning == "stream 1 (audio, s302m) does not go into mkv and is encoded anew"
    assert [one["codec_name"] for one in streams(out, "audio")] == ["flac"]


@pytest.mark.parametrize("name", ["als", "wmalossless", "s302m", "tta"])
def test_decoders_of_what_lost_nothing_are_known_by_their_names(name: str) -> None:
    assert av.Codec(name, "r").name == name
    assert _encoder("mkv", name, "s16") == "flac"
    assert _encoder("mp4", name, "s16") == "aac"


@pytest.mark.parametrize(("kind", "mimetype"), [("gif", "image/gif"), ("tiff", "image/tiff")])
def test_covers_of_matroska_stay_in_it_whatever_they_are(kind: str, mimetype: str, tmp_path: Path) -> None:
    cover = ffmpeg(tmp_path / f"cover.{kind}", *lavfi("color=red:s=32x32"), "-frames:v", "1")
    attached = (
        "-attach",
        str(cover),
        "-metadata:s:t",
        f"mimetype={mimetype}",
        "-metadata:s:t",
        f"filename=cover.{kind}",
    )
    path, out = ffmpeg(tmp_path / "in.mkv", *PICTURE, *X264, *attached), tmp_path / "out.mkv"
    assert through(path, out, **FAST)[1] is None
    with av.open(str(out)) as made:
        (packet,) = (bytes(packet) for packet in made.demux(made.streams.video[1]) if packet.size)
    assert packet == cover.read_bytes()
    assert through(path, tmp_path / "out.mp4", **FAST)[1] == f"cover art ({kind}) does not go into mp4 and is left out"


def test_thumbnails_of_chapters_that_are_left_out_are_counted(tmp_path: Path) -> None:
    marks = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={at}\nEND={at + 300}\ntitle={at}\n" for at in (0, 300, 600))
    (tmp_path / "c.txt").write_text(f";FFMETADATA1\n{marks}")
    plain = ffmpeg(
        tmp_path / "plain.mov",
        *(*PICTURE, *lavfi("testsrc2=s=32x32:r=3"), "-i", str(tmp_path / "c.txt"), "-map", "0", "-map", "1"),
        *(*X264, "-bf", "0", "-c:v:1", "mjpeg", "-map_chapters", "2"),
    )
    data = bytearray(plain.read_bytes())
    for at in [at for at in range(len(data)) if data[at : at + 4] == b"chap"]:
        data[at + 4 : at + 8] = (2).to_bytes(4, "big")  # the second track has the chapters' pictures
    (tmp_path / "in.mov").write_bytes(data)
    _, warning = through(tmp_path / "in.mov", tmp_path / "out.mkv", **FAST)
    assert "2 further pictures of stream 1 (video, mjpeg) are left out" in (warning or "")
