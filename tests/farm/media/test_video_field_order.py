"""What only the container knows: which field is the first, and where chroma lies; and changes within a film."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction

import av
import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.plan import read_film
from farm.media.video.planes import source_format
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.decoder import DecodedFrame
from farm.media.video.read.deinterlace import deinterlaced
from farm.media.video.read.reader import FilmReader
from farm.media.video.read.siting import Said, said_of
from farm.media.video.read.table import read_table
from tests.clips import HEIGHT, WIDTH, clip, h264, picture, sequential
from tests.farm.items import VIDEO
from tests.farm.media.test_video_decode import URL, frames_of, params, same


def said_by(data: bytes) -> Said:
    with av.open(io.BytesIO(data)) as container:
        return said_of(container.streams.video[0])


def siting_of(data: bytes) -> str:
    return read_table(io.BytesIO(data), URL, VIDEO).facts.layout.siting


# -- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "order", "found"),
    [
        ("mov", "tt", "tff"),
        ("mov", "bb", "bff"),
        ("mov", "tb", "tff"),
        ("mov", "bt", "bff"),
        ("mov", "progressive", None),
        ("matroska", "tt", "tff"),
        ("matroska", "bb", "bff"),
        ("matroska", "progressive", None),
        ("avi", "tt", None),  # it has no word for it
    ],
)
def test_the_order_of_fields_is_the_containers(container: str, order: str, found: str | None) -> None:
    assert said_by(clip("jpeg2000", container, "yuv422p", frames=2, options={"field_order": order})).fields == found


@pytest.mark.parametrize(("fields", "kept"), [("tff", 0), ("bff", 1)])
def test_frames_that_say_nothing_are_deinterlaced_in_the_order_that_is_told(fields: str, kept: int) -> None:
    shown = [combed(number) for number in range(5)]
    before = [luma(one) for one in shown]
    made = list(deinterlaced(numbered(shown), URL, fields))
    assert [one.stamp for one in made] == list(range(5))
    for one, old in zip(made, before, strict=True):
        new = luma(one.frame)
        assert np.array_equal(new[kept::2], old[kept::2])
        assert not np.array_equal(new[1 - kept :: 2], old[1 - kept :: 2])


def test_frames_that_say_nothing_stay_as_they_are_without_an_order() -> None:
    shown = [combed(number) for number in range(5)]
    before = [luma(one) for one in shown]
    made = deinterlaced(numbered(shown), URL)
    assert all(np.array_equal(luma(one.frame), old) for one, old in zip(made, before, strict=True))


def numbered(frames: list[av.VideoFrame]) -> list[DecodedFrame]:
    return [DecodedFrame(stamp=number, frame=one, damaged=False) for number, one in enumerate(frames)]


def combed(number: int) -> av.VideoFrame:
    """Two moments in one frame, of which it says nothing."""
    rows = picture(2 * number)
    rows[1::2] = picture(2 * number + 1)[1::2]
    return av.VideoFrame.from_ndarray(rows, format="rgb24").reformat(format="yuv422p", threads=1)


def luma(frame: av.VideoFrame) -> np.ndarray:
    kind = source_format(frame.format.name)
    assert kind is not None
    return kind.read(frame)[0].copy()


# -- where chroma lies -----------------------------------------------------------------------------------------------


def test_chroma_of_h263_lies_in_the_middle() -> None:
    data = clip("h263", "3gp", size=(128, 96), frames=3)
    assert siting_of(data) == "center"
    assert siting_of(clip("h263", "avi", size=(128, 96), frames=3)) == "center"


@pytest.mark.parametrize("container", ["dv", "mov", "avi"])
def test_chroma_of_dv_lies_with_the_first_sample(container: str) -> None:
    data = clip("dvvideo", container, size=(720, 576), frames=3)
    with av.open(io.BytesIO(data)) as opened:
        assert said_of(opened.streams.video[0]).siting == "topleft"


@pytest.mark.parametrize(
    ("word", "found"), [("420jpeg", "center"), ("420mpeg2", "left"), ("420paldv", "topleft"), ("420p10", "left")]
)
def test_chroma_of_raw_frames_lies_where_the_head_says(word: str, found: str) -> None:
    size = 96 * 64 * 3 // 2 * (2 if word.endswith("10") else 1)
    assert siting_of(f"YUV4MPEG2 W96 H64 F25:1 Ip A1:1 C{word}\n".encode() + (b"FRAME\n" + bytes(size)) * 3) == found


def test_codecs_of_which_nothing_is_known_say_nothing() -> None:
    assert said_by(clip("wmv2", "asf", frames=3)) == Said(siting=None, crop=(0, 0, 0, 0))


# -- palettes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "container", "pix_fmt"),
    [("rawvideo", "avi", "pal8"), ("rawvideo", "mov", "pal8"), ("rawvideo", "mov", "gray"), ("qtrle", "mov", "gray")],
)
@pytest.mark.parametrize("length", [1, 7, 48])
def test_palettes_that_come_with_the_first_packet_are_kept(
    codec: str, container: str, pix_fmt: str, length: int
) -> None:
    data = paletted(codec, container) if pix_fmt == "pal8" else clip(codec, container, pix_fmt, frames=24)
    expected = [(time, planes[:3]) for time, planes in sequential(data)]
    assert same(frames_of(data, segment_frames=length), expected)


def paletted(codec: str, container: str, frames: int = 24) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "pal8"
        colours = np.random.default_rng(0).integers(0, 256, (256, 4)).astype(np.uint8)
        colours[:, 0] = 255
        for number in range(frames):
            indices = picture(number)[:, :, 0].copy()
            frame = av.VideoFrame.from_ndarray((indices, colours), format="pal8")  # pyright: ignore[reportArgumentType]
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


# -- 10 bits in words of 32 ------------------------------------------------------------------------------------------


def test_uncompressed_ten_bits_are_read_as_they_are() -> None:
    data = clip("v410", "mov", "yuv444p10le", frames=3)
    assert same(frames_of(data), unpacked(data))


def unpacked(data: bytes) -> list[tuple[int | None, tuple[bytes, ...]]]:
    """Of v410: words of 10 bits each of V, Y and U, and two that are not used."""
    found: list[tuple[int | None, tuple[bytes, ...]]] = []
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                words = np.frombuffer(bytes(packet), "<u4").reshape(HEIGHT, WIDTH)
                planes = ((words >> shift & 1023).astype(np.uint16) for shift in (12, 2, 22))
                found.append((packet.pts, tuple(plane.tobytes() for plane in planes)))
    return found


# -- colours that change ---------------------------------------------------------------------------------------------


def joined(*parts: Mapping[str, str]) -> bytes:
    """Raw H.264 of several encoders, 30 frames each, one after the other, in a container."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        file = io.BytesIO(b"".join(h264("h264", _x264(part), frames=30) for part in parts))
        with av.open(file, format="h264") as source:
            stream = container.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(one for one in source.demux(video=0) if one.size):
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 25), stream
                container.mux(packet)
    return out.getvalue()


