"""Joined films have every frame at its time and everything else of the source, as an independent reader sees them."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.film import read_film
from farm.media.video.hdr import read_hdr
from farm.media.video.pictures.animation_join import join_animation
from farm.media.video.values import Joined
from farm.media.video.write.encode import SegmentEncoder
from farm.media.video.write.join import join_film
from farm.media.video.write.loss import left_behind
from farm.media.video.write.timing import FrameTimes
from farm.media.video.write.tracks import TextTrack
from sr_kernel.layout import FrameLayout
from tests.clips import h264, with_box
from tests.farm.media.films import (
    encode,
    facts,
    ffmpeg,
    openers,
    picture,
    pieces_of,
    plan,
    planes_of,
    probe,
    read,
    through,
    video_params,
)
from tests.farm.media.joined import FAST, PICTURE, X264, check_copied, check_video, lavfi, packets, streams
from tests.outside import real_film


@pytest.mark.parametrize(
    ("name", "suffix", "cuts"),
    [
        ("bear-vp9-odd-dimensions.webm", "webm", (7, 8)),
        ("chaplin.mp4", "mp4", (7, 16)),
        ("chaplin.mp4", "mkv", (23,)),
        ("h265_10bits.mp4", "mp4", (1, 3)),
        ("nasa_13013.mp4", "mp4", (7, 16)),
        ("nasa_13013.mp4", "mov", (5,)),
        ("onepiece_demo.mp4", "mkv", (12,)),
        ("sample_with_chapters.mkv", "mkv", (12,)),
        ("sample_with_chapters.mkv", "mp4", (12,)),
        ("sample_with_srt.mkv", "mkv", (9,)),
        ("video_90.mov", "mov", (1,)),
    ],
)
def test_real_films_come_through_whole(name: str, suffix: str, cuts: tuple[int, ...], tmp_path: Path) -> None:
    path, out = real_film(name), tmp_path / f"out.{suffix}"
    source, warning = through(path, out, cuts, 24, salvage=True, **({} if suffix == "webm" else FAST))
    check_video(out, source)
    check_copied(out, path, "audio")
    check_copied(out, path, "subtitle")
    said, was = probe(out, "-show_chapters")["chapters"], probe(path, "-show_chapters")["chapters"]
    assert [one["tags"] for one in said] == [one["tags"] for one in was]
    assert [float(one["start_time"]) for one in said] == [float(one["start_time"]) for one in was]
    assert (warning is None) == (not name.startswith("nasa"))


def test_a_telephone_film_keeps_its_colours_and_its_tags(tmp_path: Path) -> None:
    path, out = real_film("hlg10-color-test.mp4"), tmp_path / "out.mp4"
    source, warning = through(path, out, (4,), limit=6, preset="ultrafast", salvage=True)
    assert warning is None
    check_video(out, source)
    check_copied(out, path, "audio")
    one, other = streams(out, "video")[0], streams(path, "video")[0]
    names = ("pix_fmt", "color_range", "color_space", "color_transfer", "color_primaries", "time_base")
    assert [one[name] for name in names] == [other[name] for name in names]
    assert one["codec_tag_string"] == "hvc1"
    tags = probe(out, "-show_format")["format"]["tags"]
    assert tags["com.android.version"] == "14"
    assert tags["creation_time"] == "2024-02-09T20:23:48.000000Z"


SUBTITLES = "1\n00:00:00,200 --> 00:00:00,700\nHello <i>there</i>\n\n2\n00:00:00,800 --> 00:00:00,950\nTwo\nlines\n"
CHAPTERS = (
    ";FFMETADATA1\ntitle=My title\ncomment=mine\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Two\n"
)
FONT = b"\0\1\0\0 a font" * 40


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films with everything: two sounds, one longer than the film, subtitles, chapters, cover art, a font, a shape."""
    root = tmp_path_factory.mktemp("full")
    (root / "s.srt").write_text(SUBTITLES)
    (root / "c.txt").write_text(CHAPTERS)
    (root / "f.ttf").write_bytes(FONT)
    cover = ffmpeg(root / "cover.png", *lavfi("color=red:s=32x32"), "-frames:v", "1")
    inputs = (*PICTURE, *lavfi("sine=440:r=44100"), "-i", str(root / "s.srt"), "-i", str(root / "c.txt"))
    common = (*X264, "-aspect", "16:9", "-metadata:s:a:0", "language=fra", "-map_metadata", "3", "-map_chapters", "3")
    mkv = ffmpeg(
        root / "full.mkv",
        *(*inputs, *lavfi("sine=220:r=48000", 2), "-map", "0", "-map", "1", "-map", "4", "-map", "2", *common),
        *("-c:a:0", "flac", "-c:a:1", "libopus", "-c:s", "srt", "-disposition:s:0", "forced"),
        *("-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=Commentary"),
        *("-attach", str(root / "f.ttf"), "-metadata:s:t:0", "mimetype=application/x-truetype-font"),
        *("-attach", str(cover), "-metadata:s:t:1", "mimetype=image/png", "-metadata:s:t:1", "filename=cover.png"),
    )
    mp4 = ffmpeg(
        root / "full.mp4",
        *(*inputs, "-i", str(cover), "-map", "0", "-map", "1", "-map", "2", "-map", "4", *common),
        *("-c:a", "aac", "-c:s", "mov_text", "-c:v:1", "png", "-disposition:v:1", "attached_pic"),
    )
    return {"mkv": mkv, "mp4": mp4}


