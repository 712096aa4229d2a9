"""Single pictures of films: the frames of an independent decoder, whichever windows are asked for together."""

from __future__ import annotations

import io
import subprocess
import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest
import pyvips
import torch
from skimage.filters import laplace

from farm.errors import ErrorKind, ItemError
from farm.kinds import MediaKind
from farm.media import video
from farm.sample import FramesOptions, Made, PrepareParams, Sample, SourceRow
from farm.tasks.operations.base import Content
from farm.tasks.operations.frames import Frames
from sr_kernel.colour import to_rgb
from sr_kernel.layout import FrameLayout
from tests.clips import CLIPS, clip, extents, film, flipped, h264, picture, sequential
from tests.farm.media.films import video_params
from tests.outside import needs_data, real_film, require_ffmpeg
from tests.videos import make_film


def row_of(url: str, version: str = "v1") -> SourceRow:
    return SourceRow(url=url, relative_path=url, key="films_x", kind=MediaKind.VIDEO, version=version)


def operation(most_pixels: int = 512_000_000, **options: object) -> Frames:
    chosen = FramesOptions(**options)  # pyright: ignore[reportArgumentType]
    return Frames(
        PrepareParams(
            operation="frames",
            options=chosen,
            form="tree",
            device_class="cpu",
            max_pixels_in=most_pixels,
            pixel_epoch=1,
            roles=("image",),
        )
    )


def made(data: bytes | Path, url: str = "films/x.mkv", first: int = 0, last: int = 1 << 30, **options: object) -> Made:
    content = Content(data=data if isinstance(data, bytes) else io.BytesIO(data.read_bytes()))
    return operation(**options).make(row_of(url), content, first, last)


def numbers(result: Made) -> list[int]:
    found = [sample.record["frame"] for sample in result.samples]
    assert [sample.key for sample in result.samples] == [f"films_x_f{number:08d}" for number in found]
    return [int(number) for number in found if number is not None]


def pixels(sample: Sample) -> np.ndarray:
    (member,) = sample.members
    assert (member.role, member.extension, member.channels) == ("image", "png", 3)
    found = pyvips.Image.new_from_buffer(member.data, "").numpy()
    assert found.shape == (member.height, member.width, 3)
    assert (sample.record["width"], sample.record["height"]) == (member.width, member.height)
    return found


