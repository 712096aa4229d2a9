"""Near a run's end the largest pieces of work go out first: no worker is left with one while others are idle."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import ErrorKind
from farm.pace import Pace
from farm.records import Failed, Part, PartKind, Unit
from farm.schedule import DeathCause, Schedule, SchedulePolicy

from .items import DONE, PARAMS, make_film, make_part


def new_schedule(workers: int, policy: SchedulePolicy | None = None) -> Schedule:
    """Each unit is of one part: nothing is known of any pace."""
    pace = Pace(floors_px_s={"animevideov3": 1000.0}, unit_s=1.0, cap_px=100_000)
    schedule = Schedule(policy or SchedulePolicy(), pace)
    for index in range(workers):
        schedule.add_worker(f"w{index}")
    return schedule


def filled(costs: Sequence[int], workers: int, policy: SchedulePolicy | None = None) -> Schedule:
    schedule = new_schedule(workers, policy)
    schedule.add(make_part(index, cost_px=cost) for index, cost in enumerate(costs))
    return schedule


def taken(schedule: Schedule) -> list[Part]:
    """In the order in which they go out, to whoever is free."""
    order: list[Part] = []
    while schedule.queued:
        for worker in schedule.with_room():
            if (unit := schedule.next_unit(worker)) is not None:
                order.extend(unit.parts)
                schedule.finish(worker, unit.unit_id, [replace(DONE, part_id=part.part_id) for part in unit.parts])
    return order


def numbers(schedule: Schedule) -> list[int]:
    return [part.item.row.index for part in taken(schedule)]


def lasts(schedule: Schedule) -> int:
    """Until all is done, by workers that do a pixel a second, one unit after the other."""
    now, at_work, free = 0, list[tuple[int, str, Unit]](), dict.fromkeys(schedule.names, 0)
    while True:
        for worker in schedule.with_room():
            while (unit := schedule.next_unit(worker)) is not None:
                free[worker] = max(now, free[worker]) + unit.cost_px
                heapq.heappush(at_work, (free[worker], worker, unit))
        if not at_work:
            return now
        now, worker, unit = heapq.heappop(at_work)
        schedule.finish(worker, unit.unit_id, [replace(DONE, part_id=part.part_id) for part in unit.parts])


def at_least(costs: Sequence[int], workers: int) -> float:
    """No order lasts less: an even share; and of n times as many parts as workers, and one more, n + 1 on one."""
    large = sorted(costs, reverse=True)
    together = [sum(sorted(large[: many * workers + 1])[: many + 1]) for many in range((len(costs) - 1) // workers + 1)]
    return max(sum(costs) / workers, *together)


def longest_first(costs: Sequence[int], workers: int) -> int:
    """What it lasts where each next largest goes to whoever is free first."""
    ends = [0] * workers
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)


@settings(max_examples=300, deadline=None)
@given(costs=st.lists(st.integers(1, 100) | st.integers(100, 2000), min_size=1, max_size=60), workers=st.integers(2, 5))
def test_a_run_lasts_hardly_longer_than_it_must(costs: list[int], workers: int) -> None:
    """Graham's bound for the longest first, though a worker holds two units at once, of what no order can be shorter
    than; or what the longest first gives, which may be the shortest."""
    bound = max((4 / 3 - 1 / (3 * workers)) * at_least(costs, workers), longest_first(costs, workers))
    assert lasts(filled(costs, workers)) <= bound + 1e-6


def test_the_largest_picture_of_all_may_be_the_last_of_the_manifest() -> None:
    costs = [100] * 20 + [1000]
    assert lasts(filled(costs, 2)) == 1500, "an even share"
    as_it_stands = SchedulePolicy(largest_first=False)
    assert lasts(filled(costs, 2, as_it_stands)) == 2000, "one worker did the last one alone"


def test_large_parts_are_not_queued_behind_others_while_somebody_is_free() -> None:
    assert lasts(filled([1000, 900, 100, 100], 2)) == 1100


def test_a_film_is_not_opened_behind_a_large_picture_while_somebody_is_free() -> None:
    """Its segments come when it has been read: 900 pixels here."""
    schedule = filled([1000], 2)
    schedule.add([replace(make_film(1), cost_px=900), *(make_part(index, cost_px=100) for index in range(2, 6))])
    units = {worker: schedule.next_unit(worker) for worker in ("w0", "w1")}
    assert [unit.parts[0].kind for unit in units.values() if unit] == [PartKind.PICTURE, PartKind.FILM]
    assert schedule.next_unit("w0") is None


def test_equal_pictures_are_made_ready_beside_others_as_ever() -> None:
    """A second unit for whoever works hides decoding and encoding: as many get one as when nothing is sorted."""

    def seconds(policy: SchedulePolicy) -> int:
        schedule, given = filled([100] * 160, 4, policy), 0
        while schedule.queued:
            for worker in schedule.with_room():
                while schedule.next_unit(worker) is not None:
                    given += len(schedule.running(worker)) > 1
            for worker in schedule.names:
                unit = schedule.running(worker)[0]
                schedule.finish(worker, unit.unit_id, [replace(DONE, part_id=part.part_id) for part in unit.parts])
        return given

    assert seconds(SchedulePolicy()) >= seconds(SchedulePolicy(largest_first=False)) - 4 > 100


def test_who_is_busy_loads_no_other_model_at_the_end() -> None:
    """Whoever is free will; and a thousand that are busy do not look through each other's models at every turn."""
    schedule = filled([100, 100], 2)
    other = replace(PARAMS, model_sha256="f" * 64)
    parts = [make_part(index, cost_px=100) for index in range(2, 8)]
    schedule.add(replace(part, item=replace(part.item, params=other)) for part in parts)
    units = [schedule.next_unit(worker) for worker in ("w0", "w1", "w1")]
    assert [unit and unit.parts[0].item.row.index for unit in units] == [2, 0, 1]
    for unit, loads in zip(units[1:], (False, True), strict=True):
        assert unit is not None
        schedule.finish("w1", unit.unit_id, [replace(DONE, part_id=unit.parts[0].part_id)])
        assert (schedule.next_unit("w1") is not None) == loads


