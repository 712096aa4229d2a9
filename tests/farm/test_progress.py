"""What a person is told of a run: how fast it goes, how much is left of it, and when nobody can know."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from farm.kinds import MediaKind
from farm.progress import Progress, Workload, duration, likeness_of
from farm.progress.pace import Pace
from farm.progress.screen import cut
from farm.progress.work import Ahead, row_of
from farm.records import WorkItem

from .items import PARAMS, make_film, make_item

MODEL = PARAMS.model
COSTS = {MODEL: 1.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def pictures(count: int, *, cost_px: int = 100, side: int | None = None) -> list[WorkItem]:
    """Rows of one kind; `side`: width and height where the manifest says them."""
    items = [make_item(index, cost_px=cost_px) for index in range(count)]
    return [replace(item, row=replace(item.row, width=side, height=side)) for item in items]


def film(index: int, cost_px: int = 100) -> WorkItem:
    return replace(make_film(index).item, cost_px=cost_px)


class Watch:
    """A run's progress, with a clock of its own."""

    def __init__(self, *items: WorkItem, stream: io.StringIO | None = None, quiet: bool = False) -> None:
        self.clock = Clock()
        self.stream = stream or Terminal()
        guesses = {}
        for item in items:
            guesses[likeness_of(item)] = guesses.get(likeness_of(item), 0) + item.cost_px
        self.work = Workload(COSTS, guesses, len(items))
        self.progress = Progress(len(items), self.work, quiet=quiet, stream=self.stream, clock=self.clock)

    def after(self, seconds: float) -> Progress:
        self.clock.now_s += seconds
        return self.progress

    @property
    def line(self) -> str:
        return "  ".join(self.progress.lines(self.clock.now_s)[0])

    @property
    def films(self) -> list[str]:
        return [" ".join(words[1:]) for words in self.progress.lines(self.clock.now_s)[1:]]


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0, 59.9, 61, 3599, 3600, 19_000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "59 min 59 s",
        "1 h 00 min",
        "5 h 16 min",
    ]


# -- what is left ------------------------------------------------------------------------------------------------------


def test_at_the_start_nobody_knows() -> None:
    watch = Watch(*pictures(4))
    watch.after(30)
    assert watch.line == "[....................] 0/4  time left unknown yet"


def test_what_is_left_is_counted_in_pixels_and_not_in_rows() -> None:
    small, large = pictures(1, cost_px=100, side=10), pictures(1, cost_px=900, side=30)
    watch = Watch(*small, *large)
    watch.after(10).finish(small[0], 100)
    assert watch.line == "[##..................] 1/2  0.000010 MP/s  1 min 30 s left"


def test_a_long_film_behind_a_short_one_is_not_as_short() -> None:
    """Both were guessed by their bytes; what the first turned out to be tells what the second will be."""
    short, long = film(0, cost_px=1000), film(1, cost_px=9000)
    watch = Watch(short, long)
    watch.progress.cut(short, 50_000, 0.0, "short.mkv", 10)
    assert watch.films == ["short.mkv 0/10 time left unknown yet"]
    watch.after(10).piece(short, 50_000, 10)
    assert watch.films == ["short.mkv 10/10 1.00 frames/s joining"]
    watch.progress.finish(short, 0)
    assert watch.line == "[##..................] 1/2  1.00 frames/s  1 min 30 s left"
    watch.progress.cut(long, 900_000, 0.0, "long.mkv", 180)
    assert watch.line == "[#...................] 1/2  1.00 frames/s  3 min 00 s left", "by now its size is known"


def test_the_rest_of_a_film_costs_what_the_film_has_cost_so_far() -> None:
    quick, slow = film(0), film(1)
    watch = Watch(quick, slow)
    watch.progress.cut(quick, 100_000, 0.0, "quick.mkv", 100)
    watch.progress.cut(slow, 100_000, 0.0, "slow.mkv", 100)
    watch.after(1).piece(quick, 50_000, 50)
    watch.after(9).piece(slow, 10_000, 10)
    assert watch.films[1] == "slow.mkv 10/100 1.00 frames/s 1 min 30 s left"
    assert watch.line.endswith("0/2  6.00 frames/s  1 min 22 s left"), "1 s of the quick one, 81 s of the slow one"


