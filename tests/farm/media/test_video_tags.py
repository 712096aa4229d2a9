"""Joined films say of themselves what their sources said: rates, timecodes, shapes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from farm.media.video.film import join_film, read_film
from farm.media.video.values import Joined
from farm.media.video.write.timing import constant_rate
from sr_kernel.layout import FrameLayout
from tests.farm.media.films import encode, facts, ffmpeg, openers, plan, through, video_params
from tests.farm.media.joined import FAST, PICTURE, X264, check_copied, check_video, lavfi, packets, streams

DEFAULT_DURATION = b"\x23\xe3\x83"
"""name of the element by which Matroska says a constant rate"""


@pytest.mark.parametrize("rate", ["25", "30000/1001", "24000/1001", "50", "12"])
@pytest.mark.parametrize(("kind", "suffix"), [("mp4", "mkv"), ("mkv", "mkv"), ("ts", "webm"), ("mkv", "webm")])
def test_a_constant_rate_is_said(rate: str, kind: str, suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / f"in.{kind}", *lavfi(f"testsrc2=s=64x48:r={rate}", 2), *X264)
    out = tmp_path / f"out.{suffix}"
    source, warning = through(path, out, (5,), **({} if suffix == "webm" else FAST))
    assert warning is None
    check_video(out, source)
    one, other = streams(out, "video")[0], streams(path, "video")[0]
    for name in ("avg_frame_rate", "r_frame_rate"):
        assert Fraction(one[name]) == Fraction(other[name]) == Fraction(rate)
    assert DEFAULT_DURATION in out.read_bytes()[:1000]


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_rate_that_varies_is_not_said(suffix: str, tmp_path: Path) -> None:
    late = "settb=1/90000,setpts='(N+if(eq(N,20),0.2))*3750'"
    path = ffmpeg(
        tmp_path / "in.mp4", *PICTURE, "-vf", late, "-fps_mode", "vfr", "-enc_time_base", "1/90000", *X264, "-bf", "0"
    )
    out = tmp_path / f"out.{suffix}"
    source, _ = through(path, out, (4, 10), **({} if suffix == "webm" else FAST))
    check_video(out, source)
    assert DEFAULT_DURATION not in out.read_bytes()[:1000]


@pytest.mark.parametrize(
    ("rate", "pts", "found"),
    [
        (Fraction(24000, 1001), [round(n * Fraction(1001, 24)) for n in range(1000)], Fraction(24000, 1001)),
        (Fraction(24000, 1001), [n * 1001 // 24 for n in range(1000)], Fraction(24000, 1001)),
        (Fraction(2997, 100), [round(n * 1001 / 30) for n in range(100_000)], Fraction(30000, 1001)),
        (Fraction(25), [40 * n + (n == 500) * 2 for n in range(1000)], None),
        (Fraction(25), [40 * n for n in range(1000) if n != 500], None),
        (Fraction(25), [0], None),
    ],
)
def test_a_rate_is_constant_when_every_frame_keeps_it(rate: Fraction, pts: list[int], found: Fraction | None) -> None:
    film = plan(facts(FrameLayout(width=16, height=16, chroma_shift=(1, 1))), video_params())
    assert constant_rate(replace(film, rate=rate, time_base=Fraction(1, 1000)), pts) == found


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_shape_is_that_of_the_restored_video_alone(suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(
        tmp_path / "in.mkv",
        *(*lavfi("testsrc2=s=96x64:r=24,setsar=4/3"), *PICTURE, "-map", "1", "-map", "0", *X264),
        *("-disposition:v:0", "0", "-disposition:v:1", "default"),
    )
    out = tmp_path / f"out.{suffix}"
    source, _ = through(path, out, **FAST)
    assert source.film.stream_index == 1
    assert [one.get("sample_aspect_ratio", "1:1") for one in streams(out, "video")] == ["1:1", "4:3"]
    have, want = packets(out, 0), packets(path, 0)
    assert [digest for _, digest in have] == [digest for _, digest in want]
    assert max(abs(a - b) for (a, _), (b, _) in zip(have, want, strict=True)) <= Fraction(1, 1000)


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
@pytest.mark.parametrize(
    ("rate", "said"), [("24000/1001", "01:02:03:04"), ("25", "10:00:00:24"), ("30000/1001", "00:59:59;28")]
)
def test_a_timecode_stays_a_track(rate: str, said: str, suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(
        tmp_path / "in.mov",
        *(*lavfi(f"testsrc2=s=64x48:r={rate}"), *lavfi("sine=440"), *X264, "-c:a", "aac", "-timecode", said),
    )
    out = tmp_path / f"out.{suffix}"
    source, warning = through(path, out, (5,), **FAST)
    assert warning is None
    check_video(out, source)
    check_copied(out, path, "audio")
    kept = [[_timecode(track) for track in streams(film, "data")] for film in (out, path)]
    assert kept[0] == kept[1] == [("tmcd", Fraction(rate), "1", said)]
    assert streams(out, "video")[0]["tags"]["timecode"] == said


def _timecode(track: dict[str, Any]) -> tuple[object, ...]:
    """What ffprobe says of a track of timecodes."""
    return track["codec_tag_string"], Fraction(track["avg_frame_rate"]), track["nb_frames"], track["tags"]["timecode"]


def test_a_timecode_is_a_tag_in_matroska_and_a_track_again_after_it(tmp_path: Path) -> None:
    said = "01:02:03:04"
    path = ffmpeg(tmp_path / "in.mov", *PICTURE, *X264, "-timecode", said)
    assert through(path, tmp_path / "out.mkv", **FAST)[1] is None
    assert streams(tmp_path / "out.mkv", "video")[0]["tags"]["TIMECODE"] == said
    assert through(tmp_path / "out.mkv", tmp_path / "out.mov", **FAST)[1] is None
    assert [track["tags"]["timecode"] for track in streams(tmp_path / "out.mov", "data")] == [said]


@pytest.mark.parametrize(
    ("said", "fps", "why"),
    [
        ("01:02:03:04", "48", "it counts frames of another rate"),
        ("somewhere", "", "mov has no place for somewhere at 24 frames a second"),
        ("01:02:03;04", "", "mov has no place for 01:02:03;04 at 24 frames a second"),
    ],
)
def test_a_timecode_that_cannot_stay_is_said(said: str, fps: str, why: str, tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *X264, "-metadata:s:v:0", f"timecode={said}")
    _, warning = through(path, tmp_path / "out.mov", fps=fps, **FAST)
    assert warning == f"the timecode of stream 0 (video, h264) is left out: {why}"
    assert not streams(tmp_path / "out.mov", "data")


@pytest.mark.parametrize("said", ["center", "topleft", "left"])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", "mp4"), ("hevc", "mp4"), ("h264", "mkv"), ("vp9", "webm"), ("ffv1", "mkv")]
)
def test_where_chroma_lies_is_said_as_the_source_says_it(said: str, codec: str, suffix: str, tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.mp4", *PICTURE, "-frames:v", "4", *X264, "-chroma_sample_location", said)
    params, out = video_params(codec=codec, container=suffix), tmp_path / f"out.{suffix}"
    with path.open("rb") as source, out.open("w+b") as sink:
        cut = read_film(source, "in.mp4", params)
        times = [time for span in cut.spans for time in span.out_pts]
        pieces = openers([encode(cut.film, range(len(times)))])
        assert join_film(source, "in.mp4", cut.film, times, params, pieces, sink, None) == Joined()
    assert streams(path, "video")[0]["chroma_location"] == said
    unsaid = said == "left" and codec in ("vp9", "ffv1")  # whose bitstreams say nothing of it: left is what is usual
    assert streams(out, "video")[0].get("chroma_location", "left") == said or unsaid


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_the_names_of_tracks_stay(kind: str, suffix: str, tmp_path: Path) -> None:
    """MP4 and MOV have an atom for them, of which the system's older ffprobe says nothing."""
    names = ("-metadata:s:v", "title=Bild", "-metadata:s:a", "title=Ton, deutsch")
    path = ffmpeg(tmp_path / f"in.{kind}", *PICTURE, *lavfi("sine=440:r=48000", 1), *X264, "-c:a", "aac", *names)
    assert names_of(path) == ["Bild", "Ton, deutsch"]
    out = tmp_path / f"out.{suffix}"
    through(path, out, (5,), **FAST)
    assert names_of(out) == ["Bild", "Ton, deutsch"]


def names_of(path: Path) -> list[str | None]:
    with av.open(str(path)) as container:
        said = [stream.metadata for stream in container.streams]
    return [one.get("title", one.get("name")) for one in said]
