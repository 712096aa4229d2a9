"""What a worker keeps open between segments: whose turn it is, how much, and for how long."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from farm.media.video import DecoderConfig, iter_frames
from farm.media.video.plan import read_film
from farm.media.video.values import FilmCut
from farm.tasks import open_films
from farm.tasks.lane import LaneStopped
from farm.tasks.memory import MemoryBudget
from farm.tasks.open_films import OpenFilms, Turn, Wanted
from tests.clips import h264
from tests.farm.items import PARAMS, VIDEO
from tests.waiting import wait_for

SETTINGS = replace(PARAMS, outscale=2.0, video=replace(VIDEO, segment_frames=4))
LONG_S = 10.0
"""longer than anything here takes"""
SHORT_S = 0.1


@pytest.fixture(scope="module")
def data() -> bytes:
    return h264("matroska", "bframes=0:keyint=infinite:scenecut=0", frames=24)


@pytest.fixture(scope="module")
def cut(data: bytes) -> FilmCut:
    return read_film(io.BytesIO(data), "x.mkv", SETTINGS)


class Films:
    """A worker's films, all of one content."""

    def __init__(self, data: bytes, cut: FilmCut, *, in_turn: bool = True, memory_bytes: int = 1 << 20) -> None:
        self.budget = MemoryBudget(memory_bytes)
        self.open = OpenFilms(self.budget, in_turn=in_turn)
        self.files: list[io.BytesIO] = []
        self._data, self._cut = data, cut

    def _opener(self) -> io.BytesIO:
        self.files.append(io.BytesIO(self._data))
        return self.files[-1]

    @contextmanager
    def turn(self, segment: int, url: str = "x.mkv", version: str = "1") -> Iterator[Turn]:
        wanted = Wanted(url=url, version=version, span=self._cut.spans[segment], held_bytes=1000)
        with self.open.turn(wanted, self._opener) as turn:
            yield turn

    def decode(self, turn: Turn, segment: int) -> list[int]:
        span, how = self._cut.spans[segment], DecoderConfig()
        frames = [one.index for one in iter_frames(turn.reader, "x.mkv", self._cut.film, span, SETTINGS, how)]
        assert frames == list(range(*span.frames))
        return frames

    def whole(self, segment: int, **film: str) -> None:
        with self.turn(segment, **film) as turn:
            self.decode(turn, segment)

    def broken_off(self, segment: int, *, decoded: bool = False) -> None:
        """After its first frame, or when all is decoded and the rest is still to be done."""
        with self.turn(segment) as turn:
            if decoded:
                self.decode(turn, segment)
                turn.end()
            else:
                span, how = self._cut.spans[segment], DecoderConfig()
                next(iter_frames(turn.reader, "x.mkv", self._cut.film, span, SETTINGS, how))
            raise KeyboardInterrupt

    @property
    def handles(self) -> int:
        return sum(not file.closed for file in self.files)


def test_segments_wait_for_those_before_them_and_go_in_order(data: bytes, cut: FilmCut) -> None:
    films, begun, lock = Films(data, cut), list[int](), threading.Lock()

    def restore(segment: int) -> None:
        with films.turn(segment) as turn:
            with lock:
                begun.append(segment)
            films.decode(turn, segment)

    with ThreadPoolExecutor(5) as pool:
        with films.turn(0) as turn:
            others = [pool.submit(restore, segment) for segment in (4, 2, 5, 1)]
            wait_for(lambda: len(films.open._waiting) == 4, "four segments wait for their turn", LONG_S, 0.01)
            assert not begun
            films.decode(turn, 0)
        for one in others:
            one.result(LONG_S)
    assert begun == [1, 2, 4, 5]
    assert len(films.files) == 1
    assert films.handles == 0, "behind its last segment a film is closed"


def test_the_next_one_begins_when_all_is_decoded_and_not_when_all_is_done(data: bytes, cut: FilmCut) -> None:
    films, begun = Films(data, cut), threading.Event()

    def second() -> None:
        with films.turn(1) as turn:
            begun.set()
            films.decode(turn, 1)

    thread = threading.Thread(target=second, daemon=True)
    with films.turn(0) as turn:
        thread.start()
        films.decode(turn, 0)
        assert not begun.wait(SHORT_S)
        turn.end()
        assert begun.wait(LONG_S)
    thread.join(LONG_S)
    assert len(films.files) == 1