def test_rows_of_a_kind_that_nobody_has_looked_into_are_guessed_by_their_bytes() -> None:
    watch = Watch(*(many := pictures(2)), film(7, cost_px=16_000))
    watch.after(5).finish(many[0], 4000)
    assert watch.line.endswith("1/3  0.00080 MP/s  about 25 s left"), "no film has been looked into"
    watch.after(5).finish(many[1], 4000)
    assert watch.line.endswith("2/3  0.00080 MP/s  about 20 s left")


def test_files_of_another_extension_are_guessed_as_others_of_their_kind() -> None:
    first = film(0)
    other = film(1)
    other = replace(other, row=replace(other.row, source_url="/in/1.avi"))
    watch = Watch(first, other)
    watch.progress.cut(first, 1000, 0.0, "0.mkv", 10)
    watch.after(10).piece(first, 1000, 10)
    watch.progress.finish(first, 0)
    assert watch.line.endswith("10 s left")


def test_models_weigh_what_they_cost() -> None:
    cheap, dear = pictures(2, side=10)
    dear = replace(dear, params=replace(PARAMS, model="dear"))
    work = Workload({MODEL: 1.0, "dear": 30.0}, {likeness_of(cheap): 100, likeness_of(dear): 100}, 2)
    work.measured(row_of(cheap), 100)
    work.restored(row_of(cheap), 100)
    work.ended(row_of(cheap))
    assert (work.done, work.ahead.work, work.ahead.sure) == (100.0, 3000.0, True)


def test_what_has_failed_is_not_ahead_any_more() -> None:
    items = pictures(4, side=10)
    watch = Watch(*items)
    watch.after(10).finish(items[0], 100)
    assert watch.line.endswith("30 s left")
    watch.progress.fail(items[1])
    assert watch.line == "[######..............] 2/4  0.000010 MP/s  1 failed  20 s left"
    long = film(9)
    watch = Watch(long, *items)
    watch.progress.cut(long, 10_000, 0.0, "9.mkv", 100)
    watch.progress.fail(long)
    assert watch.films == []
    assert watch.work.ahead.work == 400


def test_bands_of_a_large_picture_move_the_line() -> None:
    (item,) = pictures(1)
    watch = Watch(item)
    watch.progress.cut(item, 8_000_000, 0.0, "0.png")
    watch.after(10).piece(item, 2_000_000, 0)
    assert watch.line == "[#####...............] 0/1  0.20 MP/s  30 s left"


def test_what_earlier_runs_did_shows_in_the_bar_and_not_in_the_estimate() -> None:
    item = film(0)
    watch = Watch(item)
    watch.progress.cut(item, 200_000, 0.5, "0.mkv", 200)
    watch.after(10).piece(item, 10_000, 10)
    assert watch.line == "[###########.........] 0/1  1.00 frames/s  1 min 30 s left"
    assert watch.films == ["0.mkv 110/200 1.00 frames/s 1 min 30 s left"]


def test_the_start_of_workers_is_no_work() -> None:
    items = pictures(2, side=10)
    watch = Watch(*items)
    watch.progress.note("starting Ray")
    assert watch.line == "[....................] 0/2  starting Ray"
    watch.after(60).begin()
    watch.after(10).finish(items[0], 100)
    assert watch.line.endswith("10 s left")


def test_between_two_segments_the_time_left_runs_down() -> None:
    pace = Pace(0.0)
    pace.add(48, 10.0)
    assert pace.left_s(96, 10.0) == 20
    assert pace.left_s(96, 16.0) == 14, "the next is on its way"
    assert pace.left_s(96, 20.0) == 10
    assert pace.left_s(96, 30.0) == 30, "and late: all of it is slower than it seemed"
    assert pace.rate(16.0) == pytest.approx(4.8)
    assert pace.rate(30.0) == pytest.approx(2.4)
    assert Pace(0.0).left_s(96, 5.0) is None


