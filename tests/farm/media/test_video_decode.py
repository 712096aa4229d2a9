"""Segments are the film: however it is cut, their frames are those of one decoder that runs from start to end."""

from __future__ import annotations

import io
import itertools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av import error as av_error
from PIL import Image

from farm.errors import ErrorKind, ItemError
from farm.media.video import planes as planes_room
from farm.media.video.plan import read_film
from farm.media.video.planes import source_format
from farm.media.video.read import vp9
from farm.media.video.read.damage import listed, scan_damage
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.decoder import DecodedFrame
from farm.media.video.read.deinterlace import deinterlaced
from farm.media.video.read.reader import FilmReader
from farm.media.video.read.source import film_stream
from farm.media.video.values import ONE_THREAD, DecoderConfig, FilmCut, Frame
from farm.params import UpscaleParams
from tests.clips import CLIPS, clip, edited, extents, film, flipped, h264, in_front, picture, remuxed, sequential
from tests.farm.items import PARAMS, VIDEO
from tests.memory import forget_peak, peak_bytes
from tests.outside import FILMS, needs_data

URL = "films/x.mp4"
LENGTHS = (1, 7, 48, 1000)


def params(**video: object) -> UpscaleParams:
    return replace(PARAMS, outscale=2.0, video=replace(VIDEO, **video))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Shown:
    """One frame out of a segment."""

    time: int
    planes: tuple[bytes, ...]
    damaged: bool


def frames_of(data: bytes, how: DecoderConfig = ONE_THREAD, **video: object) -> list[Shown]:
    """All frames of all segments, each segment from a decoder of its own."""
    settings = params(**video)
    cut = read_film(io.BytesIO(data), URL, settings)
    found: list[Shown] = []
    for span in cut.spans:
        frames = list(iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, span, settings, how))
        assert [frame.index for frame in frames] == list(range(*span.frames))
        for time, frame in zip(span.out_pts, frames, strict=True):
            assert [plane.shape[::-1] for plane in frame.planes] == list(cut.film.source.plane_sizes)
            found.append(Shown(time, tuple(plane.tobytes() for plane in frame.planes), frame.damaged))
    return found


def same(shown: list[Shown], expected: list[tuple[int | None, tuple[bytes, ...]]]) -> bool:
    """Whether times and every byte of every plane are equal and nothing is called damaged."""
    return [(one.time, one.planes) for one in shown] == expected and not any(one.damaged for one in shown)


def error_of(data: bytes, **video: object) -> ItemError:
    with pytest.raises(ItemError) as caught:
        frames_of(data, **video)
    return caught.value


# -- the same frames however the film is cut -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_segments_of_any_length_are_the_film(name: str) -> None:
    expected = sequential(film(name))
    for length in LENGTHS:
        assert same(frames_of(film(name), segment_frames=length), expected), length


@needs_data
@pytest.mark.parametrize("path", FILMS, ids=lambda path: path.name)
def test_segments_of_a_real_film_are_the_film(path: Path) -> None:
    data = path.read_bytes()
    settings = params(segment_frames=100)
    cut = read_film(io.BytesIO(data), URL, settings)
    with av.open(io.BytesIO(data)) as container:
        stream = film_stream(container, URL)
        decoded = container.decode(stream)
        first = {span.frames[0] for span in cut.spans}
        kind = source_format(stream.codec_context.format.name)
        assert kind is not None
        for span in cut.spans[:: max(1, len(cut.spans) - 1)]:  # the first and the last
            for frame in iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, span, settings):
                assert not frame.damaged
                if frame.index in first or frame.index == cut.film.frames - 1:
                    expected = next(one for one in decoded if one.pts == span.pts[frame.index - span.frames[0]])
                    pairs = zip(kind.read(expected), frame.planes, strict=True)
                    assert all(np.array_equal(left, right) for left, right in pairs)


def test_frames_that_an_edit_list_leaves_out_stay_out() -> None:
    data = edited(film("constant.mp4"), 5 * 512)
    assert same(frames_of(data, segment_frames=7), sequential(data))


def test_a_film_that_starts_between_keyframes_is_not_called_damaged() -> None:
    packets = iter(range(100))
    late = remuxed(film("open-gop.ts"), "mpegts", lambda _: next(packets) >= 6)
    assert same(frames_of(late, segment_frames=7), sequential(late))