def test_what_feeds_a_gpu_does_not_wait(data: bytes, cut: FilmCut) -> None:
    films = Films(data, cut, in_turn=False)
    with films.turn(0) as first, films.turn(1) as second:
        films.decode(first, 0)
        films.decode(second, 1)
    assert len(films.files) == films.handles == films.open.idle == 2
    films.whole(2)
    films.whole(3)
    assert len(films.files) == 2, "each goes on where one stands"
    films.open.stop()
    assert films.handles == 0


def test_segments_of_other_films_and_versions_wait_for_nobody(data: bytes, cut: FilmCut) -> None:
    films = Films(data, cut)
    with films.turn(0):
        films.whole(1, url="y.mkv")
        films.whole(1, version="2")
    films.whole(0)
    opened = len(films.files)
    films.whole(1, version="3")
    assert len(films.files) == opened + 1
    assert films.open.idle == 4


def test_after_anything_that_is_raised_the_film_is_closed_and_opened_anew(data: bytes, cut: FilmCut) -> None:
    films = Films(data, cut)
    films.whole(0)
    with pytest.raises(KeyboardInterrupt):
        films.broken_off(1)
    assert films.handles == films.open.idle == 0
    films.whole(2)
    assert len(films.files) == 2
    with pytest.raises(KeyboardInterrupt):
        films.broken_off(3, decoded=True)
    films.whole(4)
    assert len(films.files) == 2
    films.open.stop()


def test_few_films_are_open_and_the_last_ones(data: bytes, cut: FilmCut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_films, "_MOST", 3)
    films = Films(data, cut)
    for number in range(6):
        films.whole(0, url=f"{number}.mkv")
    assert films.handles == films.open.idle == 3
    films.whole(1, url="5.mkv")
    assert len(films.files) == 6
    films.whole(1, url="0.mkv")
    assert len(films.files) == 7
    films.open.end_film("5.mkv")
    assert films.open.idle == 2
    films.open.stop()


def test_memory_that_somebody_wants_is_not_kept(data: bytes, cut: FilmCut) -> None:
    films = Films(data, cut, memory_bytes=2500)
    for number in range(3):
        films.whole(0, url=f"{number}.mkv")
    assert films.handles == films.open.idle == 2, "two times 1000 bytes"
    with films.budget.hold(400):
        assert films.open.idle == 2
    with films.budget.hold(2400):
        assert films.handles == 0
        films.whole(0)
        assert films.open.idle == 0
    with films.budget.hold(1 << 40):
        pass


def test_who_waits_already_gets_the_film_without_spare_memory(data: bytes, cut: FilmCut) -> None:
    films = Films(data, cut, memory_bytes=10)

    def second() -> None:
        with films.turn(1) as turn, films.budget.hold(1000):
            films.decode(turn, 1)

    thread = threading.Thread(target=second, daemon=True)
    with films.turn(0) as turn, films.budget.hold(1000):
        thread.start()
        wait_for(lambda: films.open._waiting, "the second segment waits for its turn", LONG_S, 0.01)
        films.decode(turn, 0)
        turn.end()
    thread.join(LONG_S)
    assert not thread.is_alive()
    assert len(films.files) == 1


def test_a_film_that_nobody_comes_back_to_is_closed(data: bytes, cut: FilmCut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_films, "_IDLE_S", SHORT_S)
    films = Films(data, cut)
    films.whole(0)
    assert films.handles == 1
    wait_for(lambda: not films.handles, "the film is closed", LONG_S, 0.01)
    assert films.handles == films.open.idle == 0
    assert films.budget.spare(1 << 20), "and its memory is free"


def test_who_is_told_to_stop_waits_no_longer_and_leaves_nothing_open(data: bytes, cut: FilmCut) -> None:
    films, stopped = Films(data, cut), threading.Event()

    def second() -> None:
        with pytest.raises(LaneStopped), films.turn(1):
            pass
        stopped.set()

    thread = threading.Thread(target=second, daemon=True)
    with films.turn(0) as turn:
        films.decode(turn, 0)
        thread.start()
        wait_for(lambda: films.open._waiting, "the second segment waits for its turn", LONG_S, 0.01)
        films.open.stop()
        assert stopped.wait(LONG_S)
    thread.join(LONG_S)
    assert films.handles == films.open.idle == 0
    with pytest.raises(LaneStopped), films.turn(0):
        pass