@pytest.mark.parametrize(
    ("kind", "suffix", "says"),
    [
        ("mkv", "mkv", None),
        ("mp4", "mp4", None),
        ("mp4", "mkv", "becomes srt"),
        ("mkv", "mp4", "becomes mov_text"),
        ("mkv", "webm", "is encoded anew"),
        ("mp4", "mov", "cover art (png) does not go into mov"),
    ],
)
def test_films_with_everything(kind: str, suffix: str, says: str | None, full: dict[str, Path], tmp_path: Path) -> None:
    path, out = full[kind], tmp_path / f"out.{suffix}"
    source, warning = through(path, out, (5, 6), stamp={"version": "0.1", "model": "m"})
    assert warning is None if says is None else says in (warning or "")
    check_video(out, source)
    if suffix != "webm":
        check_copied(out, path, "audio")
    said = probe(out, "-show_chapters", "-show_format", "-show_streams")
    assert [(one["start_time"], one["tags"]["title"]) for one in said["chapters"]] == [
        ("0.000000", "One"),
        ("0.400000", "Two"),
    ]
    tags = {name.lower(): value for name, value in said["format"]["tags"].items()}
    assert (tags["title"], tags["comment"]) == ("My title", "mine")
    assert "version=0.1; model=m" in tags.values()
    texts = [str(rect.dialogue) for rect in _subtitles(out)]
    assert len(texts) == 2
    assert "there" in texts[0]
    covers = [one for one in said["streams"] if one["disposition"]["attached_pic"]]
    assert len(covers) == (suffix in ("mkv", "mp4"))
    fonts = [one for one in said["streams"] if one["codec_type"] == "attachment"]
    assert [one["tags"]["filename"] for one in fonts] == (["f.ttf"] if kind == suffix == "mkv" else [])
    if kind != "mkv" or suffix == "mkv":
        assert "f.ttf" not in (warning or "")