def test_bands_are_given_where_a_picture_is_not() -> None:
    schedule = filled([1000, 900], 2)
    assert schedule.next_unit("w0") is not None
    band = replace(make_part(8), kind=PartKind.BAND, cost_px=300)
    schedule.add([replace(band, index=index) for index in range(2)], first=True)
    unit = schedule.next_unit("w0")
    assert unit is not None
    assert unit.parts[0].kind is PartKind.BAND


def test_a_worker_that_dies_leaves_nothing_that_counts() -> None:
    schedule = filled([1000] * 8, 2)
    assert schedule.next_unit("w0") is not None
    schedule.death("w0", DeathCause.NODE, "gone")
    schedule.remove_worker("w0")
    assert lasts(schedule) == 8000


def test_all_goes_out_as_it_stands_while_much_is_left() -> None:
    """What is learned of sizes that nobody knew holds for what is left."""
    costs = [100 + index % 7 for index in range(100)]
    order = numbers(filled(costs, 2))
    assert order[:80] == list(range(80))
    assert [costs[index] for index in order[-8:]] == sorted(costs[-8:], reverse=True)


def test_equal_work_goes_out_as_it_stands() -> None:
    assert numbers(filled([100, 300, 100, 300, 100], 2)) == [1, 3, 0, 2, 4]


def test_a_higher_priority_comes_first_whatever_its_size() -> None:
    schedule = new_schedule(2)
    parts = [make_part(index, cost_px=cost) for index, cost in enumerate((100, 300, 200))]
    first = replace(parts[0].item, row=replace(parts[0].item.row, priority=1))
    schedule.add([replace(parts[0], item=first), *parts[1:]])
    assert numbers(schedule) == [0, 1, 2]


