from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import ErrorKind
from farm.face import FaceParams
from farm.film import Span
from farm.pace import Pace
from farm.records import Done, Failed, Outcome, Part, PartKind, Unit
from farm.schedule import DeathCause, Finished, Mishaps, Schedule, SchedulePolicy, model_key

from .items import DONE, FILM, PARAMS, make_film, make_part


def done(part: Part) -> Done:
    return replace(DONE, part_id=part.part_id, url=part.item.output_url)


def failed(part: Part, kind: ErrorKind) -> Failed:
    return Failed(part_id=part.part_id, kind=kind, message="m", node="n", worker="w")


def new_schedule(parts: list[Part], workers: int = 1, target_px: int = 0) -> Schedule:
    pace = Pace(floors_px_s={"animevideov3": 1000.0, "general-x4v3": 1000.0}, unit_s=1.0, cap_px=100_000)
    for part in parts:
        pace.observe(part, target_px, 1.0)
    schedule = Schedule(SchedulePolicy(), pace)
    for index in range(workers):
        schedule.add_worker(f"w{index}")
    schedule.add(parts)
    return schedule


def next_unit(schedule: Schedule, worker: str) -> Unit:
    unit = schedule.next_unit(worker)
    assert unit is not None
    return unit


def test_a_worker_holds_two_units_and_no_more() -> None:
    schedule = new_schedule([make_part(index) for index in range(5)])
    assert next_unit(schedule, "w0").unit_id != next_unit(schedule, "w0").unit_id
    assert schedule.next_unit("w0") is None


def test_few_parts_are_shared_even_with_workers_that_still_start() -> None:
    schedule = new_schedule([make_part(index) for index in range(2)])
    schedule.expected_workers = 2
    next_unit(schedule, "w0")
    assert schedule.next_unit("w0") is None
    schedule.add_worker("w1")
    next_unit(schedule, "w1")


def test_units_fill_up_to_the_target_and_shrink_near_the_end() -> None:
    schedule = new_schedule([make_part(index) for index in range(40)], workers=2, target_px=1000)
    sizes = []
    while (unit := schedule.next_unit("w0")) is not None:
        sizes.append(len(unit.parts))
        schedule.finish("w0", unit.unit_id, [done(part) for part in unit.parts])
    assert sum(sizes) == 40
    assert sizes[0] == 10
    assert sizes[-1] == 1


def test_while_more_follow_units_are_no_crumbs_and_only_workers_with_room_are_asked_for() -> None:
    """A thousand workers that are given single rows ask faster than they can be answered."""
    schedule = new_schedule([make_part(index) for index in range(40)], workers=40, target_px=1000)
    assert [len(next_unit(schedule, f"w{index}").parts) for index in range(2)] == [1, 1]
    schedule.more_follow = True
    assert len(next_unit(schedule, "w2").parts) == 2, "a quarter of the target"
    assert schedule.with_room() == [f"w{index}" for index in range(40)], "of two units each has one at most"
    while schedule.queued:
        for worker in schedule.with_room():
            schedule.next_unit(worker)
    assert schedule.with_room() == [], "where nothing waits nobody is asked for"
    schedule.add([make_part(index) for index in range(100, 200)])
    assert next_unit(schedule, "w0").parts
    assert "w0" not in schedule.with_room()
    schedule.finish("w0", schedule.running("w0")[0].unit_id, [])
    assert schedule.with_room()[-1] == "w0"
    schedule.death("w1", DeathCause.CRASH, "gone")
    schedule.remove_worker("w1")
    assert "w1" not in schedule.with_room()


def test_many_workers_look_further_ahead() -> None:
    """Otherwise rows that wait would seem to be the last ones."""
    schedule = new_schedule([], workers=1000)
    schedule.add(make_part(index) for index in range(3000))
    assert schedule.wants_more
    assert not new_schedule([make_part(index) for index in range(3000)]).wants_more


def test_parts_of_different_models_never_share_a_unit() -> None:
    other = replace(PARAMS, model="general-x4v3", model_sha256="1" * 64)
    parts = [make_part(index, PARAMS if index % 2 else other) for index in range(20)]
    schedule = new_schedule(parts, target_px=10_000)
    while (unit := schedule.next_unit("w0")) is not None:
        assert len({part.item.params.model for part in unit.parts}) == 1
        schedule.finish("w0", unit.unit_id, [done(part) for part in unit.parts])
    assert schedule.empty