def _subtitles(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [rect for packet in container.demux(subtitles=0) for rect in packet.decode()]


def test_attachments_and_covers_are_the_same_bytes(full: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    through(full["mkv"], out)
    with av.open(str(out)) as one, av.open(str(full["mkv"])) as other:
        assert [s.data for s in one.streams.attachments] == [s.data for s in other.streams.attachments] == [FONT]
        pictures = [bytes(next(iter(c.demux(c.streams.video[1])))) for c in (one, other)]
    assert pictures[0] == pictures[1]


def uneven(folder: Path) -> Path:
    """A film of variable rate, whose last frame is not shown as long as the one before."""
    times = "setpts='if(lt(N,9),N,9+(N-9)*2.5)/24/TB'"
    path = folder / "in.mp4"
    return ffmpeg(path, *PICTURE, "-vf", times, "-fps_mode", "vfr", "-enc_time_base", "1/90000", *X264, "-bf", "0")


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate_stays_variable(suffix: str, tmp_path: Path) -> None:
    path = uneven(tmp_path)
    out = tmp_path / f"out.{suffix}"
    source, _ = through(path, out, (4, 10))
    check_video(out, source)
    assert len(set(np.diff(source.pts))) > 1
    assert float(probe(out, "-show_format")["format"]["duration"]) == pytest.approx(
        float(probe(path, "-show_format")["format"]["duration"]), abs=0.002
    )


@pytest.mark.parametrize("allowed", ["salvage", "allow_damaged"])
def test_what_may_be_lacking_changes_no_byte_of_a_film_that_lacks_nothing(allowed: str, tmp_path: Path) -> None:
    path, plain, allowing = uneven(tmp_path), tmp_path / "plain.mp4", tmp_path / "allowing.mp4"
    through(path, plain, (4, 10))
    through(path, allowing, (4, 10), **{allowed: True})
    assert allowing.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_late_start_and_an_edit_list_stay(suffix: str, tmp_path: Path) -> None:
    path, out = real_film("edit_list_positive_shift.mp4"), tmp_path / f"out.{suffix}"
    source, _ = through(path, out, (3,), limit=8, salvage=True, preset="ultrafast")
    assert source.pts[0] == 15_360
    check_video(out, source)
    check_copied(out, path, "audio")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_start_before_zero_moves_everything_alike(suffix: str, full: dict[str, Path], tmp_path: Path) -> None:
    params, out = video_params(container=suffix), tmp_path / f"out.{suffix}"
    source = read(full["mp4"], params)
    early = [pts - 4096 for pts in source.pts]
    with full["mp4"].open("rb") as original, out.open("w+b") as sink:
        join_film(original, "film", source.film, early, params, openers(pieces_of(source, ())), sink, None)
    check_video(out, source)
    sound = packets(out, streams(out, "audio")[0]["index"])
    first = next(time for time, _ in sound if time >= 0)
    assert first == pytest.approx(4096 / 12_288, abs=0.025)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("vp9", "webm"), ("av1", "mkv"), ("ffv1", "mkv"), ("prores", "mov"), ("hevc", "mp4")]
)
def test_shape_rotation_and_colours_are_in_the_container(codec: str, suffix: str, tmp_path: Path) -> None:
    layout = FrameLayout(width=96, height=64, chroma_shift=(1, 1), depth=10 if codec != "vp9" else 8)
    matrix = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    source = plan(facts(layout), video_params(container=suffix, codec=codec), frames=4)
    source = replace(source, sample_aspect=Fraction(32, 27), rotation=matrix, colour_tags=(9, 16, 9, 1))
    out = _joined(source, [0, 1001, 2002, 4004], tmp_path / f"out.{suffix}", codec=codec)
    found = streams(out, "video")[0]
    assert found["sample_aspect_ratio"] == "32:27"
    assert [found[name] for name in ("color_primaries", "color_transfer", "color_space", "color_range")] == [
        "bt2020",
        "smpte2084",
        "bt2020nc",
        "tv",
    ]
    assert [side["rotation"] for side in found["side_data_list"] if "rotation" in side] == [-90]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_first_frame_of_some_megabytes_is_no_damage(codec: str, tmp_path: Path) -> None:
    """How frames are reordered is known from the first whole frame of the first piece only."""
    layout = FrameLayout(width=1280, height=960, chroma_shift=(1, 1))
    params = video_params(container="mp4", codec=codec, crf=4, preset="fast" if codec == "h264" else "ultrafast")
    film = plan(facts(layout), params, frames=8)
    noise = np.random.default_rng(1).integers(16, 235, (960 + 8, 1280), dtype=np.uint8)
    pieces: list[bytes] = []
    for first in (0, 4):
        with SegmentEncoder(film, "film") as encoder:
            for number in range(first, first + 4):
                encoder.write([noise[number : number + height, :width] for width, height in layout.plane_sizes])
            pieces.append(encoder.finish())
    assert len(pieces[0]) > 2 << 20
    out_pts, out = [1001 * number for number in range(8)], tmp_path / "out.mp4"
    with out.open("w+b") as sink:
        join_film(None, "film", film, out_pts, params, openers(pieces), sink, None)
    assert [round(frame.time * 24000) for frame in av.open(str(out)).decode(video=0)] == out_pts