def lossless(pictures: Sequence[np.ndarray], codec: str = "ffv1", pix_fmt: str = "bgr0") -> bytes:
    """A film that decodes to these pictures exactly."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream(codec, rate=25, options={"g": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for one in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24").reformat(format=pix_fmt)))
        out.mux(stream.encode(None))
    return file.getvalue()


# -- the frames of an independent decoder --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_every_nth_frame_is_that_of_a_decoder_that_runs_from_start_to_end(name: str) -> None:
    """Bit for bit: its planes through the tensor arithmetic that films are restored with."""
    data, url = film(name), f"films/{name}"
    layout = video.read_film(io.BytesIO(data), url, video_params(container="mkv", codec="ffv1")).film.source
    expected = sequential(data)
    result = made(data, url, every=7)
    assert numbers(result) == list(range(0, len(expected), 7))
    for sample in result.samples:
        assert np.array_equal(pixels(sample), rgb_of(expected[frame_of(sample)][1], layout))
    assert result.record["frames"] == len(expected)


def frame_of(sample: Sample) -> int:
    return int(sample.record["frame"] or 0)


def rgb_of(planes: Sequence[bytes], layout: FrameLayout) -> np.ndarray:
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    sizes = layout.colour_sizes
    arrays = [np.frombuffer(data, dtype).reshape(size[::-1]) for data, size in zip(planes, sizes, strict=False)]
    return to_rgb([torch.from_numpy(array.copy()) for array in arrays], layout).numpy()


def shown_by_ffmpeg(path: Path, chosen: Sequence[int], size: tuple[int, int], pixel_format: str) -> np.ndarray:
    """Frames of Debian's ffmpeg, upright, with the matrix and range that the film says."""
    select = "+".join(f"eq(n\\,{number})" for number in chosen)
    command = [require_ffmpeg(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-vf", f"select='{select}'"]
    command += ["-fps_mode", "passthrough", "-sws_flags", "accurate_rnd+full_chroma_int+bilinear"]
    command += ["-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8 if pixel_format == "rgb24" else "<u2").reshape(len(chosen), *size, 3)


@needs_data
@pytest.mark.parametrize(
    ("name", "size", "depth"),
    [
        ("onepiece_demo.mp4", (480, 640), 8),
        ("video_90.mov", (568, 320), 8),
        ("h265_10bits.mp4", (200, 200), 16),
        ("hlg10-color-test.mp4", (1080, 1920), 16),
        ("bear-vp9-odd-dimensions.webm", (121, 161), 8),
    ],
)
def test_real_films_show_the_colours_and_the_side_up_that_ffmpeg_shows(
    name: str, size: tuple[int, int], depth: int
) -> None:
    path = real_film(name)
    result = made(path, name, 0, 2, every=9)
    found = np.stack([pixels(sample) for sample in result.samples])
    assert found.dtype == (np.uint8 if depth == 8 else np.uint16)
    check_alike(found, shown_by_ffmpeg(path, numbers(result), size, "rgb24" if depth == 8 else "rgb48le"))


def check_alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Not to the bit: swscale interpolates chroma in its own way, which shows at edges. A wrong matrix or range is off
    by several levels all over."""
    assert found.shape == expected.shape
    difference = (found.astype(float) - expected) / (1 if found.dtype == np.uint8 else 257)
    assert np.median(np.abs(difference)) <= 1
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 1


def test_a_turned_film_is_upright(tmp_path: Path) -> None:
    path = make_film("rotated.mp4", tmp_path / "films")
    result = made(path, "rotated.mp4", every=12)
    found = np.stack([pixels(sample) for sample in result.samples])
    check_alike(found, shown_by_ffmpeg(path, numbers(result), (96, 64), "rgb24"))


def test_the_shape_of_samples_is_told_and_pixels_are_not_stretched(tmp_path: Path) -> None:
    result = made(make_film("anamorphic.mp4", tmp_path / "films"), "anamorphic.mp4", every=12)
    assert {sample.record["sample_aspect"] for sample in result.samples} == {"4:3"}
    assert pixels(result.samples[0]).shape == (64, 96, 3)


def test_the_shape_of_samples_turns_with_the_film(tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    data = bytearray(make_film("anamorphic.mp4", tmp_path / "films").read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = (0, 65536, 0, -65536, 0, 0, 64 << 16, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    (sample,) = made(path, "turned.mp4", every=100).samples
    assert pixels(sample).shape == (96, 64, 3)
    assert sample.record["sample_aspect"] == "3:4"


def test_times_are_those_of_the_film() -> None:
    times = [33 * number + number % 3 for number in range(20)]
    result = made(h264("matroska", times=times, frames=20), every=6)
    assert [sample.record["pts"] for sample in result.samples] == [times[number] for number in (0, 6, 12, 18)]
    assert [sample.record["time_s"] for sample in result.samples] == [times[number] / 1000 for number in (0, 6, 12, 18)]


def test_films_of_more_than_8_bits_give_16_and_gray_and_alpha_are_told(tmp_path: Path) -> None:
    deep = made(film("ten.mkv"), every=40)
    assert pixels(deep.samples[0]).dtype == np.uint16
    assert (deep.rules, deep.record["depth"]) == ((), 10)
    gray = made(film("gray.mkv"), every=40)
    found = pixels(gray.samples[0])
    assert gray.rules == ("gray_expanded",)
    assert np.array_equal(found[..., 0], found[..., 1])
    alpha = made(make_film("alpha-ffv1.mkv", tmp_path / "films"), every=40)
    assert alpha.rules == ("alpha_dropped",)


def test_an_animated_picture_is_a_film() -> None:
    pictures = [picture(number) for number in range(5)]
    file = io.BytesIO()
    with av.open(file, "w", format="apng") as out:
        stream = out.add_stream("apng", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "rgb24"
        for one in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        out.mux(stream.encode(None))
    result = made(file.getvalue(), "films/x.apng", every=2)
    assert numbers(result) == [0, 2, 4]
    assert all(np.array_equal(pixels(one), pictures[frame_of(one)]) for one in result.samples)
    assert numbers(made(file.getvalue(), "films/x.apng", 1, 2, pick="scene", every=2, scene_change=0.01)) == [2, 3]


def test_a_numbered_sequence_is_pictures_already() -> None:
    with pytest.raises(ItemError, match="pictures already") as caught:
        made(b"", "films/frame%08d.png")
    assert caught.value.kind is ErrorKind.UNSUPPORTED


# -- windows -------------------------------------------------------------------------------------------------------


def grouped(data: bytes, step: int, **options: object) -> list[tuple[str, bytes, tuple[object, ...]]]:
    """All samples of a film, `step` windows at a time, each time by an operation of its own."""
    count = operation(**options).windows(Content(data=data), row_of("films/x.mkv"))
    found = [made(data, "films/x.mkv", first, first + step, **options) for first in range(0, count, step)]
    return [
        (sample.key, sample.members[0].data, tuple(sorted(sample.record.items(), key=str)))
        for one in found
        for sample in one.samples
    ]


@pytest.mark.parametrize("name", ["open-gop.mkv", "open-gop-hevc.mkv", "raw.m2v", "vp9.webm", "intra-refresh.ts"])
@pytest.mark.parametrize(
    "options",
    [
        {"pick": "every", "every": 3},
        {"pick": "every", "every": 17},
        {"pick": "sharpest", "every": 5},
        {"pick": "scene", "every": 6, "scene_change": 0.05},
        {"pick": "scene", "every": 6, "scene_change": 0.05, "most": 4},
        {"pick": "sharpest", "every": 3, "most": 5},
    ],
    ids=str,
)
def test_samples_do_not_depend_on_how_windows_are_handed_out(name: str, options: dict[str, object]) -> None:
    whole = grouped(film(name), 1000, **options)
    assert whole
    assert grouped(film(name), 1, **options) == whole
    assert grouped(film(name), 4, **options) == whole


def test_frames_of_one_timestamp_are_told_apart(tmp_path: Path) -> None:
    data = make_film("duplicate-times.mkv", tmp_path / "films").read_bytes()
    whole = grouped(data, 1000, every=1)
    assert len(whole) == 24
    assert len({picture for _, picture, _ in whole}) == 24
    assert grouped(data, 1, every=1) == whole
    assert [one[1] for one in grouped(data, 1, every=2)] == [one[1] for one in whole[::2]]
    assert [one[1] for one in grouped(data, 1000, every=3)] == [one[1] for one in whole[::3]]


def test_windows_are_counted_from_the_packets() -> None:
    assert operation(every=7).windows(Content(data=film("constant.mp4")), row_of("x.mp4")) == 6
    assert operation(every=40).windows(Content(data=film("constant.mp4")), row_of("x.mp4")) == 1
    assert made(film("constant.mp4"), first=6, last=9, every=7).samples == ()


def test_the_table_of_a_film_is_read_once_for_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = video.read_frames
    monkeypatch.setattr(video, "read_frames", lambda source, url, most: reads.append(url) or read(source, url, most))
    frames, content = operation(every=7), Content(data=film("constant.mp4"))
    for version in ("a", "a", "b", "", ""):
        frames.make(row_of("x.mp4", version), content, 0, 1)
    assert len(reads) == 4


@pytest.mark.parametrize(("most", "expected"), [(1, [16]), (2, [8, 28]), (10, list(range(0, 40, 4))), (99, None)])
def test_most_is_kept_evenly(most: int, expected: list[int] | None) -> None:
    found = numbers(made(film("constant.mp4"), every=4, most=most))
    assert found == (expected or list(range(0, 40, 4)))
    assert len(numbers(made(film("constant.mp4"), pick="sharpest", every=3, most=most))) == min(most, 14)


# -- what is picked ------------------------------------------------------------------------------------------------


def scenes_film() -> tuple[list[np.ndarray], list[int]]:
    """Four moving scenes with grain; one of them fades to black before the next begins."""
    rng = np.random.default_rng(5)
    cuts, pictures = [0, 13, 30, 41], []
    for number in range(60):
        scene = sum(number >= cut for cut in cuts) - 1
        y, x = np.mgrid[0:48, 0:64]
        light = (scene % 2) * 120 + 20 + 30 * np.sin((x + 2 * number) / (5 + scene)) + 20 * np.cos(y / (3 + scene))
        grain = rng.normal(0, 3, (48, 64, 1))
        fade = max(0.0, 1 - (number - 30) / 10) if scene == 2 else 1.0
        pictures.append(np.clip((light[..., None] + grain) * fade, 0, 255).repeat(3, axis=2).astype(np.uint8))
    return pictures, cuts


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "bgr0"), ("libx264", "yuv420p")])
@pytest.mark.parametrize("every", [1, 7, 30, 100])
def test_scenes_of_a_film_are_found_where_they_begin(codec: str, pix_fmt: str, every: int) -> None:
    pictures, cuts = scenes_film()
    result = made(lossless(pictures, codec, pix_fmt), pick="scene", every=every)
    assert numbers(result) == cuts
    changes = [float(sample.record["scene_change"] or 0) for sample in result.samples]
    assert changes[0] == 1.0
    assert all(0.3 <= change <= 1 for change in changes)


@needs_data
@pytest.mark.parametrize(("name", "cuts"), [("onepiece_demo.mp4", [0, 100]), ("nasa_13013.mp4", [0, 202])])
def test_cuts_of_real_films_are_those_that_ffmpeg_sees(name: str, cuts: list[int]) -> None:
    """Its scdet at the default threshold finds the second of each, at 4.17 s and 8.08 s."""
    assert numbers(made(real_film(name), name, pick="scene", every=48)) == cuts


def test_of_several_scenes_in_a_window_those_are_kept_that_change_most() -> None:
    levels = [10, 10, 90, 90, 20, 20, 200, 200, 60, 60]  # one window; all cuts change everything but the first
    pictures = [np.full((16, 16, 3), level, np.uint8) for level in levels]
    pictures[2][:8] = 10
    pictures[3][:8] = 10
    data = lossless(pictures)
    assert numbers(made(data, pick="scene", every=10)) == [0, 2, 4, 6, 8]
    assert numbers(made(data, pick="scene", every=10, most=4)) == [0, 4, 6, 8]
    assert numbers(made(data, pick="scene", every=10, most=2)) == [0, 4]


def test_a_still_picture_with_noise_is_one_scene() -> None:
    rng = np.random.default_rng(1)
    noisy = [np.clip(64 + rng.normal(0, 2, (32, 32, 3)), 0, 255).astype(np.uint8) for _ in range(12)]
    assert numbers(made(lossless(noisy), pick="scene", every=5)) == [0]


def blurred(picture: np.ndarray, radius: int) -> np.ndarray:
    return pyvips.Image.new_from_array(picture).gaussblur(radius).numpy() if radius else picture


def test_the_sharpest_frame_of_each_window_is_found() -> None:
    blur = [3, 2, 1, 3, 2, 2, 0, 1, 2, 3, 3, 1]
    data = lossless([blurred(picture(0), radius) for radius in blur])
    result = made(data, pick="sharpest", every=5)
    assert numbers(result) == [2, 6, 11]
    assert [sample.record["scene_change"] for sample in result.samples] == [None] * 3


def test_of_equal_frames_the_first_is_the_sharpest() -> None:
    data = lossless([picture(0)] * 6)
    assert numbers(made(data, pick="sharpest", every=3)) == [0, 3]


@pytest.mark.parametrize("depth", [8, 10])
def test_sharpness_is_the_variance_of_the_laplacian_in_levels(depth: int) -> None:
    """Against scikit-image, whose filter repeats the border where OpenCV's reflects it; so inside of it only."""
    rng = np.random.default_rng(2)
    luma = rng.integers(16 << depth - 8, 235 << depth - 8, (40, 56)).astype(np.uint8 if depth == 8 else np.uint16)
    luma[:, :8] = luma[:, -8:] = luma[:8] = luma[-8:] = 128
    frame = av.VideoFrame(56, 40, "gray" if depth == 8 else "gray10le")
    frame.planes[0].update(padded(luma, frame.planes[0].line_size))
    frame.color_range = 1
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 56, 40, frame.format.name
        stream.codec_context.color_range = 1
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    (sample,) = made(file.getvalue()).samples
    span = 219 << depth - 8
    assert float(sample.record["sharpness"] or 0) == pytest.approx(
        laplace(luma.astype(float)).var() * (255 / span) ** 2, rel=1e-9
    )


def padded(plane: np.ndarray, line: int) -> bytes:
    rows = np.zeros((plane.shape[0], line // plane.itemsize), plane.dtype)
    rows[:, : plane.shape[1]] = plane
    return rows.tobytes()


# -- what cannot be picked from ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("cut.mp4", ErrorKind.TRUNCATED, "copy it again, or leave it out"),
        ("damaged.mp4", ErrorKind.DECODE_ERRORS, "damaged of 36; copy it again, or leave it out"),
        ("interlaced.mkv", ErrorKind.UNSUPPORTED, "bwdif"),
        ("size-change.ts", ErrorKind.UNSUPPORTED, "cut the film where its size"),
        ("sound-only.mp4", ErrorKind.NO_VIDEO_STREAM, "no video stream"),
        ("concat.mp4", ErrorKind.UNSAFE_CONTAINER, "names other files"),
        ("empty.mp4", ErrorKind.EMPTY_INPUT, "0 bytes"),
    ],
)
@pytest.mark.parametrize("pick", ["every", "scene", "sharpest"])
def test_films_that_are_not_whole_fail_with_advice_that_helps(
    name: str, kind: ErrorKind, said: str, pick: str, tmp_path: Path
) -> None:
    path = make_film(name, tmp_path / "films")
    with pytest.raises(ItemError, match=said) as caught:
        made(path, name, pick=pick, every=5)
    assert caught.value.kind is kind
    assert "--" not in caught.value.advice


def test_damage_counts_only_where_it_is_seen_however_windows_are_handed_out() -> None:
    """The keyframe 12 is damaged, and what follows it up to the next one; frames 0, 11, 24, ... are not."""
    data = flipped(h264("matroska", "bframes=0:keyint=12:min-keyint=12:scenecut=0"), 12)
    assert [number for number, (_, _, key) in enumerate(extents(data)) if key] == [0, 12, 24, 36]
    assert numbers(made(data, every=24)) == [0, 24]
    assert grouped(data, 1, every=24) == grouped(data, 1000, every=24)
    for options in ({"pick": "every", "every": 18}, {"pick": "sharpest", "every": 24}, {"pick": "scene", "every": 24}):
        with pytest.raises(ItemError, match=r"12-23 damaged of 40") as caught:
            made(data, **options)
        assert caught.value.kind is ErrorKind.DECODE_ERRORS
    assert len(made(data, first=2, pick="sharpest", every=12).samples) == 2


def test_frames_of_too_many_pixels_are_refused() -> None:
    with pytest.raises(ItemError, match="96 x 64") as caught:
        operation(most_pixels=96 * 64 - 1).windows(Content(data=film("constant.mp4")), row_of("x.mp4"))
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_few_frames_are_in_memory_however_long_a_window_is(monkeypatch: pytest.MonkeyPatch) -> None:
    planes: list[weakref.ref[np.ndarray]] = []
    most = 0
    chosen = video.iter_chosen

    def counted(source: BinaryIO, frames: video.FilmFrames, which: Sequence[int]) -> Iterator[video.Frame]:
        nonlocal most
        for frame in chosen(source, frames, which):
            planes.append(weakref.ref(frame.planes[0]))
            most = max(most, sum(plane() is not None for plane in planes))
            yield frame

    monkeypatch.setattr(video, "iter_chosen", counted)
    data = h264("matroska", frames=120)
    for pick in ("every", "sharpest", "scene"):
        assert made(data, pick=pick, every=120).samples
    assert 1 <= most <= 8


def test_columns_are_those_of_the_records() -> None:
    frames = operation(pick="scene")
    result = made(film("constant.mp4"), pick="scene", every=10)
    for sample in result.samples:
        assert set(sample.record) == set(frames.sample_columns)
        for name, kind in frames.sample_columns.items():
            assert sample.record[name] is None or type(sample.record[name]) is kind
    assert {name: type(value) for name, value in result.record.items()} == dict(frames.source_columns)
    assert Fraction(str(result.record["rate"])) == 25


def test_clips_of_all_intra_codecs_are_sought_and_not_decoded_through() -> None:
    """Where every frame is a keyframe, a frame far on is had without those before it."""
    data = clip("mjpeg", "matroska", "yuvj420p", frames=100)
    (sample,) = made(data, first=3, last=4, every=30).samples
    whole = made(data, every=30)
    assert numbers(whole) == [0, 30, 60, 90]
    assert sample.members == whole.samples[3].members