# -- how it is shown ---------------------------------------------------------------------------------------------------


def test_a_terminal_has_one_live_line_that_vanishes() -> None:
    items = pictures(4, cost_px=1_000_000, side=1000)
    watch = Watch(*items)
    with watch.progress as progress:
        progress.note("starting Ray")
        watch.after(10).finish(items[0], 1_000_000)
        progress.fail(items[1])
    assert watch.line == "[######..............] 2/4  0.10 MP/s  1 failed  20 s left"
    assert "\n" not in watch.stream.getvalue()
    assert watch.stream.getvalue().endswith("\r\x1b[J")


def test_films_under_way_have_a_line_each_below_the_run_s() -> None:
    one, two = film(0), film(1)
    watch = Watch(one, two)
    with watch.progress as progress:
        progress.cut(one, 181_000, 0.0, "holiday\x1b[2J.mp4", 181)
        watch.after(10).piece(one, 48_000, 48)
        progress.cut(two, 90_000, 0.0, "other.mp4", 90)
        watch.after(1).tick()
        assert watch.films == [
            "holiday?[2J.mp4 48/181 4.80 frames/s 26 s left",
            "other.mp4 0/90 time left unknown yet",
        ]
    shown = watch.stream.getvalue()
    assert shown.count("\n") == 1 + 1 + 2
    assert shown.endswith("\x1b[2A\r\x1b[J"), "all three lines vanish"


def test_many_films_are_counted_and_not_all_shown() -> None:
    items = [film(index) for index in range(6)]
    watch = Watch(*items)
    for item in items:
        watch.progress.cut(item, 1000, 0.0, "a.mkv", 10)
    assert len(watch.films) == 5
    assert watch.films[-1] == "and 2 more films"


def test_no_line_is_longer_than_the_terminal() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 5) == "abcd…"
    assert cut("映画の名前", 7) == "映画の…", "East Asian letters are two columns wide"


def test_a_file_gets_a_plain_line_now_and_then_and_quiet_gets_none() -> None:
    for quiet in (False, True):
        item = film(0)
        watch = Watch(item, stream=io.StringIO(), quiet=quiet)
        with watch.progress as progress:
            progress.cut(item, 181_000, 0.0, "a.mp4", 181)
            watch.after(10).piece(item, 24_000, 24)
            assert watch.stream.getvalue() == ""
            watch.after(10).piece(item, 24_000, 24)
            watch.after(60).tick()
        line = "[#####...............] 0/1  2.40 frames/s  55 s left  a.mp4 48/181 2.40 frames/s 55 s left\n"
        assert watch.stream.getvalue() == ("" if quiet else line)


def test_kinds_are_told_apart_by_what_is_known_of_them() -> None:
    sized, bare, moving = pictures(1, side=10)[0], pictures(1)[0], film(0)
    assert len({likeness_of(sized), likeness_of(bare), likeness_of(moving)}) == 3
    assert likeness_of(moving).kind is MediaKind.VIDEO


def test_rows_that_are_not_planned_yet_are_taken_to_be_like_those_that_are() -> None:
    known, _ = pictures(2)
    work = Workload({MODEL: 1.0}, {likeness_of(known): 200}, 2, unplanned=8)
    assert not work.ahead.sure
    work.measured(row_of(known), 50)
    assert work.ahead == Ahead(work=500.0, sure=True), "50, as much again for the other one, and 4 times that"
    work.restored(row_of(known), 50)
    work.ended(row_of(known))
    assert work.ahead.work == 450.0
    work.expect({likeness_of(known): 400}, 4, unplanned=0)
    assert work.ahead == Ahead(work=250.0, sure=True), "half of what is guessed, as it turned out"


def test_of_a_run_of_which_nothing_is_planned_nothing_is_said() -> None:
    assert not Workload({MODEL: 1.0}, {}, 0, unplanned=8).ahead.sure
