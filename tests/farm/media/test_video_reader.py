"""A film that stays open between its segments: the same frames as opened anew, whoever comes next, and few decoded."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from farm.errors import DiskError, ErrorKind, ItemError
from farm.film import Span
from farm.media.video.plan import read_film
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import FilmCut, Frame
from farm.params import UpscaleParams
from tests.clips import CLIPS, clip, film, flipped, h264
from tests.farm.items import PARAMS, VIDEO

URL = "films/x.mp4"
ONE_KEY = "bframes=2:keyint=infinite:scenecut=0"
Seen = list[tuple[int, tuple[bytes, ...], bool]]


def params(**video: object) -> UpscaleParams:
    return replace(PARAMS, outscale=2.0, video=replace(VIDEO, **video))  # pyright: ignore[reportArgumentType]


def seen(frames: Iterator[Frame]) -> Seen:
    """Number, pixels and whether it is damaged."""
    return [(one.index, tuple(plane.tobytes() for plane in one.planes), one.damaged) for one in frames]


def anew(data: bytes, cut: FilmCut, spans: Sequence[Span], settings: UpscaleParams) -> list[Seen]:
    """Each segment from a decoder of its own."""
    return [seen(iter_frames(FilmReader.of(io.BytesIO(data), URL), cut.film, span, settings)) for span in spans]


def kept(data: bytes, cut: FilmCut, spans: Sequence[Span], settings: UpscaleParams) -> list[Seen]:
    """Each from what the one before has left."""
    with closing(FilmReader.of(io.BytesIO(data), URL)) as reader:
        return [seen(iter_frames(reader, cut.film, span, settings)) for span in spans]


def orders(spans: Sequence[Span]) -> list[list[Span]]:
    """As they come, every third, backwards, and by chance."""
    mixed = list(spans)
    random.Random(7).shuffle(mixed)
    return [list(spans), list(spans[::3]), list(spans[::-1]), mixed]


@pytest.mark.parametrize("name", CLIPS)
def test_what_was_left_open_gives_the_same_frames_in_any_order(name: str) -> None:
    for length in (1, 5):
        settings = params(segment_frames=length)
        cut = read_film(io.BytesIO(film(name)), URL, settings)
        expected = dict(zip(cut.spans, anew(film(name), cut, cut.spans, settings), strict=True))
        for spans in orders(cut.spans):
            assert kept(film(name), cut, spans, settings) == [expected[span] for span in spans], length


@pytest.mark.parametrize("fps", ["50/1", "25/2", "30000/1001"])
def test_frames_that_a_rate_shows_in_two_segments_are_in_both(fps: str) -> None:
    data, settings = h264("matroska", ONE_KEY), params(fps=fps, segment_frames=5)
    cut = read_film(io.BytesIO(data), URL, settings)
    for spans in orders(cut.spans):
        assert kept(data, cut, spans, settings) == anew(data, cut, spans, settings)


@pytest.mark.parametrize("group", ["6", "1000"])
def test_fields_are_made_whole_with_the_frames_around_them(group: str, decoded: list[int]) -> None:
    options = {"b": "2M", "g": group, "flags": "+ildct+ilme"}
    data = clip("mpeg2video", "mpegts", options=options, frames=30)
    for length in (1, 2, 4, 7):
        settings = params(deinterlace=True, segment_frames=length)
        cut = read_film(io.BytesIO(data), URL, settings)
        expected = anew(data, cut, cut.spans, settings)
        decoded.clear()
        assert kept(data, cut, cut.spans, settings) == expected
        assert group == "6" or len(decoded) <= 30
        assert kept(data, cut, cut.spans[::-1], settings) == expected[::-1]


@pytest.mark.parametrize("number", [3, 9, 20])
@pytest.mark.parametrize("name", ["one-key.mkv", "constant.mp4", "mpeg4.avi", "vp9.webm", "raw.m2v"])
def test_damage_is_the_same_damage(name: str, number: int) -> None:
    whole = h264("matroska", ONE_KEY) if name == "one-key.mkv" else film(name)
    bad, settings = flipped(whole, number), params(segment_frames=4, allow_damaged=True)
    cut = read_film(io.BytesIO(bad), URL, settings)
    for spans in orders(cut.spans):
        assert kept(bad, cut, spans, settings) == anew(bad, cut, spans, settings)
    strict = params(segment_frames=4)
    for span in cut.spans:
        errors: list[tuple[str, str] | Seen] = []
        for before in ([], cut.spans[: cut.spans.index(span)]):
            with closing(FilmReader.of(io.BytesIO(bad), URL)) as reader:
                for one in before:
                    outcome(reader, cut, one, strict)
                errors.append(outcome(reader, cut, span, strict))
        assert errors[0] == errors[1]


def outcome(reader: FilmReader, cut: FilmCut, span: Span, settings: UpscaleParams) -> tuple[str, str] | Seen:
    """The segment's frames or what is said of it."""
    try:
        return seen(iter_frames(reader, cut.film, span, settings))
    except ItemError as error:
        return error.kind.value, error.found


