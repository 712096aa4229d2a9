"""A segment is encoded once, into the same bytes on every run, and its piece tells when it was changed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from farm.encoders import CODECS as CODEC_TABLE
from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.media.video.hdr import HdrMetadata, read_hdr
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.write.encode import SegmentEncoder, encoder_rate, fill
from farm.media.video.write.memory import encoder_bytes
from farm.media.video.write.piece import BrokenPieceError, PieceReader
from sr_kernel.layout import FrameLayout
from tests.farm.media.films import encode, facts, picture, plan, planes_of, video_params

YUV420 = FrameLayout(width=96, height=64, chroma_shift=(1, 1))
CODECS = ("h264", "hevc", "av1", "vp9", "ffv1", "prores")


def film(codec: str, layout: FrameLayout = YUV420, **video: Any) -> FilmPlan:
    return plan(facts(layout), video_params(codec=codec, **video))


def numbers(piece: bytes) -> list[int]:
    with PieceReader(io.BytesIO(piece)) as reader:
        return [number for number, _ in reader.numbered()]


def extradata(piece: bytes) -> bytes:
    with PieceReader(io.BytesIO(piece)) as reader:
        return reader.extradata


def decoded(piece: bytes, decoder: str | None = None) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(piece)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return list(container.decode(stream))
        context = av.CodecContext.create(decoder, "r")
        return [frame for packet in container.demux(stream) if packet.size for frame in context.decode(packet)]


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_frames_give_the_same_bytes_and_parameter_sets(codec: str) -> None:
    plan_of_film = film(codec, encoder_threads=2)
    piece = encode(plan_of_film, range(14))
    assert piece == encode(plan_of_film, range(14))
    assert sorted(numbers(piece)) == list(range(14))
    for more in (encode(plan_of_film, [5]), encode(plan_of_film, range(3, 5)), encode(plan_of_film, range(50, 60))):
        assert extradata(more) == extradata(piece)
    assert len(decoded(piece)) == 14


def test_bytes_do_not_depend_on_the_process() -> None:
    code = (
        "import hashlib; from tests.farm.media.test_video_encode import *\n"
        "for codec in CODECS: print(hashlib.sha256(encode(film(codec), range(8))).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "12"
    }
    assert len(runs) == 1


LAYOUTS = [
    (YUV420, "yuv420p"),
    (FrameLayout(width=95, height=63, chroma_shift=(1, 1)), "yuv420p"),
    (FrameLayout(width=95, height=63, depth=10), "yuv444p10le"),
    (FrameLayout(width=96, height=64, depth=16, chroma_shift=(1, 0), alpha=True), "yuva422p16le"),
    (FrameLayout(width=95, height=63, model="rgb", full_range=True), "bgr0"),
    (FrameLayout(width=95, height=63, model="rgb", full_range=True, alpha=True), "bgra"),
    (FrameLayout(width=95, height=63, model="rgb", depth=12, full_range=True), "gbrp12le"),
    (FrameLayout(width=95, height=63, model="gray"), "gray"),
    (FrameLayout(width=95, height=63, model="gray", alpha=True), "ya8"),
]


@pytest.mark.parametrize(("layout", "pix_fmt"), LAYOUTS)
def test_a_lossless_piece_gives_every_sample_back(layout: FrameLayout, pix_fmt: str) -> None:
    plan_of_film = film("ffv1", layout)
    assert plan_of_film.pix_fmt == pix_fmt
    frames = decoded(encode(plan_of_film, range(3)))
    assert [frame.format.name for frame in frames] == [pix_fmt] * 3
    channels = {"bgr0": [2, 1, 0], "bgra": [2, 1, 0, 3], "ya8": [0, 1]}.get(pix_fmt)
    for number, frame in enumerate(frames):
        if channels is None:
            planes = planes_of(frame, layout)
        else:
            rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)
            packed = rows[:, : layout.width * len(pix_fmt.replace("ya8", "ya"))].reshape(frame.height, layout.width, -1)
            planes = [packed[..., channel] for channel in channels]
        for plane, original in zip(planes, picture(layout, number), strict=True):
            np.testing.assert_array_equal(plane, original)


@pytest.mark.parametrize("codec", CODECS)
def test_every_pixel_format_of_the_table_is_encoded(codec: str) -> None:
    for name in CODEC_TABLE[codec].pix_fmts:
        found = parse_pixel_format(name)
        assert found is not None
        layout = FrameLayout(
            width=64,
            height=48,
            model=found.model,
            depth=found.depth,
            chroma_shift=found.chroma_shift,
            full_range=found.model == "rgb",
            alpha=found.alpha,
        )
        made = film(codec, layout, container="mov" if codec == "prores" else "mkv")
        assert made.pix_fmt == name
        assert len(decoded(encode(made, range(2)))) == 2


@pytest.mark.parametrize("codec", CODECS)
def test_lossy_pieces_are_close_and_tagged(codec: str) -> None:
    layout = replace(YUV420, depth=10) if codec == "prores" else YUV420
    plan_of_film = replace(film(codec, layout), colour_tags=(9, 16, 9, 1))
    frames = decoded(encode(plan_of_film, range(6)))
    shift = 2 if plan_of_film.target.depth == 10 else 0
    for number, frame in enumerate(frames):
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint16 if shift else np.uint8)
        luma = luma.reshape(frame.height, -1)[:, :96]
        original = picture(plan_of_film.target, number)[0]
        assert np.abs(luma.astype(int) - original).mean() < 6 << shift
    assert {(f.color_primaries, f.color_trc, f.colorspace) for f in frames} == {(9, 16, 9)}
    assert {f.color_range for f in frames} == {1}


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "bgr0"), ("hevc", "gbrp"), ("vp9", "gbrp")])
def test_rgb_made_of_yuv_is_read_as_rgb(codec: str, pix_fmt: str) -> None:
    made = plan(facts(YUV420), video_params(container="mkv", codec=codec, pix_fmt=pix_fmt))
    frames = decoded(encode(made, range(2)))
    assert [frame.format.name for frame in frames] == [pix_fmt] * 2
    assert {(frame.colorspace, frame.color_range) for frame in frames} == {(0, 2)}


def test_alpha_of_vp9_is_kept() -> None:
    layout = replace(YUV420, alpha=True)
    piece = encode(film("vp9", layout), range(6))
    with PieceReader(io.BytesIO(piece)) as reader:
        packets = [packet for _, packet in reader.numbered()]
        assert all(packet.has_sidedata("matroska_block_additional") for packet in packets)
    frames = decoded(piece, "libvpx-vp9")
    assert {frame.format.name for frame in frames} == {"yuva420p"}
    alpha = planes_of(frames[3], layout)[3]
    assert np.abs(alpha.astype(int) - picture(layout, 3)[3]).mean() < 6


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_hdr_metadata_is_in_the_bitstream(codec: str) -> None:
    hdr = HdrMetadata(
        primaries=tuple(Fraction(n, 50_000) for n in (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)),
        luminance=(Fraction(1, 100), Fraction(1000)),
        max_cll=1000,
        max_fall=400,
    )
    source = facts(replace(YUV420, depth=10), hdr=hdr)
    found = read_hdr(decoded(encode(plan(source, video_params(codec=codec)), range(3)))[0])
    assert found is not None
    assert found.light == "1000,400"
    assert found.luminance is not None
    assert [float(x) for x in found.primaries] == pytest.approx([float(x) for x in hdr.primaries], abs=1e-4)
    assert [float(x) for x in found.luminance] == pytest.approx([0.01, 1000], abs=1e-4)


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_siting_of_chroma_is_carried(siting: str) -> None:
    plan_of_film = film("h264", replace(YUV420, siting=siting))
    said = dict(plan_of_film.options).get("chroma_sample_location")
    assert said == (None if siting == "left" else siting)
    assert len(encode(plan_of_film, range(2))) > 0


def test_planes_of_another_shape_are_an_error_of_ours() -> None:
    with SegmentEncoder(film("ffv1"), "film") as encoder, pytest.raises(ValueError, match="planes of"):
        encoder.write(picture(replace(YUV420, width=94), 0))


def test_an_encoder_that_refuses_is_a_failed_item() -> None:
    broken = replace(film("h264"), options=(("preset", "no such preset"),))
    with pytest.raises(ItemError, match="libx264 failed") as caught:
        SegmentEncoder(broken, "film")
    assert caught.value.kind is ErrorKind.ENCODE_FAILED


@pytest.mark.parametrize(("rate", "told"), [(Fraction(24000, 1001), Fraction(24000, 1001)), (Fraction(1000), 240)])
def test_encoders_are_told_a_rate_that_they_take(rate: Fraction, told: Fraction) -> None:
    assert encoder_rate(rate) == told


def test_one_frame_a_day_is_a_film() -> None:
    slow = replace(film("av1"), rate=Fraction(1, 86_400))
    assert len(numbers(encode(slow, range(2)))) == 2


def packets(piece: bytes) -> list[tuple[int, bytes, bool]]:
    with PieceReader(io.BytesIO(piece)) as reader:
        return [(number, bytes(packet), packet.is_keyframe) for number, packet in reader.numbered()]


@pytest.mark.parametrize("codec", ["h264", "vp9", "ffv1"])
def test_a_piece_that_was_flipped_is_found_or_gives_the_same_packets(codec: str) -> None:
    piece = encode(film(codec), range(6))
    whole, found = packets(piece), 0
    for at in range(0, len(piece), len(piece) // 80):
        flipped = bytearray(piece)
        flipped[at] ^= 0x10
        try:
            assert packets(bytes(flipped)) == whole
        except BrokenPieceError:
            found += 1
    assert found >= 40


def test_a_piece_that_was_cut_is_found() -> None:
    piece = encode(film("h264"), range(6))
    for length in (0, 5, 100, len(piece) // 2, len(piece) - 19, len(piece) - 1):
        with pytest.raises(BrokenPieceError):
            packets(piece[:length])


@pytest.mark.parametrize(
    ("codec", "size", "frames"),
    [("h264", (960, 540), 48), ("ffv1", (960, 540), 48), ("av1", (960, 540), 48), ("h264", (2560, 1440), 20)],
)
def test_the_memory_of_an_encoder_is_within_what_is_counted(codec: str, size: tuple[int, int], frames: int) -> None:
    code = f"""
