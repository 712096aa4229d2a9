"""What a person sees on a terminal while a run works, drawn on a real pty, and what a program is told."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from farm.pace import Pace
from farm.progress import Progress, Workload, effort_of, likeness_of
from farm.progress.crew import Crew
from farm.progress.work import Likeness, held_px
from farm.records import Part, PartKind, StageSeconds, Unit, WorkItem
from farm.schedule import Schedule, SchedulePolicy

from ..small_terminal import Pty, open_pty
from .items import DONE, FILM, PARAMS, make_film, make_item, make_spans
from .test_progress import Clock

WORKERS = 3


class Live:
    """A run that works: a real schedule hands parts to its workers, and a clock goes on when it is told to."""

    def __init__(self, items: list[WorkItem], workers: int, stream: io.TextIOBase, **more: object) -> None:
        self.clock = Clock()
        guesses = {likeness_of(item): 0 for item in items}
        for item in items:
            guesses[likeness_of(item)] += item.cost_px
        policy = SchedulePolicy(largest_first=False)  # a test says itself who holds what
        self.schedule = Schedule(policy, Pace(floors_px_s={PARAMS.model: 1.0}, cap_px=1))
        self.workers = [f"upscale-x4plus-{at}" for at in range(workers)]
        for name in self.workers:
            self.schedule.add_worker(name)
        work = Workload({PARAMS.model: 1.0}, guesses, len(items))
        self.progress = Progress(len(items), work, quiet=False, stream=stream, clock=self.clock, **more)  # pyright: ignore
        self.progress.begin(self.schedule)

    def give(self, parts: list[Part]) -> None:
        """To all workers, one unit each as long as there is one."""
        self.schedule.add(parts)
        for name in self.workers:
            self.schedule.next_unit(name)
        self.after(0)

    def after(self, seconds: float) -> Progress:
        self.clock.now_s += seconds
        self.progress.tick()
        return self.progress

    def bring(self, at: int, px: int, seconds: float, network_s: float) -> None:
        """What a worker holds is done."""
        name = self.workers[at]
        for unit in self.schedule.running(name):
            stages = StageSeconds(infer=network_s, wait=99.0, encode=seconds - network_s)
            for part in unit.parts:
                done = replace(DONE, part_id=part.part_id, worker=name, seconds=stages, source_px=px)
                self.schedule.finish(name, unit.unit_id, [done])
                if part.kind is PartKind.SEGMENT:
                    assert part.span
                    self.progress.piece(part.item, px, len(part.span.pts), effort_of(done))
                else:
                    self.progress.finish(part.item, px, effort_of(done))


@contextmanager
def live(
    items: list[WorkItem], workers: int = WORKERS, *, columns: int = 80, rows: int = 24
) -> Iterator[tuple[Live, Pty]]:
    with open_pty(columns, rows) as pty, os.fdopen(os.dup(pty.theirs), "w", encoding="utf-8") as stream:
        yield Live(items, workers, stream), pty


def picture(item: WorkItem) -> Part:
    return Part(item=item, kind=PartKind.PICTURE, cost_px=item.cost_px)


def pictures(count: int, name: str = "{}.png") -> list[WorkItem]:
    items = [make_item(index) for index in range(count)]
    return [replace(one, row=replace(one.row, source_url=f"/in/{name.format(at)}")) for at, one in enumerate(items)]


def segments(item: WorkItem, frames: int, each: int) -> list[Part]:
    spans = make_spans(frames, each)
    film = replace(FILM, frames=frames)
    return [
        Part(item=item, kind=PartKind.SEGMENT, index=at, film=film, span=span, cost_px=each * 600)
        for at, span in enumerate(spans)
    ]


def seen(pty: Pty) -> list[str]:
    pty.read()
    return pty.terminal.seen


def test_each_worker_has_a_line_with_what_it_works_on_and_how_much_of_its_time() -> None:
    items = pictures(4)
    with live(items) as (run, pty):
        run.give([picture(item) for item in items[:2]])
        assert seen(pty) == [
            "[....................] 0/4  time left unknown yet",
            "  upscale-x4plus-0  [........]   - % busy  0 done  0.png",
            "  upscale-x4plus-1  [........]   - % busy  0 done  1.png",
            "  upscale-x4plus-2  [........]   - % busy  0 done  waits",
        ]
        run.after(10)
        run.bring(0, 100, 10, 8)
        run.give([picture(items[2])])
        run.after(1)
        assert seen(pty)[1:] == [
            "  upscale-x4plus-0  [######..]  80 % busy  1 done  2.png",
            "  upscale-x4plus-1  [........]   - % busy  0 done  1.png",
            "  upscale-x4plus-2  [........]   - % busy  0 done  waits",
        ]


def test_a_worker_at_a_film_says_which_frames_and_how_much_waits_behind() -> None:
    film = make_film(7).item
    with live([film], workers=1) as (run, pty):
        run.progress.cut(film, 144 * 600, 0.0, "7.mkv", 144)
        run.schedule.add(segments(film, 144, 48))
        run.schedule.next_unit(run.workers[0])
        run.schedule.next_unit(run.workers[0])
        run.after(1)
        assert seen(pty)[1:] == [
            "  7.mkv  0/144  time left unknown yet",
            "  upscale-x4plus-0  [........]   - % busy  0 done  7.mkv frames 0-47 +1",
        ]


def test_of_many_workers_those_that_fit_are_shown_and_the_others_together() -> None:
    items = pictures(60)
    with live(items, workers=60, rows=8) as (run, pty):
        run.give([picture(item) for item in items])
        run.after(10)
        for at in range(60):
            run.bring(at, 100, 10, 10 if at < 3 else 9.8)
        run.after(1)
        shown = seen(pty)
        assert shown[0].startswith("[####################] 60/60")
        assert shown[1:6] == [
            *(f"  upscale-x4plus-{at}  [########] 100 % busy  1 done  waits" for at in range(3)),
            *(f"  upscale-x4plus-{at}  [#######.]  98 % busy  1 done  waits" for at in (3, 4)),
        ]
        assert shown[6:] == ["  and 55 more: 98 % busy"]
        assert len(pty.terminal.lines) < 8, "nothing has scrolled away"


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_terminal_of_few_lines_shows_what_fits_and_keeps_nothing(rows: int) -> None:
    items = pictures(9)
    with live(items, workers=9, columns=40, rows=rows) as (run, pty):
        with run.progress:
            run.give([picture(item) for item in items])
            for _ in range(5):
                run.after(1)
            shown = seen(pty)
            assert len(shown) == max(1, rows - 1)
            assert shown[0].startswith("[....................] 0/9")
            run.progress.say("dashboard: here")
            run.after(1)
        assert seen(pty) == (["dashboard: here"] if rows > 1 else [])


def test_hostile_names_do_nothing_to_a_terminal() -> None:
    """The terminal fails on anything but moving up, clearing, and text."""
    names = ("\x1b[2J\x1b]0;mine\x07{}.png", "a\nb\r{}.png", "\u202e\u2066gnp.{}", "\udcff\x9b{}.png", "映" * 90 + "{}")
    for name in names:
        items = pictures(2, name)
        with live(items, workers=2) as (run, pty):
            run.give([picture(item) for item in items])
            run.after(1)
            run.progress.cut(items[0], 100, 0.0, items[0].row.source_url, 10)
            run.after(1)
            shown = seen(pty)
            assert len(shown) == 4, "one line each, none broken"
            assert "?" in shown[-1] or "映" in shown[-1]


def test_failures_so_far_are_counted_by_class_and_those_refused_too() -> None:
    items = pictures(4)
    with open_pty() as pty, os.fdopen(os.dup(pty.theirs), "w") as stream:
        refused = {"too_large": 1}
        run = Live(items, 1, stream, refused=refused)
        run.give([picture(item) for item in items])
        run.progress.fail(items[0], "truncated", "truncated: 0.png")
        run.progress.fail(items[1], "truncated", "truncated: 1.png")
        refused["too_large"] += 1
        refused["unsafe_path"] = 1
        run.after(1)
        assert seen(pty)[:2] == [
            "[##########..........] 2/4  5 failed  time left unknown yet",
            "  failed: 2 truncated, 2 too_large, 1 unsafe_path",
        ]


def test_a_thousand_workers_are_looked_after_a_few_times_a_second_however_often_something_ends() -> None:
    asked = 0

    class Counted(Schedule):
        def running(self, worker: str) -> tuple[Unit, ...]:
            nonlocal asked
            asked += 1
            return super().running(worker)

    with live(pictures(1), workers=1) as (run, pty):
        schedule = Counted(SchedulePolicy(), Pace(floors_px_s={PARAMS.model: 1.0}, cap_px=1))
        for at in range(1000):
            schedule.add_worker(f"w-{at}")
        run.progress.begin(schedule)
        asked = 0
        for _ in range(1000):
            run.after(0.001)
            pty.read()
        assert asked <= 5 * (1000 + 24), "five looks at all in a second, and five drawings of those that are shown"
        assert any("more" in line for line in seen(pty))


# -- the time left -----------------------------------------------------------------------------------------------------


def test_the_start_of_workers_and_models_is_no_work_and_what_is_under_way_is() -> None:
    items = pictures(8)
    run = Live(items, 2, io.StringIO())
    run.give([picture(item) for item in items])
    run.after(30)
    assert run.progress.left_s() is None
    run.bring(0, 100, 10, 10)  # so 20 s of these 30 were its start
    assert run.progress.left_s() == pytest.approx((7 * 10 - 10) / 2), "the other worker has been at it as long"
    run.bring(1, 100, 10, 10)
    run.give([])
    assert run.progress.left_s() == pytest.approx(6 * 10 / 2)
    run.after(4)
    assert run.progress.left_s() == pytest.approx((60 - 8) / 2)


def test_what_one_kind_costs_is_not_what_another_costs() -> None:
    """The same network, but films are encoded slowly."""
    stills, film = pictures(4), replace(make_film(9).item, cost_px=2400)
    run = Live([*stills, film], 1, io.StringIO())
    run.progress.cut(film, 2400, 0.0, "9.mkv", 4)
    run.give([picture(stills[0])])
    run.after(1)
    run.bring(0, 100, 1, 1)
    assert run.progress.left_s() == pytest.approx(3 * 1 + 24 * 1)
    run.give([replace(segments(film, 4, 1)[0], cost_px=600)])
    run.after(18)
    run.bring(0, 600, 18, 6)
    assert run.progress.left_s() == pytest.approx(3 * 1 + 3 * 18)


def sized(costs_px: list[int]) -> list[WorkItem]:
    """Pictures whose manifest says how large they are."""
    items = [replace(one, cost_px=px) for one, px in zip(pictures(len(costs_px)), costs_px, strict=True)]
    return [replace(one, row=replace(one.row, width=10, height=one.cost_px // 10)) for one in items]


def test_a_run_lasts_as_long_as_the_worker_that_holds_most() -> None:
    items = sized([100, 100, 400])
    run = Live(items, 3, io.StringIO())
    run.give([picture(item) for item in items])
    run.after(10)
    run.bring(0, 100, 10, 10)
    run.bring(1, 100, 10, 10)
    assert run.progress.left_s() == pytest.approx(40 - 10), "nobody can help"
    for _ in range(4):
        run.after(1)
    assert run.progress.left_s() == pytest.approx(40 - 14)


def test_workers_without_anything_to_do_do_not_help() -> None:
    """Of what nobody holds yet those have a share that are at work."""
    items = sized([100, 100, 400, *[100] * 9])
    run = Live(items, 3, io.StringIO())
    run.give([picture(item) for item in items[:3]])
    run.after(10)
    run.bring(0, 100, 10, 10)
    run.bring(1, 100, 10, 10)
    assert run.progress.left_s() == pytest.approx((40 - 10 + 90) / 3)
    for _ in range(4):
        run.after(1)
    assert run.progress.left_s() == pytest.approx(40 - 14 + 90)


def test_what_a_worker_only_opens_and_what_it_joins_is_not_what_it_holds() -> None:
    film = replace(make_film(9).item, cost_px=2400)
    segment = segments(film, 4, 1)[0]
    assert not held_px([Part(item=film, kind=PartKind.FILM, cost_px=2400)])
    assert not held_px([replace(segment, kind=PartKind.JOIN, span=None)])
    assert held_px([segment, segment]) == {replace(likeness_of(film), sized=True): 1200}
    large = replace(picture(pictures(1)[0]), cost_px=10 * PARAMS.band_px)
    assert held_px([large]) == {likeness_of(large.item): PARAMS.band_px}, "others get its other bands"


def test_no_worker_holds_more_than_all_that_is_left() -> None:
    """A film that is cheaper than others were."""
    dear, cheap = (replace(make_film(at).item, cost_px=2400) for at in (8, 9))
    run = Live([dear, cheap], 1, io.StringIO())
    for film, seconds in ((dear, 60), (cheap, 6)):
        first, second = (replace(one, cost_px=1200) for one in segments(film, 4, 2))
        run.progress.cut(film, 2400, 0.0, "film.mkv", 4)
        run.give([first])
        run.after(seconds)
        run.bring(0, 1200, seconds, 1)
        run.give([second])
        if film is dear:
            run.after(seconds)
            run.bring(0, 1200, seconds, 1)
    assert run.progress.left_s() == pytest.approx(6, rel=0.05)


def test_a_thousand_workers_are_not_asked_what_they_hold_while_much_is_left() -> None:
    roster = Counting(1000)
    crew = Crew(roster, 0.0)
    roster.asked = 0
    assert crew.last_s(0.0, lambda _: 99.0, share_s=3600.0) == 0.0
    assert not roster.asked
    assert crew.last_s(0.0, lambda _: 99.0, share_s=30.0) == pytest.approx(99.0)


def test_what_units_hold_is_added_up_once_however_often_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[int] = []

    def count(parts: Iterable[Part]) -> Counter[Likeness]:
        added.append(1)
        return held_px(parts)

    monkeypatch.setattr("farm.progress.crew.held_px", count)
    crew = Crew(Counting(100), 0.0)
    for _ in range(5):
        crew.last_s(0.0, lambda held: float(sum(held.values())), share_s=30.0)
    assert len(added) == 100


def test_what_was_held_before_is_not_kept() -> None:
    """Of a night whose lines are read by a program: units come and go, workers stay."""
    roster = Counting(1)
    crew = Crew(roster, 0.0)
    for at in range(20):
        roster.units["w-0"] = Unit(unit_id=at, parts=(replace(picture(make_item(at)), cost_px=100 + at),))
        assert list(crew.held("w-0").values()) == [100 + at]
    assert len(crew._held) == 1  # pyright: ignore[reportPrivateUsage]


class Counting:
    """So many workers, each with a unit of a picture."""

    def __init__(self, count: int) -> None:
        parts = (picture(make_item(0)),)
        self.units = {f"w-{at}": Unit(unit_id=at, parts=parts) for at in range(count)}
        self.names = list(self.units)
        self.asked = 0

    def running(self, worker: str) -> tuple[Unit, ...]:
        self.asked += 1
        return (self.units[worker],)


# -- for programs ------------------------------------------------------------------------------------------------------


def told(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_programs_are_told_every_row_and_how_things_stand_and_people_nothing() -> None:
    stream, shown = io.StringIO(), io.StringIO()
    items = [*pictures(2, "a\x1b\n{}.png"), make_film(7).item]
    run = Live(items, 1, shown, lines=stream)
    run.progress.start("run7", "/out", {PARAMS.model: 1.0})
    run.progress.say("dashboard: here")
    run.give([picture(items[0])])
    run.after(4)
    run.bring(0, 100, 4, 3)
    run.progress.fail(items[1], "truncated", "truncated: b")
    run.progress.cut(items[2], 4800, 0.5, "7.mkv", 8)
    run.after(3)
    lines = told(stream)
    assert shown.getvalue() == ""
    assert [line["event"] for line in lines] == [
        "work",
        "begin",
        "said",
        "standing",
        "standing",
        "row",
        "row",
        "cut",
        "standing",
    ]
    done, failed, cut, stands = lines[-4:]
    assert (done["source"], done["status"], done["worker"]) == ("/in/a\x1b\n0.png", "done", "upscale-x4plus-0")
    assert (done["seconds"], done["network_s"], done["px"]) == (4.0, 3.0, 100)
    assert (failed["status"], failed["error"], failed["message"]) == ("failed", "truncated", "truncated: b")
    assert (cut["px"], cut["before_px"], cut["frames"], cut["at_s"]) == (4800, 2400, 8, 4.0)
    assert (stands["done"], stands["failed"], stands["failures"], stands["at_s"]) == (1, 1, {"truncated": 1}, 7.0)
    assert stands["eta_s"] == pytest.approx(2400 * 4 / 100 - 3)
    assert stands["workers"] == [{"name": "upscale-x4plus-0", "busy": 0.75, "done": 1, "at": "", "more": 0, "held": []}]


def test_programs_are_told_what_a_run_waits_for_when_that_begins_and_every_two_seconds() -> None:
    stream = io.StringIO()
    run = Live(pictures(1), 1, io.StringIO(), lines=stream)
    run.progress.note("fetching m: 0.1 of 9.0 MB")
    run.progress.note("fetching m: 0.2 of 9.0 MB")
    run.progress.note("starting Ray")
    for at in range(5):
        run.progress.wait(f"waiting for 6 GPUs: {at} of 8 are free", {"wanted": {"GPU": 6}})
        run.after(1)
    told_of = [(line["event"], line.get("text"), line.get("wanted")) for line in told(stream)][1:]
    assert told_of == [
        ("note", "fetching m: 0.1 of 9.0 MB", None),
        ("note", "starting Ray", None),
        ("waiting", "waiting for 6 GPUs: 0 of 8 are free", {"GPU": 6}),
        ("waiting", "waiting for 6 GPUs: 2 of 8 are free", {"GPU": 6}),
        ("waiting", "waiting for 6 GPUs: 4 of 8 are free", {"GPU": 6}),
    ]


def test_a_run_goes_on_when_nobody_reads_its_lines_any_more(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w") as stream:
        run = Live(pictures(3), 1, io.StringIO(), lines=stream)
        os.close(ours)
        for item in pictures(3):
            run.after(3).fail(item, "truncated", "x" * 70_000)
    assert [record.getMessage() for record in caplog.records] == [
        "nobody reads the lines of --json any more; the run goes on without them"
    ]