def _joined(film: Any, out_pts: list[int], out: Path, **video: Any) -> Path:
    """A film of generated frames in pieces of two, with nothing else."""
    pieces = [encode(film, range(at, min(at + 2, len(out_pts)))) for at in range(0, len(out_pts), 2)]
    params = video_params(container=out.suffix[1:], **video)
    with out.open("w+b") as sink:
        joined = join_film(None, "film", film, out_pts, params, openers(pieces), sink, {"version": "1"})
        assert joined == Joined()
    return out


@pytest.mark.parametrize(
    ("codec", "suffix"), [("hevc", "mkv"), ("av1", "webm"), ("vp9", "webm"), ("ffv1", "mkv"), ("prores", "mov")]
)
def test_hdr_metadata_comes_out_of_every_codec(codec: str, suffix: str, tmp_path: Path) -> None:
    said = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    path = ffmpeg(
        tmp_path / "in.mkv",
        *(*PICTURE, "-frames:v", "3", "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"),
        *("-x265-params", f"log-level=none:master-display={said}:max-cll=1000,400:hdr10=1:pools=1"),
    )
    params = video_params(container=suffix, codec=codec)
    film = read(path, params).film
    out = _joined(film, [0, 42, 83], tmp_path / f"out.{suffix}", codec=codec)
    with av.open(str(out)) as container:
        found = read_hdr(next(container.decode(video=0)))
    assert found is not None
    assert found.light == "1000,400"
    assert found.luminance is not None
    assert [float(x) for x in found.luminance] == pytest.approx([0.005, 1000], abs=1e-4)
    assert float(found.primaries[0]) == pytest.approx(0.68, abs=1e-4)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("webm", "opus"), ("mkv", "flac")])
def test_sound_encoded_anew_stays_in_sync(suffix: str, codec: str, tmp_path: Path) -> None:
    click = "aevalsrc='if(between(mod(t,0.5),0.2,0.22),0.8*sin(6000*t),0)':s=44100"
    path = ffmpeg(tmp_path / "in.mov", *PICTURE, *lavfi(click, 1.5), *X264, "-c:a", "pcm_s16le")
    out = tmp_path / f"out.{suffix}"
    _, warning = through(path, out, audio="transcode", **({} if suffix == "webm" else FAST))
    assert warning is None
    assert [one["codec_name"] for one in streams(out, "audio")] == [codec]
    one, other = _clicks(out), _clicks(path)
    assert len(one) == len(other) == 3
    assert np.abs(np.subtract(one, other)).max() < 0.004


def _clicks(path: Path) -> list[float]:
    """Seconds at which it becomes loud."""
    with av.open(str(path)) as container:
        loud: list[float] = []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(float)
            samples = np.abs(samples).reshape(-1) / (32_768 if frame.format.name.startswith("s16") else 1)
            assert frame.time is not None
            loud += [frame.time + at / frame.sample_rate for at in np.flatnonzero(samples > 0.3)]
        return [time for before, time in zip([-1.0, *loud], loud, strict=False) if time - before > 0.1]


