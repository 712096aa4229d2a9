"""Films of codecs that cannot say that they are interlaced: the container's word, and what is told without it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.video.plan import read_film
from tests.clips import HEIGHT, WIDTH, clip, film, picture, sequential
from tests.farm.media.test_video_decode import URL, Shown, frames_of, params, same

_SILENT = "neither the container nor the first frames say that they are interlaced"


def combed(codec: str, container: str, order: str, pix_fmt: str = "yuv422p", **options: str) -> bytes:
    """Two moments in each frame."""
    file, pix_fmt = io.BytesIO(), "yuvj422p" if codec == "mjpeg" else pix_fmt
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options={"field_order": order, **options} if order else options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.thread_count = WIDTH, HEIGHT, pix_fmt, 1
        for number in range(30):
            rows = picture(2 * number)
            rows[1::2] = picture(2 * number + 1)[1::2]
            frame = av.VideoFrame.from_ndarray(rows, format="rgb24").reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def lines(data: bytes, shown: list[Shown]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Luma as the film has it and as it came out."""
    for (_, before), after in zip(sequential(data), shown, strict=True):
        old, new = (np.frombuffer(planes[0], np.uint8).reshape(HEIGHT, WIDTH) for planes in (before, after.planes))
        yield old, new


SILENT = [("jpeg2000", "mov"), ("mjpeg", "matroska")]


@pytest.mark.parametrize(("codec", "container"), SILENT)
@pytest.mark.parametrize(("order", "kept"), [("tt", 0), ("bb", 1)])
def test_the_containers_word_is_enough(codec: str, container: str, order: str, kept: int) -> None:
    data = combed(codec, container, order)
    with pytest.raises(ItemError) as caught:
        read_film(io.BytesIO(data), URL, params())
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    assert caught.value.found == "its frames are interlaced"
    assert "--deinterlace" in caught.value.advice
    assert _SILENT not in (read_film(io.BytesIO(data), URL, params(deinterlace=True)).film.warning or "")
    whole = frames_of(data, deinterlace=True, segment_frames=1000)
    for old, new in lines(data, whole):
        assert np.array_equal(new[kept::2], old[kept::2])
        assert not np.array_equal(new[1 - kept :: 2], old[1 - kept :: 2])
    for length in (1, 7):
        assert frames_of(data, deinterlace=True, segment_frames=length) == whole


@pytest.mark.parametrize("order", ["progressive", ""])
@pytest.mark.parametrize(("codec", "container"), [*SILENT, ("ffvhuff", "avi")])
def test_films_that_are_not_said_to_be_interlaced_stay_and_are_told_of(codec: str, container: str, order: str) -> None:
    data = combed(codec, container, order)
    assert same(frames_of(data), sequential(data))
    assert same(frames_of(data, deinterlace=True), sequential(data))
    assert _SILENT not in (read_film(io.BytesIO(data), URL, params()).film.warning or "")
    assert _SILENT in (read_film(io.BytesIO(data), URL, params(deinterlace=True)).film.warning or "")


def test_codecs_that_can_tell_are_believed_before_the_container() -> None:
    for codec, options in (("ffv1", {"level": "3"}), ("prores_ks", {})):
        pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv422p"
        data = combed(codec, "mov" if codec == "prores_ks" else "matroska", "tt", pix_fmt, **options)
        assert same(frames_of(data), sequential(data))
        assert same(frames_of(data, deinterlace=True), sequential(data))


def test_frames_that_say_it_themselves_are_not_told_of() -> None:
    data = clip("mpeg2video", "mpegts", options={"b": "2M", "flags": "+ildct+ilme"}, frames=8)
    found = read_film(io.BytesIO(data), URL, params(deinterlace=True)).film
    assert found.fields is None
    assert _SILENT not in (found.warning or "")


def test_colours_that_the_deinterlacer_does_not_take_are_whole() -> None:
    data = combed("qtrle", "mov", "tt", "rgb24")
    assert same(frames_of(data), sequential(data))


def test_films_that_say_nothing_are_told_of_with_the_flag_where_their_codec_cannot_tell() -> None:
    silent = clip("huffyuv", "avi", "yuv422p", frames=4)
    for data, wanted, told in (
        (silent, params(), False),
        (silent, params(deinterlace=True), True),
        (film("constant.mp4"), params(deinterlace=True), False),  # its decoder says that frames are whole
    ):
        assert (_SILENT in (read_film(io.BytesIO(data), URL, wanted).film.warning or "")) is told