import ctypes
import sys
from farm.media.video.write.memory import encoder_bytes
from tests.farm.media.test_video_encode import *
from tests.memory import forget_peak, peak_bytes
layout = FrameLayout(width={size[0]}, height={size[1]}, chroma_shift=(1, 1))
plan_of_film = film({codec!r}, layout)
encode(film({codec!r}), range(3))
frames = [picture(plan_of_film.target, number) for number in range(3)]
ctypes.CDLL(None).malloc_trim(0)
before = forget_peak()
with SegmentEncoder(plan_of_film, "film") as encoder:
    for number in range({frames}):
        encoder.write(frames[number % 3])
    encoder.finish()
print(peak_bytes() - before, encoder_bytes(plan_of_film, {frames}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured, counted = map(int, run.stdout.split())
    assert measured <= counted <= 4 * measured


@pytest.mark.parametrize(
    ("codec", "scale", "most_gb"),
    [("h264", 2, 1.2), ("hevc", 2, 1.3), ("av1", 2, 1.35), ("h264", 4, 1.75), ("hevc", 4, 2.4), ("av1", 4, 2.6)],
)
def test_an_enlarged_film_of_full_hd_is_within_a_workers_memory(codec: str, scale: int, most_gb: float) -> None:
    source = FrameLayout(width=1920, height=1080, chroma_shift=(1, 1))
    larger = FrameLayout(width=1920 * scale, height=1080 * scale, chroma_shift=(1, 1))
    enlarged = replace(film(codec, larger), source=source)
    assert encoder_bytes(enlarged, 48) < most_gb * 1e9


def test_ten_bits_lie_as_hardware_takes_them() -> None:
    layout = FrameLayout(width=96, height=64, depth=10, chroma_shift=(1, 1))
    for odd in (layout, replace(layout, width=95, height=63)):
        p010 = parse_pixel_format("p010le")
        assert p010 is not None
        frame, planes = av.VideoFrame(odd.width, odd.height, "p010le"), picture(odd, 7)
        fill(frame, planes, p010)
        assert all(not (np.frombuffer(memoryview(plane), np.uint16)[:90] & 63).any() for plane in frame.planes)
        again = planes_of(frame.reformat(format="yuv420p10le"), odd)
        for one, other in zip(again, planes, strict=True):
            np.testing.assert_array_equal(one, other)


def test_segments_that_fail_half_way_give_their_memory_back() -> None:
    code = """
import gc
from tests.farm.media.test_video_encode import *
from tests.memory import held_bytes
plan_of_film = film("h264", FrameLayout(width=640, height=360, chroma_shift=(1, 1)), preset="veryfast")
frame = picture(plan_of_film.target, 0)
gc.disable()  # it would come now and then, and late: it counts objects, not what they hold
kept = []
def resident(segments):
    for _ in range(segments):
        try:
            with SegmentEncoder(plan_of_film, "film") as encoder:
                for _ in range(4):
                    encoder.write(frame)
                encoder.write(frame[:1])
        except ValueError as error:
            kept.append(error)  # as an outcome on its way to the driver
    return held_bytes()
print(resident(5), resident(50))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert after - before < 40 << 20


@pytest.mark.parametrize("size", [(192, 128), (352, 288)])
def test_bytes_of_x264_do_not_depend_on_what_memory_held_before(size: tuple[int, int]) -> None:
    """MALLOC_PERTURB_ fills fresh memory: who reads what nobody wrote gives other bytes for another value."""
    program = (
        "import hashlib; from sr_kernel.layout import FrameLayout; from tests.farm.media.films import *\n"
        f"layout = FrameLayout(width={size[0]}, height={size[1]}, chroma_shift=(1, 1))\n"
        "film = plan(facts(layout), video_params(codec='h264', container='mp4'))\n"
        "print(hashlib.sha256(encode(film, range(9))).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MALLOC_PERTURB_": value, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for value in ("0", "85")
    }
    assert len(made) == 1


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_no_encoder_leaves_a_thread_in_real_time(codec: str) -> None:
    """SVT-AV1 as root makes its caller SCHED_FIFO 99, and every later process inherits it."""
    film = plan(facts(FrameLayout(width=64, height=48, chroma_shift=(1, 1))), video_params(codec=codec))
    with SegmentEncoder(film, "films/a.mkv"):
        policies = {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}
    assert os.SCHED_FIFO not in policies


@pytest.mark.parametrize("width", [16, 32, 40, 48, 50, 66])
def test_narrow_frames_do_not_break_the_memory_of_x265(width: int) -> None:
    code = f"""
from tests.farm.media.test_video_encode import *
for preset in ("ultrafast", "medium"):
    encode(film("hevc", FrameLayout(width={width}, height=34, chroma_shift=(1, 1)), preset=preset), range(10))
print("whole")
"""
    watched = {"LD_PRELOAD": "libc_malloc_debug.so.0", "GLIBC_TUNABLES": "glibc.malloc.check=3"}  # ends what it finds
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **watched}
    )
    assert (run.returncode, run.stdout) == (0, "whole\n"), run.stderr[-400:]
