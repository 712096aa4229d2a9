"""When a run ends before all is done: by the clock, by what failed; what comes first; what is tried again."""

from __future__ import annotations

import os
import time as clocks
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from farm import engine, failpoints, plan
from farm.config import StopConfig
from farm.errors import OutOfTimeError, UsageError
from farm.expected import Expected, model_key
from farm.pace import Pace
from farm.records import Part, PartKind, Piece, Unit
from farm.schedule import Schedule, SchedulePolicy
from farm.slots import EngineConfig
from farm.stop import Stop, stop_of
from farm.stop_flags import stop_config, stop_options

from ..seeded import save_srvgg
from .asleep import sleep_for
from .here_engine import HereEngine
from .items import DONE, PARAMS, make_film, make_part
from .test_shards import SHARD_ROWS, World, assert_nothing_to_do, fill

WALL = datetime(2026, 11, 26, 22, 30, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@pytest.fixture(params=["parquet", "csv"])
def world(request: pytest.FixtureRequest, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(engine, "Engine", HereEngine)
    monkeypatch.setattr(plan, "SHARD_ROWS", SHARD_ROWS)
    failpoints.disarm()
    return World(tmp_path, model, request.param)


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its clocks are set back at 2:00 on 2026-11-01, and forward on 2026-03-08."""
    monkeypatch.setenv("TZ", "America/New_York")
    clocks.tzset()
    yield
    monkeypatch.undo()
    clocks.tzset()


# -- the clock -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "until", "hours"),
    [
        ((2026, 11, 25, 22, 30), time(6, 0), 7.5),
        ((2026, 11, 25, 5, 30), time(6, 0), 0.5),
        ((2026, 11, 25, 6, 0), time(6, 0), 24),
        ((2026, 10, 31, 22, 0), time(6, 0), 9),
        ((2026, 3, 7, 22, 0), time(6, 0), 7),
        ((2026, 11, 25, 22, 0), datetime(2026, 11, 27, 6, 0), 32),
    ],
)
def test_until_is_the_next_such_time_by_real_hours(
    new_york: None, now: tuple[int, ...], until: time | datetime, hours: float
) -> None:
    wall = datetime(*now).astimezone()
    stop = stop_of(StopConfig(until=until), wall, 1000.0)
    assert stop.ends_s == pytest.approx(1000 + hours * 3600)
    assert stop.name == "--until"


def test_the_earlier_of_two_ends_counts_and_none_is_no_end() -> None:
    until = WALL + timedelta(hours=1)
    assert stop_of(StopConfig(until=until, max_time_s=60), WALL, 5.0).ends_s == 65
    assert stop_of(StopConfig(until=until, max_time_s=7200), WALL, 5.0).ends_s == 3605
    assert stop_of(StopConfig(), WALL, 5.0) == Stop()
    assert not Stop().is_over(1e18)
    with pytest.raises(UsageError, match="is past"):
        stop_of(StopConfig(until=WALL - timedelta(seconds=1)), WALL, 5.0)


def test_when_failures_are_too_many() -> None:
    assert [Stop(most_failed=2).too_many(failed, 10) for failed in (2, 3)] == [False, True]
    assert [Stop(most_failed_percent=25).too_many(failed, 10) for failed in (2, 3)] == [False, True]
    assert Stop(most_failed=0).too_many(1, 10)
    assert not Stop().too_many(10, 10)


@click.command()
@stop_options
def say(**flags: object) -> None:
    click.echo(repr(stop_config(flags)))


@pytest.mark.parametrize(
    ("args", "config"),
    [
        ("--until 6:00", StopConfig(until=time(6, 0))),
        ("--until 23:59:30", StopConfig(until=time(23, 59, 30))),
        ("--until 2026-11-27T06:00", StopConfig(until=datetime(2026, 11, 27, 6, 0))),
        ("--max-time 6h", StopConfig(max_time_s=21600.0)),
        ("--max-time 1h30m", StopConfig(max_time_s=5400.0)),
        ("--max-time 90m", StopConfig(max_time_s=5400.0)),
        ("--max-time 3600", StopConfig(max_time_s=3600.0)),
        ("--max-failures 12 --first oldest", StopConfig(max_failures=12, first="oldest")),
        ("--max-failures 2.5%", StopConfig(max_failures_percent=2.5)),
        ("--retry-failed", StopConfig(retry_failed=True)),
    ],
)
def test_flags_say_what_they_say(args: str, config: StopConfig) -> None:
    assert CliRunner().invoke(say, args.split()).output.strip() == repr(config)


@pytest.mark.parametrize(
    "args",
    ["--until 25:00", "--until soon", "--max-time 6x", "--max-time -1", "--max-failures few", "--first last"],
)
def test_flags_that_mean_nothing_are_refused(args: str) -> None:
    said = CliRunner().invoke(say, args.split())
    assert said.exit_code == 2
    assert args.split()[0] in said.output


@pytest.mark.parametrize("args", ["--max-failures -1", "--max-failures 101%", "--max-time 0"])
def test_flags_out_of_range_are_refused(args: str) -> None:
    assert isinstance(CliRunner().invoke(say, args.split()).exception, UsageError)


# -- what still ends in time -----------------------------------------------------------------------------------


def closing_schedule(parts: list[Part], workers: int = 1, target_px: int = 0) -> Schedule:
    """Each part has 100 pixels, and 1.5 s are expected of it."""
    pace = Pace(floors_px_s={"animevideov3": 1000.0}, unit_s=1.0, cap_px=100)
    seen = Unit(unit_id=0, parts=(make_part(9999),))
    pace.observe(seen.parts[0], target_px, 1.0)
    schedule = Schedule(SchedulePolicy(), pace)
    schedule.took(seen, (replace(DONE, part_id=seen.parts[0].part_id),), 1.0)
    for index in range(workers):
        schedule.add_worker(f"w{index}")
    schedule.add(parts)
    return schedule


def test_what_would_not_end_in_time_is_left_and_what_would_is_begun() -> None:
    small, large = make_part(1), make_part(2, cost_px=1000)
    schedule = closing_schedule([large, small])
    unit = schedule.next_unit("w0", 2.0, 2.0)
    assert unit is not None
    assert unit.parts == (small,)
    assert schedule.is_closing
    assert not schedule.wants_more
    schedule.finish("w0", unit.unit_id, [replace(DONE, part_id=small.part_id)])
    assert schedule.empty, "nothing waits for a next time that does not come"


def test_with_time_enough_nothing_is_left() -> None:
    schedule = closing_schedule([make_part(1, cost_px=1000)])
    assert schedule.next_unit("w0", 15.1, 15.1) is not None
    assert not schedule.is_closing
    assert schedule.wants_more


def test_what_fits_another_worker_waits_for_it() -> None:
    schedule = closing_schedule([make_part(1, cost_px=1000)], workers=2)
    assert schedule.next_unit("w0", 2.0, 20.0) is None
    assert not schedule.is_closing
    assert schedule.next_unit("w1", 20.0, 20.0) is not None


def test_a_unit_is_filled_no_further_than_its_time() -> None:
    schedule = closing_schedule([make_part(index) for index in range(40)], target_px=2000)
    unit = schedule.next_unit("w0", 4.6, 4.6)
    assert unit is not None
    assert len(unit.parts) == 3
    assert schedule.backlog_s("w0") == pytest.approx(4.5)


def test_a_lone_part_after_a_death_is_left_too() -> None:
    schedule = closing_schedule([make_part(1), make_part(2)])
    unit = schedule.next_unit("w0")
    assert unit is not None
    schedule.death("w0", engine.DeathCause.CRASH, "gone")
    assert schedule.next_unit("w0", 1.0, 1.0) is None
    assert schedule.empty


def test_how_long_a_part_lasts_is_known_by_its_like() -> None:
    rates: dict[str, float] = {}
    expected = Expected(rates.get)
    part, film = make_part(1), make_film(1)
    assert expected.part_s(part) == 4.0, "nothing is known"
    expected.took(Unit(unit_id=1, parts=(film,)), (replace(DONE, part_id=film.part_id),), 30.0)
    assert expected.part_s(part) == 30.0, "the longest that there was"
    assert expected.part_s(film) == pytest.approx(45.0)
    rates[model_key(part)] = 50.0
    assert expected.part_s(part) == pytest.approx(3.0), "its network is known"
    expected.took(Unit(unit_id=2, parts=(part,)), (replace(DONE, part_id=part.part_id),), 10.0)
    assert expected.part_s(part) == pytest.approx(15.0), "and all that is done beside it"
    piece = Piece(index=0, url="/p", sha256="0", bytes=10**9, extent=(0, 1), stats=DONE.stats)
    join = Part(item=part.item, kind=PartKind.JOIN, cost_px=100, pieces=(piece,))
    assert expected.part_s(join) > 60, "a join grows with its bytes"
    huge = make_part(1, cost_px=10**9)
    assert expected.part_s(huge) == pytest.approx(15.0 * PARAMS.band_px / 100), "it would be cut into bands"


# -- whole runs, but for Ray -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["csv"], indirect=True)
def test_a_run_whose_time_is_over_leaves_the_rest_and_the_next_one_finishes(world: World) -> None:
    fill(world, 12)
    make, given_s = world.work, 6.0  # to read the manifest in on a busy machine, too

    def slowly(part: Part) -> object:
        clocks.sleep(given_s if len(world.worked) == 4 else 0)
        return make(part)

    world.work = slowly
    first = world.run(stop=StopConfig(max_time_s=given_s))
    assert (first.done, first.left, first.exit_code, first.stopped) == (5, 7, 75, "--max-time")
    world.work = make
    second = world.run()
    assert (second.reused, second.done, second.exit_code, second.stopped) == (5, 7, 0, "")
    assert_nothing_to_do(world, stop=StopConfig(max_time_s=3600))


@pytest.mark.parametrize("world", ["csv"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "may"),
    [({}, True), ({"first": "priority"}, True), ({"first": "oldest"}, False), ({"max_time_s": 3600.0}, False)],
)
def test_the_last_rows_go_out_by_size_only_where_all_are_done_and_no_order_was_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], may: bool
) -> None:
    """What is left when the time is over are the last ones of the manifest."""
    policies: list[SchedulePolicy] = []

    class Watched(HereEngine):
        def __init__(self, config: EngineConfig, slots: list[Any], schedule: Schedule) -> None:
            policies.append(schedule.policy)
            super().__init__(config, slots, schedule)

    monkeypatch.setattr(engine, "Engine", Watched)
    fill(world, 2)
    assert world.run(stop=StopConfig(**asked)).done == 2
    assert [policy.largest_first for policy in policies] == [may]


@pytest.mark.parametrize("world", ["csv"], indirect=True)
def test_a_machine_that_sleeps_makes_the_night_no_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For three hours, in which its monotonic clock stands still."""
    fill(world, 12)
    make = world.work

    def doze(part: Part) -> object:
        if len(world.worked) == 4:
            sleep_for(3 * 3600, monkeypatch)
        return make(part)

    world.work = doze
    ended = world.run(stop=StopConfig(max_time_s=2 * 3600))
    assert (ended.done, ended.left, ended.exit_code, ended.stopped) == (5, 7, 75, "--max-time")


def test_time_that_is_over_before_the_manifest_is_read_is_said(world: World) -> None:
    fill(world, 12)
    with pytest.raises(OutOfTimeError, match="--max-time: the time was over while the manifest was read") as caught:
        world.run(stop=StopConfig(max_time_s=1e-6))
    assert caught.value.exit_code == 75
    assert world.worked == []


@pytest.mark.parametrize("limit", [{"max_failures": 2}, {"max_failures_percent": 20.0}])
def test_too_many_failures_stop_a_run(world: World, limit: dict[str, float]) -> None:
    fill(world, 12)
    for at in (1, 2, 4):
        world.write_source(world.rows[at], "bad for good")
    stopped = world.run(stop=StopConfig(**limit))
    assert (stopped.exit_code, stopped.failed, stopped.stopped) == (4, 3, "--max-failures")
    assert stopped.left > 0
    assert len(world.worked) < 12
    again = world.run(stop=StopConfig(**limit))
    assert (again.exit_code, again.failed, again.left) == (3, 3, 0), "only what fails in a run counts in it"


def test_as_many_failures_as_are_allowed_stop_nothing(world: World) -> None:
    fill(world, 6)
    world.write_source(world.rows[1], "bad for good")
    summary = world.run(stop=StopConfig(max_failures=1))
    assert (summary.exit_code, summary.failed, summary.done, summary.stopped) == (3, 1, 5, "")


def test_rows_that_are_refused_count_as_failures(world: World) -> None:
    fill(world, 12)
    for at in range(4, 8):
        (world.folder / world.rows[at]).unlink()
    summary = world.run(stop=StopConfig(max_failures=2))
    assert (summary.exit_code, summary.failed) == (4, 3)
    assert summary.rows == summary.done + summary.failed + summary.left == 12
    assert world.run().exit_code == 3


def test_what_failed_for_good_is_tried_again_where_that_is_asked_for(world: World) -> None:
    fill(world, 10)
    bad = ["in/001.png", "in/006.png"]
    before = {name: (world.folder / name).stat().st_mtime_ns for name in bad}
    for name in bad:
        (world.folder / name).write_text("bad for good")
        os.utime(world.folder / name, ns=(before[name], before[name]))
    assert world.run().failed == 2
    assert_nothing_to_do(world)
    again = StopConfig(retry_failed=True)
    assert (world.run(stop=again).failed, sorted(world.worked)) == (2, ["001.png", "006.png"])
    for name in bad:  # whatever was wrong with the machine is over
        (world.folder / name).write_text("good enough.")
        os.utime(world.folder / name, ns=(before[name], before[name]))
    assert_nothing_to_do(world)
    assert (world.run(stop=again).done, sorted(world.worked)) == (2, ["001.png", "006.png"])
    assert assert_nothing_to_do(world, stop=again).exit_code == 0


def test_the_oldest_sources_of_a_shard_come_first(world: World) -> None:
    fill(world, 8)
    for at, age in enumerate((1, 3, 2, 4, 8, 5, 7, 6)):
        os.utime(world.folder / world.rows[at], (10**9 - age, 10**9 - age))
    world.with_digests = True
    world.run(stop=StopConfig(first="oldest"))
    assert [int(name[:3]) for name in world.worked] == [3, 1, 2, 0, 4, 6, 7, 5]
    assert [row["row"] for row in world.results()] == list(range(8)), "rows keep their numbers"
    assert_nothing_to_do(world)


def test_shards_with_the_best_row_come_first_where_a_manifest_can_be_read_so(world: World) -> None:
    fill(world, 14)
    world.priorities = [0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 5, 0, 1, 0]
    world.run(stop=StopConfig(first="priority"))
    order = [int(name[:3]) for name in world.worked]
    if world.form == "parquet":
        assert order == [5, 4, 6, 7, 10, 8, 9, 11, 1, 0, 2, 3, 12, 13]
    else:
        assert order == [1, 0, 2, 3, 5, 4, 6, 7, 10, 8, 9, 11, 12, 13]
    assert_nothing_to_do(world)
    world.rows.reverse()
    world.priorities.reverse()
    assert world.run(stop=StopConfig(first="priority")).reused == 14
    assert_nothing_to_do(world)