def test_models_that_alternate_are_loaded_once_a_worker_at_most() -> None:
    other = replace(PARAMS, model="general-x4v3", model_sha256="1" * 64)
    schedule = new_schedule([make_part(index, PARAMS if index % 2 else other) for index in range(40)], workers=2)
    held: dict[str, list[str]] = {"w0": [], "w1": []}
    running: list[tuple[str, Unit]] = []
    while not schedule.empty:
        for worker, models in held.items():
            while (unit := schedule.next_unit(worker)) is not None:
                models.append(model_key(unit.parts[0]))
                running.append((worker, unit))
        worker, unit = running.pop(0)
        schedule.finish(worker, unit.unit_id, [done(part) for part in unit.parts])
    switches = [sum(a != b for a, b in zip(["", *models], models, strict=False)) for models in held.values()]
    assert sum(switches) <= 3, "each takes one model; the one that is first done helps the other"
    assert held["w0"][0] != held["w1"][0]


def test_a_worker_goes_back_to_a_model_that_it_holds_before_it_loads_another() -> None:
    second, third = (replace(PARAMS, model="general-x4v3", model_sha256=digit * 64) for digit in "23")
    schedule = new_schedule([make_part(0), make_part(1, second)], target_px=1)
    for _ in range(2):
        unit = next_unit(schedule, "w0")
        schedule.finish("w0", unit.unit_id, [done(part) for part in unit.parts])
    schedule.add([*(make_part(index, third) for index in range(2, 6)), make_part(6)])
    assert [part.item.params.model_sha256 for part in next_unit(schedule, "w0").parts] == [PARAMS.model_sha256]


def test_after_a_death_parts_run_alone_and_only_then_collect_strikes() -> None:
    schedule = new_schedule([make_part(index) for index in range(4)], target_px=150)
    first = next_unit(schedule, "w0")
    second = next_unit(schedule, "w0")
    assert schedule.death("w0", DeathCause.CRASH, "boom") == []
    alone = next_unit(schedule, "w0")
    assert alone.alone
    assert alone.parts == first.parts
    assert schedule.next_unit("w0") is None, "whoever runs alone is alone"
    schedule.finish("w0", alone.unit_id, [done(alone.parts[0])])
    assert next_unit(schedule, "w0").parts == second.parts


def test_three_strikes_set_a_part_aside_and_it_gets_one_last_run() -> None:
    schedule = new_schedule([make_part(0), make_part(1)])
    poison = next_unit(schedule, "w0").parts[0]
    runs, ended = 1, []
    ended += schedule.death("w0", DeathCause.CRASH, "boom")
    while not schedule.empty:
        unit = next_unit(schedule, "w0")
        if poison in unit.parts:
            runs += 1
            ended += schedule.death("w0", DeathCause.CRASH, "boom")
        else:
            ended += schedule.finish("w0", unit.unit_id, [done(part) for part in unit.parts])
    assert runs == 5  # with others, three strikes alone, the last run
    by_part = {finished.part.part_id: finished.outcome for finished in ended}
    verdict = by_part[poison.part_id]
    assert isinstance(verdict, Failed)
    assert verdict.kind is ErrorKind.WORKER_DIED
    assert ended[-1].part == poison, "the last run comes when everything else has ended"
    assert sum(isinstance(outcome, Done) for outcome in by_part.values()) == 1


def test_a_death_by_memory_is_one_retry_at_batch_one_then_out_of_memory() -> None:
    schedule = new_schedule([make_part(0)])
    next_unit(schedule, "w0")
    assert schedule.death("w0", DeathCause.MEMORY, "killed") == []
    retry = next_unit(schedule, "w0")
    assert retry.alone
    assert retry.batch_limit == 1
    (finished,) = schedule.death("w0", DeathCause.MEMORY, "killed")
    assert isinstance(finished.outcome, Failed)
    assert finished.outcome.kind is ErrorKind.OUT_OF_MEMORY
    assert schedule.empty
    assert schedule.mishaps == Mishaps(retries=1, deaths=Counter({DeathCause.MEMORY: 2}))