def _x264(part: Mapping[str, str]) -> str:
    return ":".join(["bframes=0:keyint=12:repeat-headers=1", *(f"{name}={value}" for name, value in part.items())])


def refused(data: bytes) -> ItemError:
    with pytest.raises(ItemError) as caught:
        frames_of(data)
    return caught.value


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"colormatrix": "smpte170m"}, {"colormatrix": "bt709"}, "frame 30 is of the matrix BT.709"),
        ({"colormatrix": "smpte170m"}, {"colormatrix": "YCgCo"}, "frame 30 is of the matrix YCgCo"),
        (
            {"fullrange": "on", "colormatrix": "bt709"},
            {"fullrange": "off", "colormatrix": "bt709"},
            "frame 30 is of limited range",
        ),
    ],
)
def test_colours_that_change_are_refused(first: Mapping[str, str], second: Mapping[str, str], found: str) -> None:
    error = refused(joined(first, second))
    assert error.kind is ErrorKind.UNSUPPORTED
    assert found in error.found
    assert "cut the film where its colours change" in error.advice


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"colormatrix": "bt709"}, {}),
        ({"colormatrix": "smpte170m"}, {"colormatrix": "bt470bg"}),  # one matrix under two names
        ({}, {"colormatrix": "smpte170m"}),  # what was taken for granted is said later
        ({}, {"colormatrix": "bt709"}),  # what the first frames are of nobody knows
        ({"fullrange": "off"}, {"fullrange": "on"}),  # which the first do not say
        ({"fullrange": "on", "colormatrix": "bt709"}, {}),
    ],
)
def test_what_is_not_said_is_no_change(first: Mapping[str, str], second: Mapping[str, str]) -> None:
    assert len(frames_of(joined(first, second))) == 60


def test_a_segment_before_the_change_is_decoded() -> None:
    settings = params(segment_frames=12)
    data = joined({"colormatrix": "smpte170m"}, {"colormatrix": "bt709"})
    cut = read_film(io.BytesIO(data), URL, settings)
    assert len(list(iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, cut.spans[0], settings))) == 12