@pytest.mark.parametrize("name", ["one-key.mkv", "raw.m2v", "raw.h264", "intra-refresh.ts"])
def test_a_film_with_nowhere_to_begin_is_decoded_once(name: str, decoded: list[int]) -> None:
    made = {"one-key.mkv": lambda: h264("matroska", ONE_KEY), "raw.h264": lambda: h264("h264")}
    data, settings = made.get(name, lambda: film(name))(), params(segment_frames=4)
    cut = read_film(io.BytesIO(data), URL, settings)
    assert len(cut.spans) == 10
    assert [span.followed for span in cut.spans] == [True] * 9 + [False]
    decoded.clear()
    expected = anew(data, cut, cut.spans, settings)
    assert len(decoded) == sum(range(4, 41, 4)) == 220
    decoded.clear()
    assert kept(data, cut, cut.spans, settings) == expected
    assert len(decoded) == 40
    decoded.clear()
    assert kept(data, cut, cut.spans[1::2], settings) == expected[1::2]
    assert len(decoded) == 40, "what others restore is passed over"


def test_nothing_is_kept_where_every_segment_has_its_keyframe() -> None:
    cut = read_film(io.BytesIO(film("constant.mp4")), URL, params(segment_frames=12))
    assert not any(span.followed for span in cut.spans)
    cut = read_film(io.BytesIO(film("constant.mp4")), URL, params(segment_frames=6))
    assert [span.followed for span in cut.spans] == [True, False] * 3 + [False]


def test_a_segment_that_is_left_early_leaves_nothing_behind() -> None:
    data, settings = h264("matroska", ONE_KEY), params(segment_frames=4)
    cut = read_film(io.BytesIO(data), URL, settings)
    expected = anew(data, cut, cut.spans, settings)
    with closing(FilmReader.of(io.BytesIO(data), URL)) as reader:
        assert seen(iter_frames(reader, cut.film, cut.spans[0], settings)) == expected[0]
        assert reader.is_open
        left = iter_frames(reader, cut.film, cut.spans[1], settings)
        next(left)
        next(left)
        left.close()
        assert not reader.is_open
        assert [seen(iter_frames(reader, cut.film, span, settings)) for span in cut.spans] == expected


class _Store(io.BytesIO):
    """A file of a store that can go away."""

    gone = False

    def read(self, size: int | None = -1) -> bytes:
        if self.gone:
            raise DiskError("/data: I/O error; check the disk")
        return super().read(size)


def test_an_error_of_the_store_closes_the_film_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Demuxers take it for the end of the file."""
    monkeypatch.setattr("farm.media.video.read.source.BUFFER_BYTES", 4096)
    data, settings = h264("matroska", ONE_KEY), params(segment_frames=4)
    cut = read_film(io.BytesIO(data), URL, settings)
    file = _Store(data)
    with closing(FilmReader.of(file, URL)) as reader:
        seen(iter_frames(reader, cut.film, cut.spans[0], settings))
        assert reader.is_open
        file.gone = True
        with pytest.raises(ItemError) as caught:
            [seen(iter_frames(reader, cut.film, span, settings)) for span in cut.spans[1:]]
        assert caught.value.kind is ErrorKind.STORAGE_ERROR
        assert not reader.is_open
        file.gone = False
        expected = anew(data, cut, cut.spans[:2], settings)
        assert [seen(iter_frames(reader, cut.film, span, settings)) for span in cut.spans[:2]] == expected


def test_a_reader_closes_what_it_has_opened_and_nothing_before() -> None:
    opened: list[io.BytesIO] = []

    def opener() -> io.BytesIO:
        opened.append(io.BytesIO(film("constant.mp4")))
        return opened[-1]

    settings = params(segment_frames=6)
    cut = read_film(io.BytesIO(film("constant.mp4")), URL, settings)
    reader = FilmReader(opener, URL)
    assert not opened
    for span in cut.spans:
        seen(iter_frames(reader, cut.film, span, settings))
    assert len(opened) == 1
    assert not opened[0].closed
    reader.close()
    reader.close()
    assert opened[0].closed