def test_what_goes_wrong_is_counted_whatever_becomes_of_it() -> None:
    parts = [make_part(index) for index in range(3)]
    schedule = new_schedule(parts)
    schedule.add_worker("w1")
    first, second = next_unit(schedule, "w0"), next_unit(schedule, "w1")
    assert (schedule.queued, schedule.in_flight, schedule.workers) == (1, 2, 2)
    schedule.finish("w0", first.unit_id, [failed(first.parts[0], ErrorKind.STORAGE_ERROR)])
    schedule.finish("w1", second.unit_id, [failed(second.parts[0], ErrorKind.OUT_OF_MEMORY)])
    assert schedule.queued == 2
    for _ in range(2):
        unit = next_unit(schedule, "w0")
        schedule.finish("w0", unit.unit_id, [done(unit.parts[0])])
    assert schedule.empty
    assert schedule.mishaps == Mishaps(retries=1, out_of_memory=1)


def test_a_lost_node_is_nobodys_fault() -> None:
    schedule = new_schedule([make_part(0)])
    for _ in range(10):
        unit = next_unit(schedule, "w0")
        assert not unit.alone
        assert schedule.death("w0", DeathCause.NODE, "gone") == []
    assert not schedule.empty


def test_retryable_failures_are_tried_three_times_others_once() -> None:
    schedule = new_schedule([make_part(0), make_part(1)])
    attempts: dict[str, int] = {}
    ended: list[Finished] = []
    while not schedule.empty:
        unit = next_unit(schedule, "w0")
        kinds = (ErrorKind.STORAGE_ERROR, ErrorKind.TRUNCATED)
        outcomes = [failed(part, kinds[part.item.row.index]) for part in unit.parts]
        for part in unit.parts:
            attempts[part.item.item_id] = attempts.get(part.item.item_id, 0) + 1
        ended += schedule.finish("w0", unit.unit_id, outcomes)
    assert attempts == {"item0000": 3, "item0001": 1}
    assert sorted(finished.attempts for finished in ended) == [1, 3]


def test_dropped_items_do_not_start() -> None:
    parts = [replace(make_part(0), kind=PartKind.BAND, index=index) for index in range(5)]
    schedule = new_schedule([*parts, make_part(1)])
    first = next_unit(schedule, "w0")
    schedule.drop_item("item0000")
    assert next_unit(schedule, "w0").parts[0].item.item_id == "item0001"
    schedule.finish("w0", first.unit_id, [done(first.parts[0])])
    assert schedule.next_unit("w0") is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), workers=st.integers(1, 4), target_px=st.integers(0, 900))
def test_every_part_ends_exactly_once_whatever_dies(seed: int, count: int, workers: int, target_px: int) -> None:
    random_ = random.Random(seed)
    poison = {f"item{index:04d}" for index in range(count) if random_.random() < 0.1}
    schedule = new_schedule([make_part(index) for index in range(count)], workers, target_px)
    ended: list[str] = []
    bad: set[str] = set()

    def note(finished: list[Finished]) -> None:
        for one in finished:
            ended.append(one.part.item.item_id)
            if isinstance(one.outcome, Failed):
                bad.add(one.part.item.item_id)

    for _ in range(5000):
        if schedule.empty:
            break
        worker = f"w{random_.randrange(workers)}"
        while schedule.next_unit(worker) is not None:
            pass
        units = schedule.running(worker)
        if not units:
            continue
        unit = units[0]
        if any(part.item.item_id in poison for one in units for part in one.parts):
            note(schedule.death(worker, DeathCause.CRASH, "poison"))
        elif random_.random() < 0.05:
            note(schedule.death(worker, DeathCause.NODE, "node"))
        else:
            outcomes: list[Outcome] = [done(part) for part in unit.parts]
            note(schedule.finish(worker, unit.unit_id, outcomes))
    assert sorted(ended) == [f"item{index:04d}" for index in range(count)]
    assert bad == poison, "exactly the culprits are quarantined"


