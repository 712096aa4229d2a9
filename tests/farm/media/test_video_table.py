"""A film's table has every frame that a decoder shows, with its time, whatever container and codec say it."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.plan import plan_film, plan_spans, read_film
from farm.media.video.read.source import film_stream
from farm.media.video.read.table import read_table
from farm.media.video.resample import moments
from farm.media.video.values import FilmTable
from farm.params import UpscaleParams
from tests.clips import CLIPS, X264, X265, clip, edited, film, h264, remuxed, sequential, with_box, with_sound
from tests.farm.items import PARAMS, VIDEO
from tests.outside import FILMS, needs_data, real_film

URL = "films/x.mp4"
TIMELESS = ("raw.m2v",)


def params(**video: object) -> UpscaleParams:
    return replace(PARAMS, outscale=2.0, video=replace(VIDEO, **video))  # pyright: ignore[reportArgumentType]


def table_of(data: bytes, **video: object) -> FilmTable:
    settings = params(**video).video
    assert settings is not None
    return read_table(io.BytesIO(data), URL, settings)


@pytest.mark.parametrize("name", CLIPS)
def test_the_table_has_the_frames_and_times_of_a_decoder(name: str) -> None:
    table = table_of(film(name))
    assert list(table.times) == [at for at, _ in sequential(film(name))]
    assert (table.start is None) is (name in TIMELESS)


@needs_data
@pytest.mark.parametrize("path", FILMS, ids=lambda path: path.name)
def test_the_table_of_a_real_film_has_its_frames(path: Path) -> None:
    data = path.read_bytes()
    with av.open(io.BytesIO(data)) as container:
        times = [frame.pts for frame in container.decode(film_stream(container, URL))]
    assert list(table_of(data).times) == times


def test_packets_that_an_edit_list_leaves_out_are_no_frames() -> None:
    data = edited(film("constant.mp4"), 5 * 512)
    with av.open(io.BytesIO(data)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert any(packet.is_discard for packet in packets)
    table = table_of(data)
    assert len(table.stamps) == 35 < len(packets)
    assert list(table.times) == [time for time, _ in sequential(data)]


def test_a_film_that_starts_between_keyframes_starts_with_its_first_whole_frame() -> None:
    packets = iter(range(100))
    late = remuxed(film("open-gop.ts"), "mpegts", lambda _: next(packets) >= 6)
    table = table_of(late)
    assert list(table.times) == [time for time, _ in sequential(late)]
    assert 20 < len(table.times) < 34


def test_cover_art_and_sound_are_not_the_film() -> None:
    data = with_sound(film("constant.mp4"), "mp4", cover=True)
    table = table_of(data)
    assert (len(table.stamps), table.facts.layout.width) == (40, 96)
    for other in (with_sound(data, "mp4", film=False), with_sound(data, "mp4", film=False, cover=True)):
        with pytest.raises(ItemError) as caught:
            table_of(other)
        assert caught.value.kind is ErrorKind.NO_VIDEO_STREAM


def test_a_film_without_packets_has_no_frames() -> None:
    empty = remuxed(film("constant.mp4"), "mp4", lambda _: False, movflags="frag_keyframe+empty_moov")
    with pytest.raises(ItemError) as caught:
        table_of(empty)
    assert caught.value.kind is ErrorKind.NO_FRAMES


def test_frames_of_one_timestamp_are_both_kept_and_their_times_ascend() -> None:
    times = [40 * number for number in range(24)]
    single = clip("mpeg4", "matroska", options={"g": "6"}, frames=24, times=times)

    def doubled(packet: av.Packet) -> bool:
        if packet.pts == 280:
            packet.pts = packet.dts = 240
        return True

    table = table_of(remuxed(single, "matroska", doubled))
    assert len(table.stamps) == 24
    assert table.stamps[6:8] == (240, 240)
    assert table.times[6:8] == (240, 241)
    assert all(a < b for a, b in zip(table.times, table.times[1:], strict=False))


def test_negative_times_are_kept() -> None:
    def earlier(packet: av.Packet) -> bool:
        packet.pts, packet.dts = packet.pts - 36000, packet.dts - 36000
        return True

    data = remuxed(film("open-gop.ts"), "mpegts", earlier, avoid_negative_ts="disabled", mpegts_copyts="1")
    times = [time for time, _ in sequential(data)]
    assert times[0] is not None
    assert times[0] < 0
    assert list(table_of(data).times) == times


def test_a_clock_that_starts_anew_is_refused() -> None:
    with pytest.raises(ItemError) as caught:
        table_of(film("mpeg2.ts") + film("mpeg2.ts"))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "jump back" in caught.value.found


def test_recovery_points_that_come_true_later_are_no_place_to_start() -> None:
    with av.open(io.BytesIO(film("intra-refresh.ts"))) as container:
        marked = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert marked > 2
    assert table_of(film("intra-refresh.ts")).keys == (0,)


@pytest.mark.parametrize("name", ["open-gop.mkv", "open-gop.ts", "open-gop-hevc.mkv", "mpeg2.ts", "vp9.webm"])
def test_open_groups_of_pictures_are_places_to_start(name: str) -> None:
    assert len(table_of(film(name)).keys) >= 3


def test_facts_come_from_the_film_and_by_convention() -> None:
    small = table_of(film("constant.mp4")).facts
    assert (small.layout.matrix, small.layout.siting, small.layout.full_range) == ("bt601", "left", False)
    assert small.colour_tags[:3] == (2, 2, 2)
    assert table_of(film("jpeg.mov")).facts.layout.full_range
    assert table_of(film("jpeg.mov")).facts.layout.siting == "center"
    for size, matrix in (
        *(((64, 720), "bt709"), ((64, 578), "bt709"), ((1280, 64), "bt709")),
        *(((1278, 64), "bt601"), ((64, 576), "bt601")),
    ):
        assert table_of(h264("mp4", frames=2, size=size)).facts.layout.matrix == matrix, size
    said = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    wide = table_of(h264("mp4", frames=2, pix_fmt="yuv420p10le", settings=said)).facts
    assert (wide.colour_tags, wide.layout.matrix, wide.layout.siting) == ((9, 16, 9, 1), "bt2020", "topleft")


def test_what_a_container_hides_of_a_film_is_said() -> None:
    """PixelCropLeft of Matroska, in the place of DisplayUnit, and `clap` of QuickTime."""
    shown = h264("matroska", frames=2)
    hidden = shown.replace(b"\xba\x81\x40\x54\xb2\x81\x04", b"\xba\x81\x40\x54\xcc\x81\x06")
    assert hidden != shown
    aperture = b"".join(number.to_bytes(4, "big") for number in (84, 1, 64, 1, 0, 1, 0, 1))
    clap = with_box(h264("mp4", frames=2), b"clap", aperture)
    for data, crop, says in (
        (hidden, (6, 0, 0, 0), "6 at the left"),
        (clap, (6, 6, 0, 0), "6 at the left, 6 at the right"),
        (shown, (0, 0, 0, 0), None),
    ):
        table = table_of(data)
        assert table.facts.crop == crop
        warning = plan_film(table, URL, params()).warning or ""
        assert (f"pixels that the container hides ({says}) are restored and shown" in warning) is (says is not None)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "mov"])
@pytest.mark.parametrize(("said", "found"), [("center", "center"), ("topleft", "topleft"), ("left", "left")])
def test_where_chroma_lies_is_what_the_film_says(said: str, found: str, container: str) -> None:
    options = {**X264, "chroma_sample_location": said}
    assert table_of(clip("libx264", container, options=options, frames=2)).facts.layout.siting == found


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1"])
def test_other_codecs_say_it_as_well(codec: str) -> None:
    options = {"chroma_sample_location": "topleft"} | ({"x265-params": X265} if codec == "libx265" else {})
    assert table_of(clip(codec, "matroska", options=options, frames=2)).facts.layout.siting == "topleft"


def test_where_no_name_is_known_chroma_lies_as_is_usual() -> None:
    options = {**X264, "chroma_sample_location": "bottom"}
    assert table_of(clip("libx264", "mp4", options=options, frames=2)).facts.layout.siting == "left"


@pytest.mark.parametrize(
    ("name", "model", "depth", "shift", "alpha"),
    [
        ("rgb.mkv", "rgb", 8, (0, 0), False),
        ("gray.mkv", "gray", 10, (0, 0), False),
        ("prores.mov", "yuv", 10, (1, 0), False),
        ("nv12.nut", "yuv", 8, (1, 1), False),
        ("yuyv.avi", "yuv", 8, (1, 0), False),
        ("runs.mov", "rgb", 8, (0, 0), False),
        ("odd.mkv", "yuv", 8, (0, 0), False),
    ],
)
def test_layouts_follow_the_pixel_format(
    name: str, model: str, depth: int, shift: tuple[int, int], alpha: bool
) -> None:
    layout = table_of(film(name)).facts.layout
    assert (layout.model, layout.depth, layout.chroma_shift, layout.alpha) == (model, depth, shift, alpha)


def test_rotation_is_carried_as_it_is_stored() -> None:
    facts = table_of(real_film("video_90.mov").read_bytes()).facts
    assert facts.rotation[:5] == (0, 65536, 0, -65536, 0)
    assert len(facts.rotation) == 9
    assert (facts.layout.width, facts.layout.height) == (568, 320)


TURN = {0: (65536, 0, 0, 65536), 90: (0, 65536, -65536, 0), 180: (-65536, 0, 0, -65536), 270: (0, -65536, 65536, 0)}


@pytest.mark.parametrize("degrees", TURN)
@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
def test_a_turned_picture_stays_in_its_place_when_it_grows(degrees: int, size: tuple[int, int]) -> None:
    a, b, c, d = TURN[degrees]

    def moved(width: int, height: int) -> tuple[int, ...]:
        """The matrix that turns a picture and moves it back to where x and y start, and on by its half."""
        corners = [(a * p + c * q, b * p + d * q) for p in (0, width) for q in (0, height)]
        x, y = (-min(corner[axis] for corner in corners) for axis in (0, 1))
        return (a, b, 0, c, d, 0, x, y, 1 << 30)

    table = table_of(h264("matroska", frames=2, size=size, pix_fmt="yuv444p"))
    table = replace(table, facts=replace(table.facts, rotation=moved(*size)))
    for codec, outscale in (("ffv1", 3.0), ("h264", 1.5)):
        plan = plan_film(table, URL, replace(params(codec=codec, pix_fmt="yuv420p"), outscale=outscale))
        assert plan.rotation == moved(plan.target.width, plan.target.height)


@pytest.mark.parametrize("degrees", TURN)
def test_a_size_is_that_of_the_picture_as_players_turn_it(degrees: int) -> None:
    a, b, c, d = TURN[degrees]
    table = table_of(h264("matroska", frames=2, size=(96, 64)))
    table = replace(table, facts=replace(table.facts, rotation=(a, b, 0, c, d, 0, 0, 0, 1 << 30)))
    target = plan_film(table, URL, replace(params(codec="h264"), outscale=0.0, size=(90, 300))).target
    assert (target.width, target.height) == ((134, 90) if degrees in (90, 270) else (90, 60))


def test_shifts_too_large_for_their_field_are_as_large_as_it_holds() -> None:
    table = table_of(film("one.mp4"))
    matrix = (65536, 0, 0, 0, 65536, 0, 2_000_000_000, -2_000_000_000, 1 << 30)
    plan = plan_film(replace(table, facts=replace(table.facts, rotation=matrix)), URL, params())
    assert plan.rotation == (*matrix[:6], (1 << 31) - 1, 1 - (1 << 31), 1 << 30)


def test_colours_that_were_assumed_are_written_only_when_asked_for() -> None:
    table = table_of(film("constant.mp4"))
    assert table.facts.colour_tags[:3] == (2, 2, 2)
    assert plan_film(table, URL, params()).colour_tags == table.facts.colour_tags
    tagged = params(tag_colours=True)
    wanted = {"bt601": (6, 6, 6), "bt709": (1, 1, 1), "bt2020": (9, 14, 9)}
    for matrix, tags in wanted.items():
        layout = replace(table.facts.layout, matrix=matrix)
        for source, made in (((2, 2, 2, 1), (*tags, 1)), ((9, 16, 2, 0), (9, 16, tags[2], 0)), ((2, 2, 5, 0), None)):
            facts = replace(table.facts, layout=layout, colour_tags=source)
            assert plan_film(replace(table, facts=facts), URL, tagged).colour_tags == (made or source)
    gray = table_of(film("gray.mkv"))
    assert plan_film(gray, URL, tagged).colour_tags == plan_film(gray, URL, params()).colour_tags


def test_a_variable_rate_is_an_average() -> None:
    table = table_of(film("variable.mkv"))
    seconds = (table.times[-1] - table.times[0]) * table.header.time_base
    assert abs(table.rate - (len(table.times) - 1) / seconds) < Fraction(1, 50)
    assert table_of(film("constant.mp4")).rate == 25


# -- segments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 7, 12, 18, 1000])
def test_segments_end_at_keyframes_that_are_near_and_leave_nothing_out(most: int) -> None:
    cut = read_film(io.BytesIO(film("constant.mp4")), URL, params(segment_frames=most))
    table = table_of(film("constant.mp4"))
    assert sum((span.pts for span in cut.spans), ()) == table.stamps
    assert sum((span.out_pts for span in cut.spans), ()) == table.times
    starts = [span.frames[0] for span in cut.spans]
    assert starts == [0, *(span.frames[1] for span in cut.spans[:-1])]
    assert max(len(span.pts) for span in cut.spans) <= most
    if most in (12, 18):
        assert starts == [0, 12, 24, 36][: 4 if most == 12 else 3]


def test_a_span_starts_from_the_last_keyframe_before_it() -> None:
    table = table_of(film("constant.mp4"))
    spans = plan_spans(table, plan_film(table, URL, params()), replace(VIDEO, segment_frames=5))
    for span in spans:
        before = [table.stamps[key] for key in table.keys if key <= span.frames[0]]
        assert span.seek_pts == before[-1]


def test_a_rate_that_is_asked_for_repeats_and_leaves_out_frames() -> None:
    data = film("constant.mp4")
    table = table_of(data)
    double = read_film(io.BytesIO(data), URL, params(fps="50/1"))
    assert double.film.frames == 80
    assert [pts for span in double.spans for pts in span.pts] == [stamp for stamp in table.stamps for _ in "ab"]
    half = read_film(io.BytesIO(data), URL, params(fps="25/2", segment_frames=7))
    assert [pts for span in half.spans for pts in span.pts] == list(table.stamps[::2])
    out = [time for span in half.spans for time in span.out_pts]
    assert [time * half.film.out_base for time in out] == [Fraction(2 * number, 25) for number in range(20)]
    ntsc = read_film(io.BytesIO(data), URL, params(fps="24000/1001"))
    out = [time for span in ntsc.spans for time in span.out_pts]
    assert [time * ntsc.film.out_base for time in out] == [Fraction(1001 * number, 24000) for number in range(len(out))]


def test_a_timestamp_that_jumps_makes_no_film_without_end() -> None:
    data = h264("matroska", "bframes=0:keyint=1", times=[0, 40, 4_000_000_000], frames=3)
    cut = read_film(io.BytesIO(data), URL, params())
    assert cut.film.rate > 0
    assert cut.spans[0].out_pts == (0, 40, 4_000_000_000)
    assert read_film(io.BytesIO(data), URL, params(fps="1/10000")).film.frames == 410  # the last is shown for 100000 s
    started = time.monotonic()
    with pytest.raises(ItemError) as caught:
        read_film(io.BytesIO(data), URL, params(fps="60/1"))
    assert time.monotonic() - started < 5
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "from 0.04 s to 4000000 s: frame 1 would be shown 239999997 times" in caught.value.found
    assert "--fps" in caught.value.advice


@pytest.mark.parametrize(
    ("times", "rate", "frames"),
    [
        ([0, 1_000_000], 1, 1_000_001),  # long, and one frame of it too often
        (range(0, 10_100_000, 100), 1, 10_099_901),  # longer than any
        ([0, 2, 1 << 62], 1, (1 << 62) + 1),
    ],
)
def test_outputs_without_end_are_refused_before_they_are_listed(times: Sequence[int], rate: int, frames: int) -> None:
    with pytest.raises(ItemError) as caught:
        moments(times, Fraction(1), Fraction(1), Fraction(rate), URL)
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert str(frames) in caught.value.found


def test_long_outputs_are_made_where_no_frame_is_shown_for_long() -> None:
    asked = moments(range(0, 1_100_000, 1000), Fraction(1000), Fraction(1), Fraction(1), URL)
    assert len(asked.places) == 1_100_000
    assert (asked.places[:1001], asked.places[-1]) == ([0] * 1000 + [1], 1099)
    assert asked.ticks[-1] * asked.base == 1_099_999


def test_segments_far_from_any_keyframe_are_told_of() -> None:
    one_key = h264("matroska", "bframes=0:keyint=infinite:scenecut=0")
    warning = read_film(io.BytesIO(one_key), URL, params(segment_frames=1)).film.warning or ""
    assert "has 1 keyframe in 40 frames: each worker decodes all that comes before" in warning
    assert read_film(io.BytesIO(one_key), "x.mkv", params(segment_frames=20)).film.warning is None
    assert read_film(io.BytesIO(film("constant.mp4")), URL, params(segment_frames=1)).film.warning is None
    raw = read_film(io.BytesIO(film("raw.m2v")), URL, params(segment_frames=2)).film.warning or ""
    assert "has no timestamps" in raw
    assert "remux" in raw


def test_interlaced_films_are_refused_unless_deinterlaced() -> None:
    data = clip("mpeg2video", "mpegts", options={"b": "2M", "flags": "+ildct+ilme"}, frames=8)
    with pytest.raises(ItemError) as caught:
        read_film(io.BytesIO(data), URL, params())
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert "--deinterlace" in caught.value.advice
    assert read_film(io.BytesIO(data), URL, params(deinterlace=True)).film.deinterlace


def test_plans_are_a_pure_function_of_the_film() -> None:
    assert read_film(io.BytesIO(film("vp9.webm")), URL, params()) == read_film(
        io.BytesIO(film("vp9.webm")), URL, params()
    )