def test_several_threads_of_the_decoder_change_nothing() -> None:
    for name in ("constant.mp4", "open-gop-hevc.mkv", "vp9.webm"):
        assert same(frames_of(film(name), DecoderConfig(threads=3), segment_frames=17), sequential(film(name)))


def test_frames_of_one_timestamp_are_told_apart() -> None:
    def doubled(packet: av.Packet) -> bool:
        if packet.pts == 280:
            packet.pts = packet.dts = 240
        return True

    times = [40 * number for number in range(24)]
    data = remuxed(clip("mpeg4", "matroska", options={"g": "6"}, frames=24, times=times), "matroska", doubled)
    expected = [planes for _, planes in sequential(data)]
    for length in (1, 5, 7, 24):
        assert [one.planes for one in frames_of(data, segment_frames=length)] == expected


def test_b_frames_without_times_are_in_the_order_they_are_shown() -> None:
    data = h264("avi", "bframes=3:b-adapt=0:keyint=12")
    expected = [planes for _, planes in sequential(data)]
    shown = frames_of(data, segment_frames=7)
    assert [one.planes for one in shown] == expected
    assert all(a.time < b.time for a, b in itertools.pairwise(shown))


def test_a_rate_that_is_asked_for_shows_frames_twice_or_not_at_all() -> None:
    expected = [planes for _, planes in sequential(film("constant.mp4"))]
    double = frames_of(film("constant.mp4"), fps="50/1", segment_frames=7)
    assert [one.planes for one in double] == [planes for planes in expected for _ in "ab"]
    half = frames_of(film("constant.mp4"), fps="25/2", segment_frames=7)
    assert [one.planes for one in half] == expected[::2]


def test_a_frame_that_is_shown_twice_has_the_same_planes() -> None:
    settings = params(fps="50/1")
    cut = read_film(io.BytesIO(film("constant.mp4")), URL, settings)
    frames = list(iter_frames(FilmReader.of(io.BytesIO(film("constant.mp4")), URL), cut.film, cut.spans[0], settings))
    assert all(frames[at].planes is frames[at + 1].planes for at in range(0, len(frames) - 1, 2))
    assert frames[0].planes is not frames[2].planes


def test_planes_are_views_and_few_frames_are_alive() -> None:
    settings = params(segment_frames=1000)
    cut = read_film(io.BytesIO(film("open-gop.mkv")), URL, settings)
    alive: list[weakref.ref[object]] = []
    most = 0
    for frame in iter_frames(FilmReader.of(io.BytesIO(film("open-gop.mkv")), URL), cut.film, cut.spans[0], settings):
        assert not any(plane.flags.owndata for plane in frame.planes)
        alive.append(weakref.ref(frame.planes[0]))
        most = max(most, sum(one() is not None for one in alive))
    assert most <= 3


# -- fields, alpha, formats ----------------------------------------------------------------------------------------


def test_deinterlaced_frames_do_not_depend_on_the_segments() -> None:
    data = clip("mpeg2video", "mpegts", options={"b": "2M", "g": "6", "flags": "+ildct+ilme"}, frames=20)
    whole = frames_of(data, deinterlace=True, segment_frames=1000)
    plain = sequential(data)
    assert [one.time for one in whole] == [time for time, _ in plain]
    assert [one.planes for one in whole] != [planes for _, planes in plain]
    for length in (1, 4, 7):
        assert frames_of(data, deinterlace=True, segment_frames=length) == whole


def test_whole_frames_pass_the_deinterlacer_as_they_are() -> None:
    assert same(frames_of(film("constant.mp4"), deinterlace=True, segment_frames=7), sequential(film("constant.mp4")))