@pytest.mark.parametrize("reason", ["more follow", "one worker", "the order was asked for"])
def test_else_all_goes_out_as_it_stands(reason: str) -> None:
    policy = SchedulePolicy(largest_first=reason != "the order was asked for")
    schedule = filled([100, 300, 200], 1 if reason == "one worker" else 2, policy)
    schedule.more_follow = reason == "more follow"
    assert numbers(schedule) == [0, 1, 2]


def test_what_waits_when_no_more_follow_is_sorted_then() -> None:
    schedule = filled([100, 300, 200], 2)
    schedule.more_follow = True
    unit = schedule.next_unit("w0")
    assert unit is not None
    assert unit.parts[0].cost_px == 100
    schedule.add([make_part(3, cost_px=400)])
    schedule.more_follow = False
    assert numbers(schedule) == [3, 1, 2]


def test_joins_bands_and_segments_keep_their_places() -> None:
    """What a picture or a film is cut into comes before all that is not begun, in its order, and a join before that."""
    schedule = filled([5000, 100], 2)
    segments = [replace(make_film(7), kind=PartKind.SEGMENT, index=index, cost_px=50 + index) for index in range(3)]
    bands = [replace(make_part(8), kind=PartKind.BAND, index=index, cost_px=20 - index) for index in range(3)]
    segments = [replace(one, item=replace(one.item, params=PARAMS)) for one in segments]
    schedule.add(segments, first=True)
    schedule.more_follow = True
    unit = schedule.next_unit("w0")
    assert unit is not None
    assert unit.parts == (segments[0],)
    schedule.add([make_part(9, cost_px=9000)])
    schedule.more_follow = False
    schedule.add(bands, first=True)
    schedule.add([replace(make_part(6), kind=PartKind.JOIN, cost_px=0)], first=True)
    order = taken(schedule)
    assert [part.kind for part in order[:1]] == [PartKind.JOIN]
    assert order[1:6] == [*bands, *segments[1:]]
    assert [part.item.row.index for part in order[6:]] == [9, 0, 1]


def test_what_is_tried_again_comes_last_and_nothing_is_sorted_for_it() -> None:
    schedule = filled([100, 300, 200], 2)
    unit = schedule.next_unit("w0")
    assert unit is not None
    (part,) = unit.parts
    failed = Failed(part_id=part.part_id, kind=ErrorKind.STORAGE_ERROR, message="m", node="n", worker="w0", attempt=1)
    assert schedule.finish("w0", unit.unit_id, [failed]) == []
    assert numbers(schedule) == [2, 0, 1]


def test_what_failed_while_more_followed_comes_last_too() -> None:
    schedule = filled([9000, 300, 100], 2)
    schedule.more_follow = True
    unit = schedule.next_unit("w0")
    assert unit is not None
    (part,) = unit.parts
    failed = Failed(part_id=part.part_id, kind=ErrorKind.STORAGE_ERROR, message="m", node="n", worker="w0", attempt=1)
    assert schedule.finish("w0", unit.unit_id, [failed]) == []
    schedule.more_follow = False
    assert numbers(schedule) == [1, 2, 0]


def test_many_are_sorted_once() -> None:
    """A unit is found as fast with many that wait as with few."""
    asked = 0

    class Counted(Part):
        __slots__ = ()

        def __getattribute__(self, name: str) -> object:
            nonlocal asked
            asked += name == "cost_px"
            return super().__getattribute__(name)

    looks: list[float] = []
    for count in (200, 2000):
        asked = 0
        schedule = new_schedule(2)
        schedule.add(
            Counted(item=part.item, kind=part.kind, cost_px=part.cost_px)
            for part in (make_part(index, cost_px=index % 97 + 1) for index in range(count))
        )
        assert len(taken(schedule)) == count
        looks.append(asked / count)
    assert looks[1] <= looks[0] * 1.1