def test_no_sound_when_none_is_asked_for(full: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    _, warning = through(full["mkv"], out, audio="none")
    assert (streams(out, "audio"), warning) == ([], None)


def test_joins_cannot_be_seen_in_a_lossless_film(full: dict[str, Path], tmp_path: Path) -> None:
    digests = set[bytes]()
    for cuts in ((), (1, 2, 3), (11,)):
        out = tmp_path / "out.mkv"
        source, _ = through(full["mkv"], out, cuts, codec="ffv1")
        with av.open(str(out)) as container:
            frames = [planes_of(frame, source.film.target) for frame in container.decode(video=0)]
        assert all(
            np.array_equal(a, b) for f, g in zip(frames, source.frames, strict=True) for a, b in zip(f, g, strict=True)
        )
        digests.add(b"".join(plane.tobytes() for frame in frames for plane in frame))
    assert len(digests) == 1


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_joins_cannot_be_seen_in_a_lossy_film(codec: str, full: dict[str, Path], tmp_path: Path) -> None:
    """Frames on both sides of a join are as near to what was encoded as frames far from any."""
    near: list[list[float]] = []
    cuts = (7, 8, 19)
    for some in ((), cuts):
        out = tmp_path / "out.mkv"
        source, _ = through(full["mkv"], out, some, codec=codec)
        with av.open(str(out)) as container:
            made = [planes_of(frame, source.film.target) for frame in container.decode(video=0)]
        near.append([psnr_db(a[0], b[0]) for a, b in zip(source.frames, made, strict=True)])
    whole, joined = near
    for cut in cuts:
        assert min(joined[cut - 1 : cut + 1]) > min(whole) - 1, (cut, joined, whole)
    assert abs(np.mean(joined) - np.mean(whole)) < 1.5


def psnr_db(one: np.ndarray, two: np.ndarray) -> float:
    """Of planes of 8 bits."""
    error = np.mean((one.astype(float) - two.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_same_join_gives_the_same_bytes(suffix: str, full: dict[str, Path], tmp_path: Path) -> None:
    outs = [tmp_path / f"{number}.{suffix}" for number in "12"]
    for out in outs:
        through(full["mkv"], out, (7,))
    assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize("spoil", ["cut", "flip", "other settings", "missing", "one too many", "empty"])
def test_a_damaged_piece_is_named(spoil: str, full: dict[str, Path]) -> None:
    params = video_params(container="mkv", preset="ultrafast")
    source = read(full["mp4"], params)
    pieces = pieces_of(source, (8, 16))
    flipped = bytearray(pieces[1])
    flipped[len(flipped) // 2] ^= 1
    other = pieces_of(replace(source, film=replace(source.film, options=(("preset", "slow"),))), (8, 16))
    pieces = {
        "cut": [pieces[0], pieces[1][:-200], pieces[2]],
        "flip": [pieces[0], bytes(flipped), pieces[2]],
        "other settings": [pieces[0], other[1], pieces[2]],
        "missing": [pieces[0], pieces[2]],
        "one too many": [*pieces, pieces[2]],
        "empty": [],
    }[spoil]
    with full["mp4"].open("rb") as original, pytest.raises(ItemError) as caught:
        join_film(original, "film", source.film, source.pts, params, openers(pieces), io.BytesIO(), None)
    assert caught.value.kind is ErrorKind.CHANGED_DURING_READ
    assert caught.value.kind.retryable
    says = {
        "cut": "piece 1 of its segments is damaged",
        "flip": "piece 1 of its segments is damaged",
        "other settings": "piece 1 of its segments has other parameter sets than piece 0",
        "missing": "pieces 0-1 hold 16 frames of 24",
        "one too many": "piece 3 of its segments ends at frame 32 of 24",
        "empty": "no pieces",
    }
    assert says[spoil] in caught.value.found


def test_a_source_that_is_another_is_the_sources_fault(full: dict[str, Path]) -> None:
    params = video_params(container="mkv", preset="ultrafast")
    source = read(full["mkv"], params)
    pieces, film = openers(pieces_of(source, ())), replace(source.film, stream_index=20)
    with full["mkv"].open("rb") as original, pytest.raises(ItemError, match="no stream 20 any more") as caught:
        join_film(original, "film", film, source.pts, params, pieces, io.BytesIO(), None)
    assert caught.value.kind is ErrorKind.CORRUPT


def test_sound_that_the_encoder_refuses_is_no_damage_of_the_source(tmp_path: Path) -> None:
    not_numbers = lavfi("aevalsrc=0/0:s=44100")
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *not_numbers, *X264, "-c:a", "pcm_f32le")
    with pytest.raises(ItemError, match=r"stream 1 \(audio, pcm_f32le\) cannot be encoded anew") as caught:
        through(path, tmp_path / "out.mp4", audio="transcode", **FAST)
    assert caught.value.kind is ErrorKind.ENCODE_FAILED


def test_subtitles_that_the_encoder_refuses_are_no_damage_of_the_source(
    full: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def encode_subtitle(self, _: object) -> None:
            raise av.error.BufferTooSmallError(1, "Buffer too small")  # more than a megabyte of one subtitle

    def begin(track: TextTrack, source: Any, target: Any, name: str) -> None:
        usual(track, source, target, name)
        track._encoder = Refusing()  # type: ignore[assignment]

    usual = TextTrack.__init__
    monkeypatch.setattr(TextTrack, "__init__", begin)
    with pytest.raises(ItemError, match=r"subtitle, srt.* cannot be encoded anew") as caught:
        through(full["mkv"], tmp_path / "out.mp4", **FAST)
    assert caught.value.kind is ErrorKind.ENCODE_FAILED


def test_tags_and_chapters_that_ffmpeg_refuses_are_a_failed_item(
    full: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr("farm.media.video.write.join.open_output", refuse)
    with pytest.raises(ItemError, match="mkv cannot be written") as caught:
        through(full["mp4"], tmp_path / "out.mkv", **FAST)
    assert caught.value.kind is ErrorKind.ENCODE_FAILED


@pytest.mark.parametrize(
    ("kind", "audio", "says"),
    [
        (
            "mkv",
            "copy",
            "2 sound tracks, 1 subtitle track, 1 attachment, 1 cover picture and 2 chapters are left behind",
        ),
        ("mp4", "none", "1 subtitle track, 1 cover picture and 2 chapters are left behind"),
    ],
)
def test_what_pictures_do_not_hold_is_counted(kind: str, audio: str, says: str, full: dict[str, Path]) -> None:
    params = video_params(container="sequence", audio=audio)
    film = read(full[kind], video_params()).film
    with full[kind].open("rb") as source:
        assert left_behind(source, "film", film, params) == f"{says}: pictures hold none"


def test_an_animation_of_a_film_says_what_it_leaves_behind(full: dict[str, Path]) -> None:
    params = video_params(container="gif")
    cut = read_film(full["mp4"].open("rb"), "a.mp4", params)
    film = cut.film
    with SegmentEncoder(film, "a.mp4") as encoder:
        for number in range(film.frames):
            encoder.write(picture(film.target, number))
        piece = encoder.finish()
    times = [pts for span in cut.spans for pts in span.out_pts]
    with full["mp4"].open("rb") as source:
        warning = join_animation(source, "a.mp4", film, times, params, openers([piece]), io.BytesIO(), None)
    assert "1 sound track, 1 subtitle track, 1 cover picture and 2 chapters are left behind" in (warning or "")


def test_a_film_of_nothing_but_frames_leaves_nothing_behind(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *X264)
    with path.open("rb") as source:
        assert left_behind(source, "film", read(path, video_params()).film, video_params()) is None
    assert left_behind(None, "frame%04d.png", read(path, video_params()).film, video_params()) is None


def test_closed_captions_that_are_lost_are_said(tmp_path: Path) -> None:
    raw = ffmpeg(
        tmp_path / "in.h264", *PICTURE, *X264, "-bf", "0", "-bsf:v", "filter_units=remove_types=6", "-f", "h264"
    ).read_bytes()
    payload = bytes.fromhex("b500314741393403 41ff fc9420 ff".replace(" ", ""))
    captions = b"\0\0\0\1\6\4" + bytes((len(payload),)) + payload + b"\x80"
    first = raw.index(b"\0\0\1\x65")
    (tmp_path / "cc.h264").write_bytes(raw[:first] + captions + raw[first:])
    path = ffmpeg(tmp_path / "cc.mkv", "-r", "24", "-i", str(tmp_path / "cc.h264"), "-c", "copy")
    _, warning = through(path, tmp_path / "out.mkv", **FAST)
    assert warning == "closed captions in the frames is not kept"


def _box(name: bytes, *parts: bytes) -> bytes:
    return (sum(map(len, parts)) + 8).to_bytes(4, "big") + name + b"".join(parts)


_SPHERE = _box(b"svhd", b"\0\0\0\0x\0") + _box(b"proj", _box(b"prhd", bytes(16)), _box(b"equi", bytes(4), bytes(16)))
"""what is in an sv3d box: an equirectangular projection"""


@pytest.mark.parametrize(
    ("box", "content", "says"),
    [(b"sv3d", _SPHERE, "spherical (360 degrees)"), (b"st3d", b"\0\0\0\0\2", "stereo 3D")],
)
def test_that_a_film_is_a_sphere_or_has_two_views_is_said_where_it_is_lost(
    box: bytes, content: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(with_box(h264("mp4", frames=3), box, content))
    _, warning = through(path, tmp_path / "out.mp4", **FAST)
    assert warning == f"{says} metadata in the frames is not kept"


def test_two_views_stay_in_matroska(tmp_path: Path) -> None:
    path = ffmpeg(tmp_path / "in.mkv", *PICTURE, *X264, "-metadata:s:v:0", "stereo_mode=left_right")
    assert through(path, tmp_path / "out.mkv", **FAST)[1] is None
    assert through(path, tmp_path / "out.mp4", **FAST)[1] == "stereo 3D metadata in the frames is not kept"
    views = [streams(one, "video")[0]["side_data_list"] for one in (path, tmp_path / "out.mkv")]
    assert views[0] == views[1]


def test_an_error_of_the_sink_comes_through(full: dict[str, Path]) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 20_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    params = video_params(container="mkv")
    source = read(full["mp4"], params)
    with full["mp4"].open("rb") as original, pytest.raises(OSError, match="No space left"):
        join_film(original, "film", source.film, source.pts, params, openers(pieces_of(source, ())), Full(), None)


def test_decode_times_rise_and_never_pass_the_time_shown() -> None:
    film = plan(facts(FrameLayout(width=16, height=16, chroma_shift=(1, 1))), video_params())
    times = FrameTimes(film=film, out_pts=[10, 11, 30, 31, 32, 90], last=7)
    decoded = [times.decode_time(position, 2) for position in range(6)]
    assert decoded == [8, 9, 10, 11, 30, 31]
    assert [times.duration(frame) for frame in range(6)] == [1, 19, 1, 1, 58, 7]


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.farm.media.test_video_join import *
from tests.memory import forget_peak, peak_bytes
film = plan(facts(FrameLayout(width=960, height=540)), video_params(codec="ffv1"))
pieces = [encode(film, range(12))]
def peak(count):
    before = forget_peak()
    with Path(sys.argv[1]).open("w+b") as sink:
        pts = [1000 * at for at in range(12 * count)]
        join_film(None, "film", film, pts, video_params(codec="ffv1"), openers(pieces * count), sink, None)
    return peak_bytes() - before
peak(2)
print(peak(4), peak(60), len(pieces[0]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "o.mkv")], capture_output=True, text=True, check=True
    )
    few, many, piece = map(int, run.stdout.split())
    assert piece > 250_000
    assert many < few + 4 * piece