@pytest.mark.parametrize(("size", "name"), [((32, 32), "yuv420p"), ((64, 64), "yuv422p"), ((64, 64), "pal8")])
def test_the_deinterlacer_is_given_no_frames_of_another_kind(size: tuple[int, int], name: str) -> None:
    kinds = [(64, 64, "yuv420p")] * 2 + [(*size, name)]
    frames = [
        DecodedFrame(stamp=number, frame=av.VideoFrame(*kind), damaged=False) for number, kind in enumerate(kinds)
    ]
    with pytest.raises(ItemError) as caught:
        list(deinterlaced(frames, URL))
    assert caught.value.kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("error", "expected"),
    [(av_error.InvalidDataError(1, "x"), ItemError), (av_error.MemoryError(12, "x"), MemoryError)],
)
def test_what_a_filter_raises_is_the_rows(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """What stands for the filter graph."""

        def vpush(self, _frame: object) -> None:
            raise error

    monkeypatch.setattr("farm.media.video.faults.has_memory", lambda: False)
    monkeypatch.setattr("farm.media.video.read.deinterlace._graph", lambda *_: Broken())
    with pytest.raises(expected):
        list(deinterlaced([DecodedFrame(stamp=0, frame=av.VideoFrame(64, 64, "yuv420p"), damaged=False)], URL))


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_the_alpha_of_webm_is_decoded(codec: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as out:
        stream = out.add_stream(codec, rate=25, options={"b": "500k", "auto-alt-ref": "0", "cpu-used": "8"})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.thread_count = 96, 64, "yuva420p", 1
        for number in range(8):
            pixels = np.dstack([picture(number), np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    cut = read_film(io.BytesIO(file.getvalue()), URL, params())
    assert cut.film.source.alpha
    frames = list(iter_frames(FilmReader.of(io.BytesIO(file.getvalue()), URL), cut.film, cut.spans[0], params()))
    assert len(frames) == 8
    alpha = frames[3].planes[3].astype(int)
    assert np.abs(alpha - np.linspace(0, 255, 96)).mean() < 12


def _random_frame(name: str) -> av.VideoFrame:
    frame = av.VideoFrame(37, 23, name)
    for at, plane in enumerate(frame.planes):
        samples = np.random.default_rng(at).integers(0, 256, plane.buffer_size, dtype=np.uint8)
        if name in ("p010le", "p210le", "y210le"):
            samples[::2] &= 0xC0  # the low six bits mean nothing
        plane.update(samples.tobytes())
    return frame


@pytest.mark.parametrize(
    ("name", "planar"),
    [
        *(
            ("nv12", "yuv420p"),
            ("nv21", "yuv420p"),
            ("nv16", "yuv422p"),
            ("nv24", "yuv444p"),
            ("p010le", "yuv420p10le"),
        ),
        *(("p210le", "yuv422p10le"), ("p016le", "yuv420p16le"), ("yuyv422", "yuv422p"), ("uyvy422", "yuv422p")),
        *(("y210le", "yuv422p10le"), ("rgb24", "gbrp"), ("bgr24", "gbrp"), ("rgba", "gbrap"), ("argb", "gbrap")),
        *(("bgr0", "gbrp"), ("rgb48le", "gbrp16le"), ("rgb48be", "gbrp16le"), ("rgba64le", "gbrap16le")),
        *(("yuv420p10be", "yuv420p10le"), ("gbrp10be", "gbrp10le"), ("gray16be", "gray16le"), ("vuya", "yuva444p")),
        *(("ayuv64le", "yuva444p16le"), ("x2rgb10le", "gbrp10le")),
    ],
)
def test_packed_formats_are_taken_apart_sample_by_sample(name: str, planar: str) -> None:
    frame = _random_frame(name)
    ours, theirs = source_format(name), source_format(planar)
    assert ours is not None
    assert theirs is not None
    pairs = zip(ours.read(frame), theirs.read(frame.reformat(format=planar, threads=1)), strict=True)
    assert all(np.array_equal(left, right) for left, right in pairs)
    assert (ours.model, ours.depth, ours.chroma_shift, ours.alpha) == (
        *(theirs.model, theirs.depth, theirs.chroma_shift),
        theirs.alpha,
    )


def test_bits_and_palettes_become_gray_and_rgb() -> None:
    black, white = source_format("monob"), source_format("monow")
    assert black is not None
    assert white is not None
    frame = _random_frame("monob")
    assert set(np.unique(black.read(frame)[0])) == {0, 255}
    palette = source_format("pal8")
    assert palette is not None
    pixels = np.random.default_rng(1).integers(0, 256, (23, 37, 4), dtype=np.uint8)
    few = pixels[:4, :4].reshape(16, 4)[np.random.default_rng(2).integers(0, 16, (23, 37))]
    indexed = av.VideoFrame(37, 23, "pal8")
    table = np.zeros((256, 4), np.uint8)
    table[:16] = few.reshape(-1, 4)[:16][:, [2, 1, 0, 3]]
    indices = np.random.default_rng(3).integers(0, 16, (23, indexed.planes[0].line_size), dtype=np.uint8)
    indexed.planes[0].update(indices.tobytes())
    indexed.planes[1].update(table.tobytes())
    red, green, blue, alpha = palette.read(indexed)
    wanted = table[indices[:, :37]]
    assert np.array_equal(np.dstack([blue, green, red, alpha]), wanted)


@pytest.mark.parametrize("name", ["xyz12le", "bayer_rggb8", "gbrpf32le", "cuda", "nonsense"])
def test_formats_without_a_right_conversion_are_not_read(name: str) -> None:
    assert planes_room.source_format(name) is None


def test_a_size_that_changes_is_refused() -> None:
    small = clip("mjpeg", "matroska", "yuvj420p", frames=6)
    large = clip("mjpeg", "matroska", "yuvj420p", frames=6, size=(64, 48))
    file = io.BytesIO()
    with av.open(io.BytesIO(small)) as one, av.open(io.BytesIO(large)) as two, av.open(file, "w", "matroska") as out:
        target = out.add_stream_from_template(one.streams.video[0], opaque=True)
        for source, later in ((one, 0), (two, 240)):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, target
                    out.mux(packet)
    error = error_of(file.getvalue())
    assert (error.kind, "frame 6 is 64 x 48" in error.found) == (ErrorKind.UNSUPPORTED, True)


# -- damage --------------------------------------------------------------------------------------------------------


def differing(data: bytes, whole: bytes) -> set[int]:
    """Frames whose pixels are not those of the undamaged film."""
    pairs = zip(frames_of(data, allow_damaged=True, segment_frames=7), sequential(whole), strict=True)
    return {at for at, (shown, (_, planes)) in enumerate(pairs) if shown.planes != planes}


KEYFRAMES_ONLY = ("constant.mp4", "open-gop.mkv")
"""whose decoder takes half of all damage in small frames for frames; H.264 has nothing to tell it by"""


@pytest.mark.parametrize("number", [1, 2, 7, 12])
@pytest.mark.parametrize("name", [*KEYFRAMES_ONLY, "mpeg4.avi", "vp9.webm", "prores.mov", "rgb.mkv"])
def test_damaged_frames_are_listed_or_marked_and_no_others(name: str, number: int) -> None:
    whole = film(name)
    total = len(sequential(whole))
    packets = [at for at, (_, _, key) in enumerate(extents(whole)) if key or name not in KEYFRAMES_ONLY]
    bad = flipped(whole, packets[number % len(packets)])
    error = error_of(bad, segment_frames=7)
    assert error.kind is ErrorKind.DECODE_ERRORS
    shown = frames_of(bad, allow_damaged=True, segment_frames=7)
    assert [one.time for one in shown] == [time for time, _ in sequential(whole)]
    marked = {at for at, one in enumerate(shown) if one.damaged}
    assert differing(bad, whole) <= marked
    assert f" {listed(sorted(marked))} damaged of {total}" in error.found
    assert len(marked) <= 16  # one group of pictures and the leading frames of the next


def test_a_damaged_keyframe_damages_its_group_only() -> None:
    whole = in_front(h264("mp4", "bframes=0:keyint=12:scenecut=0", frames=36))
    bad = flipped(whole, 12)
    assert "frames 12-23 damaged of 36" in error_of(bad, segment_frames=5).found
    assert {at for at, one in enumerate(frames_of(bad, allow_damaged=True)) if one.damaged} == set(range(12, 24))


def test_a_scan_lists_the_frames_of_the_whole_film() -> None:
    whole = film("prores.mov")
    bad = flipped(flipped(flipped(whole, 3), 4), 9)
    settings = params(allow_damaged=True)
    cut: FilmCut = read_film(io.BytesIO(bad), URL, settings)
    assert scan_damage(io.BytesIO(bad), URL, cut.film, settings) == (3, 4, 9)
    assert "frames 3-4, 9 damaged of 12" in error_of(bad, segment_frames=5).found


def test_frames_of_which_nothing_is_left_repeat_another() -> None:
    whole = film("vp9.webm")
    bad = flipped(whole, 15, (0.1, 1.0))
    shown = frames_of(bad, allow_damaged=True, segment_frames=7)
    assert len(shown) == 40
    assert any(one.damaged for one in shown)
    assert not shown[14].damaged


def test_damage_on_a_lossy_container_is_told() -> None:
    data = bytearray(film("windows.asf"))
    for at in range(len(data) // 2, len(data) // 2 + 40):
        data[at] ^= 0xFF
    assert error_of(bytes(data)).kind is ErrorKind.DECODE_ERRORS


def test_a_wrong_keyframe_is_found_out_and_decoding_starts_earlier() -> None:
    data = film("constant.mp4")
    cut = read_film(io.BytesIO(data), URL, params(segment_frames=7))
    middle = replace(cut.spans[2], seek_pts=cut.spans[2].pts[0] + 1)  # there is no such packet
    frames: Iterator[Frame] = iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, middle, params())
    found = [tuple(plane.tobytes() for plane in frame.planes) for frame in frames]
    assert found == [planes for _, planes in sequential(data)][slice(*middle.frames)]


def _vp9(pix_fmt: str, size: tuple[int, int], **settings: str) -> list[bytes]:
    data = clip("libvpx-vp9", "webm", pix_fmt, size=size, frames=12, options={"cpu-used": "8", "g": "6", **settings})
    with av.open(io.BytesIO(data)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "gbrp"])
@pytest.mark.parametrize("settings", [{}, {"auto-alt-ref": "1", "lag-in-frames": "10"}, {"error-resilience": "1"}])
def test_a_vp9_packet_tells_the_size_of_its_frames(pix_fmt: str, settings: dict[str, str]) -> None:
    sizes = [vp9.largest_frame(memoryview(packet)) for packet in _vp9(pix_fmt, (98, 66), **settings)]
    assert sizes[0] == 98 * 66
    assert set(sizes) == {0, 98 * 66}


def test_a_damaged_size_takes_no_memory() -> None:
    packet = _vp9("yuv420p", (98, 66))[0]
    data = bytearray(clip("libvpx-vp9", "webm", size=(98, 66), frames=12, options={"cpu-used": "8", "g": "6"}))
    at = data.index(packet[:16])
    bits = int.from_bytes(data[at : at + 16], "big")
    sizes = 97 << 16 | 65
    shift = next(shift for shift in range(96) if bits >> shift & 0xFFFFFFFF == sizes)
    data[at : at + 16] = (bits | 0xFFFFFFFF << shift).to_bytes(16, "big")
    before = forget_peak()
    error = error_of(bytes(data))
    assert (error.kind, "0-5" in error.found) == (ErrorKind.DECODE_ERRORS, True)
    assert peak_bytes() - before < 500_000_000  # libvpx would take 10 GB


def test_long_lists_are_cut_short() -> None:
    assert listed([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert listed(range(0, 200, 2)).endswith("46 and 76 more")


def test_the_gpus_decoder_is_asked_for_and_done_without_where_there_is_none() -> None:
    """NVDEC itself cannot be tried without a GPU; FFmpeg falls back to its own decoder, which gives the same pixels."""
    data = film("constant.mp4")
    assert frames_of(data, DecoderConfig(threads=2, hardware=True)) == frames_of(data)


def _pngs(*pictures: np.ndarray, palette: bool = False) -> bytes:
    """A QuickTime film whose frames are these pictures as PNG, each of its own channels; RGBA may become a palette."""
    blank, out = clip("png", "mov", "rgb24", frames=1, size=(32, 16)), io.BytesIO()
    with av.open(io.BytesIO(blank)) as source, av.open(out, "w", format="mov") as made:
        stream = made.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, pixels in enumerate(pictures):
            file, image = io.BytesIO(), Image.fromarray(pixels)
            if palette:  # without transparency where there is none
                image = (image if pixels[..., -1].min() < 255 else image.convert("RGB")).quantize(8)
            image.save(file, "PNG")
            packet = av.Packet(file.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            packet.duration = 1
            made.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("palette", [False, True])
def test_a_film_that_becomes_transparent_is_refused(palette: bool) -> None:
    solid = np.full((16, 32, 4), 255, np.uint8)
    solid[4:9, 3:20, :3] = (200, 30, 40)
    clear = solid.copy()
    clear[:8, :8, 3] = 0
    first = solid if palette else solid[..., :3]
    assert len(frames_of(_pngs(first, solid, solid, palette=palette))) == 3
    with pytest.raises(ItemError, match="frame 2 is transparent, the first has no transparency") as caught:
        frames_of(_pngs(first, solid, clear, palette=palette))
    assert caught.value.kind is ErrorKind.UNSUPPORTED