def test_the_pace_sizes_units_and_sets_deadlines_model_by_model() -> None:
    slow = make_part(1, replace(PARAMS, model="x4plus", model_sha256="2" * 64))
    pace = Pace(floors_px_s={"animevideov3": 1000.0, "x4plus": 10.0}, cap_px=100_000)
    unit = Unit(unit_id=1, parts=(make_part(0),))
    assert pace.target_px(model_key(make_part(0))) == 0
    assert pace.deadline_s(unit) == pytest.approx(180 + 100)
    for _ in range(50):
        pace.observe(make_part(0), 200_000, 1.0)
    assert pace.target_px(model_key(make_part(0))) == pytest.approx(800_000)
    assert pace.deadline_s(unit) == pytest.approx(180 + 10)
    assert pace.deadline_s(Unit(unit_id=2, parts=(slow,))) == pytest.approx(180 + 10_000)


def test_no_deadline_is_later_than_the_latest() -> None:
    pace = Pace(floors_px_s={"animevideov3": 1000.0}, cap_px=100_000, most_s=181.0)
    assert pace.deadline_s(Unit(unit_id=1, parts=(make_part(0),))) == 181.0
    assert pace.deadline_s(Unit(unit_id=2, parts=(replace(make_part(0), kind=PartKind.JOIN),))) == 181.0


def test_a_part_with_faces_may_take_the_time_of_a_crowd() -> None:
    face = FaceParams(
        model="gfpgan-1.3",
        model_sha256="a",
        detector="resnet50",
        detector_sha256="b",
        parser_sha256="c",
        strength=1.0,
        only_center=False,
    )
    pace = Pace(floors_px_s={"animevideov3": 1000.0}, cap_px=100_000)
    plain, faces = make_part(0), make_part(0, replace(PARAMS, face=face))
    more_s = pace.deadline_s(Unit(unit_id=1, parts=(faces,))) - pace.deadline_s(Unit(unit_id=1, parts=(plain,)))
    assert more_s == pytest.approx(3000 + plain.cost_px / 3e4)


def test_the_pace_counts_every_pass() -> None:
    """A picture of sixteen times costs seventeen of four times, and the pace of one says that of the other."""
    large = make_part(1, replace(PARAMS, outscale=16.0, passes=2))
    pace = Pace(floors_px_s={"animevideov3": 1000.0}, cap_px=100_000)
    assert pace.deadline_s(Unit(unit_id=1, parts=(large,))) == pytest.approx(180 + 17 * 100)
    for _ in range(50):
        pace.observe(large, 1000, 1.0)
    assert pace.target_px(model_key(large)) == pytest.approx(4 * 17_000)


def test_a_segment_has_time_for_its_encoder_and_for_what_comes_before_it() -> None:
    pace = Pace(floors_px_s={"animevideov3": 1e9}, cap_px=1)
    item = make_film(0).item
    size = replace(FILM.source, width=1920, height=1080)
    film = replace(FILM, source=size, target=replace(FILM.target, width=7680, height=4320), frames=100_000)
    span = Span(frames=(1000, 1048), pts=tuple(range(1000, 1048)), out_pts=tuple(range(1000, 1048)), seek_pts=990)
    near = Part(item=item, kind=PartKind.SEGMENT, film=film, span=span, cost_px=1)
    far = replace(near, span=replace(span, seek_pts=None))
    deadline_s = pace.deadline_s(Unit(unit_id=1, parts=(near,)))
    assert deadline_s > 180 + 48 * 7680 * 4320 / 3e5, "x265 at its slowest, one thread"
    assert pace.deadline_s(Unit(unit_id=1, parts=(far,))) - deadline_s == pytest.approx(990 * 1920 * 1080 / 5e6)


def test_reading_a_film_and_joining_it_may_take_as_long_as_its_bytes() -> None:
    pace = Pace(floors_px_s={"animevideov3": 1e9}, cap_px=1)
    film = make_film(0)
    large = replace(film, item=replace(film.item, row=replace(film.item.row, bytes=10**10)))
    assert pace.deadline_s(Unit(unit_id=1, parts=(film,))) == pytest.approx(1800, abs=1)
    assert pace.deadline_s(Unit(unit_id=1, parts=(large,))) == pytest.approx(11_800)
