"""Runs that share a cluster: one at a time asks for places, the highest priority and then the earliest first, and a
dead one keeps nobody."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import UnreachableError
from farm.sharing import Turn
from farm.turn import Entry, Pulse, State, Wait, before, fitting, from_bytes, next_state, to_bytes

WORDS = st.text(max_size=8)
ENTRIES = st.builds(
    Entry,
    run=WORDS,
    priority=st.integers(-9, 9),
    number=st.integers(0, 9),
    state=st.sampled_from(State),
    beat=st.integers(0, 99),
    workers=st.dictionaries(WORDS, st.integers(0, 64), max_size=3),
)


def entry(run: str, priority: int = 0, number: int = 1, state: State = State.WAITING, beat: int = 0) -> Entry:
    return Entry(run=run, priority=priority, number=number, state=state, beat=beat)


# -- whose turn it is ----------------------------------------------------------------------------------------------


@dataclass
class Actor:
    """A run that comes, reads entry by entry, and then writes its own: between any two others do something."""

    entry: Entry
    unread: list[str] = field(default_factory=list[str])
    read: list[Entry] = field(default_factory=list[Entry])
    has_begun: bool = False

    @property
    def run(self) -> str:
        return self.entry.run


def step(board: dict[str, Entry], actor: Actor) -> None:
    """The next thing that a run does."""
    if actor.run not in board:
        board[actor.run] = actor.entry
        return
    if not actor.has_begun:
        actor.has_begun, actor.unread, actor.read = True, [run for run in board if run != actor.run], []
    if actor.unread:
        actor.read.append(board[actor.unread.pop(0)])
        return
    actor.has_begun = False
    mine = board[actor.run]
    board[actor.run] = replace(mine, state=next_state(mine, actor.read))


def at(board: dict[str, Entry], state: State) -> list[str]:
    return [run for run, one in board.items() if one.state is state]


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=5),
    st.integers(0, 10**9),
)
def test_one_run_at_a_time_has_the_turn_whatever_is_read_when_and_each_gets_it(
    drawn: Sequence[tuple[int, int]], seed: int
) -> None:
    """Also among runs that came at once and drew the same number."""
    board: dict[str, Entry] = {}
    actors = [Actor(entry(f"r{at}", priority, number)) for at, (priority, number) in enumerate(drawn)]
    placed: list[str] = []
    chance = random.Random(seed)
    for _ in range(20_000):
        step(board, chance.choice(actors))
        assert len(at(board, State.PLACING)) <= 1
        placing = at(board, State.PLACING)
        if placing and chance.random() < 0.2:  # its workers are there
            (run,) = placing
            board[run] = replace(board[run], state=State.WORKING)
            actors[int(run[1:])].has_begun = False
            placed.append(run)
        if len(placed) == len(actors):
            break
    assert sorted(placed) == [actor.run for actor in actors], "nobody starves"


def test_the_highest_priority_goes_first_and_then_who_came_first() -> None:
    board = {one.run: one for one in (entry("b", 0, 2), entry("c", 5, 3), entry("a", 0, 1), entry("d", -1, 0))}
    placed: list[str] = []
    while len(placed) < len(board):
        for run in board:
            board[run] = replace(
                board[run], state=next_state(board[run], [one for one in board.values() if one.run != run])
            )
            if board[run].state is State.PLACING:
                placed.append(run)
                board[run] = replace(board[run], state=State.WORKING)
    assert placed == ["c", "a", "b", "d"]


def test_who_asks_for_places_gives_way_to_a_higher_priority_and_who_works_does_not() -> None:
    urgent = entry("x", 1, 9)
    assert next_state(entry("a", 0, 1, State.PLACING), [urgent]) is State.WAITING
    assert next_state(entry("a", 1, 1, State.PLACING), [urgent]) is State.PLACING, "the same is not higher"
    assert next_state(entry("a", 0, 1, State.WORKING), [urgent]) is State.WORKING
    assert next_state(urgent, [entry("a", 0, 1, State.WORKING)]) is State.CLAIMING, "whoever works is in nobody's way"


def test_those_before_a_run_are_named_in_their_order() -> None:
    mine = entry("m", 0, 5)
    others = [
        entry("late", 0, 6),
        entry("early", 0, 4),
        entry("urgent", 3, 7),
        entry("placing", 0, 9, State.PLACING),
        entry("working", 9, 1, State.WORKING),
    ]
    assert [one.run for one in before(mine, others)] == ["placing", "urgent", "early"]
    assert before(replace(mine, state=State.PLACING), others) == ()


@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(one: Entry) -> None:
    assert from_bytes(to_bytes(one)) == one


@given(st.one_of(st.binary(max_size=60), st.just(b"{}"), st.just(b'{"form": 2}'), st.just(b"[1]"), st.just(b"null")))
def test_what_is_no_entry_is_none(text: bytes) -> None:
    assert from_bytes(text) is None


# -- who is alive --------------------------------------------------------------------------------------------------


def test_a_run_whose_beat_stands_still_does_not_count_and_comes_back_with_the_next() -> None:
    pulse = Pulse(limit_s=12)
    dead, alive = entry("dead", beat=7), entry("alive", beat=1)
    assert pulse.living([dead, alive], 100.0) == [dead, alive], "nothing is known of it yet"
    beating = replace(alive, beat=2)
    assert pulse.living([dead, beating], 108.0) == [dead, beating]
    assert pulse.living([dead, beating], 112.0) == [beating]
    assert pulse.living([beating], 119.9) == [beating]
    again = replace(dead, beat=8)
    assert pulse.living([again, beating], 121.0) == [again]
    assert pulse.living([replace(again, beat=3)], 140.0) == [replace(again, beat=3)], "another beat, not a higher one"


# -- places --------------------------------------------------------------------------------------------------------


def test_workers_are_placed_node_by_node() -> None:
    free = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 4.0}, {"CPU": 3.0}, {}]
    assert fitting(free, {"CPU": 1.0}) == 12
    assert fitting(free, {"CPU": 1.0, "GPU": 1.0}) == 2
    assert fitting(free, {"CPU": 1.0, "GPU": 1 / 3}) == 4
    assert fitting([{"CPU": 9.0, "GPU": 0.9999}], {"CPU": 1.0, "GPU": 0.3333}) == 3
    assert fitting([], {"CPU": 1.0}) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "waiting for 6 GPUs: 2 of 8 are free"),
        ({"before": [entry("X")]}, "waiting for 6 GPUs: 2 of 8 are free, run X (priority 0) is before us"),
        (
            {"before": [entry("X", 2), entry("Y")], "working": [entry("Z")]},
            "waiting for 6 GPUs: 2 of 8 are free, run X (priority 2) and 1 more are before us",
        ),
        ({"working": [entry("Z", -1)]}, "waiting for 6 GPUs: 2 of 8 are free, run Z (priority -1) is at work"),
        (
            {"free": {"GPU": 2.0, "CPU": 5.0}},
            "waiting for 6 GPUs and 6 CPUs: 2 of 8 GPUs and 5 of 16 CPUs are free",
        ),
        ({"free": {"GPU": 8.0, "CPU": 9.0}, "before": [entry("X")]}, "waiting for 6 GPUs: 8 of 8 are free, run X"),
    ],
)
def test_a_person_is_told_what_is_waited_for(more: dict[str, Any], words: str) -> None:
    wait = Wait(
        workers=6,
        missing=4,
        wanted={"CPU": 6.0, "GPU": 6.0},
        free={"GPU": 2.0, "CPU": 9.0},
        there={"GPU": 8.0, "CPU": 16.0},
    )
    assert replace(wait, **more).text.startswith(words)


def test_workers_that_have_their_places_are_waited_for_too() -> None:
    assert Wait(workers=3, missing=2).text == "waiting for 2 of 3 workers"
    alone = Wait(workers=1, missing=1, wanted={"CPU": 1.0}, free={"CPU": 0.0}, there={"CPU": 1.0})
    assert alone.text == "waiting for 1 CPU: 0 of 1 are free"


# -- for how long --------------------------------------------------------------------------------------------------


class Line:
    """As farm.sharing.Queue, of a cluster whose other runs are what a test says."""

    address = "10.0.0.1:6379"

    def __init__(self) -> None:
        self.mine, self.others = entry("m", 0, 2), list[Entry]()

    def look(self) -> bool:
        return True

    def say(self, state: State) -> bool:
        self.mine = replace(self.mine, state=state)
        return True


def places(there: Callable[[], int]) -> Any:
    """As farm.sharing.Places, for two workers."""
    return SimpleNamespace(
        count=2,
        are_there=lambda: there() == 2,
        give_back=lambda: None,
        wait=lambda queue: Wait(workers=2, missing=2 - there(), wanted={"CPU": 2.0}),
    )


def waits(line: Line, there: Callable[[], int], clock: SimpleNamespace, least: int = 0) -> Turn:
    return Turn(line, places(there), 900.0, least, now=lambda: clock.now)  # type: ignore[arg-type]


def test_nobody_gives_up_while_others_are_before_or_could_make_room() -> None:
    line, clock = Line(), SimpleNamespace(now=0.0)
    turn = waits(line, lambda: 1, clock)
    line.others = [entry("first", 0, 1)]
    for clock.now in range(0, 5000, 100):
        assert turn.poll() is not None
    line.others = [entry("first", 0, 1, State.WORKING), entry("behind", 0, 3)]
    for clock.now in range(5000, 10_000, 100):
        assert turn.poll() is not None
    assert line.mine.state is State.PLACING
    line.others = [entry("behind", 0, 3)]
    for clock.now in range(10_000, 10_801, 100):
        assert turn.poll() is not None
    clock.now = 10_900.0
    with pytest.raises(UnreachableError, match=r"1 of 2 workers found no place on 10\.0\.0\.1:6379 within 900 s"):
        turn.poll()


def test_who_may_do_with_fewer_goes_on_when_it_has_been_first_for_as_long() -> None:
    line, clock = Line(), SimpleNamespace(now=0.0)
    line.others = [entry("first", 0, 1, State.WORKING)]
    turn = waits(line, lambda: 1, clock, least=1)
    for clock.now in range(0, 901, 100):
        assert turn.poll() is not None
    clock.now = 1000.0
    assert turn.poll() is None
    assert turn.workers == 1


def test_where_there_is_no_place_the_advice_is_of_the_command_that_waits() -> None:
    line, clock = Line(), SimpleNamespace(now=0.0)
    turn = Turn(line, places(lambda: 1), 900.0, 0, now=lambda: clock.now, advice="ask for less")  # type: ignore[arg-type]
    assert turn.poll() is not None
    clock.now = 1000.0
    with pytest.raises(UnreachableError, match=r"add nodes, ask for less$"):
        turn.poll()


def test_what_was_asked_for_is_given_back_when_somebody_more_urgent_comes() -> None:
    line, clock, told = Line(), SimpleNamespace(now=0.0), list[str]()
    asked = places(lambda: 1)
    asked.give_back = lambda: told.append("given back")
    turn = Turn(line, asked, 900.0, 0, now=lambda: clock.now)  # type: ignore[arg-type]
    assert turn.poll() is not None
    assert (line.mine.state, told) == (State.PLACING, [])
    line.others = [entry("urgent", 1, 9)]
    assert turn.poll() is not None
    assert (line.mine.state, told) == (State.WAITING, ["given back"])


def test_a_head_that_does_not_answer_gives_nobody_the_turn() -> None:
    line, clock = Line(), SimpleNamespace(now=0.0)
    line.look = lambda: False  # type: ignore[method-assign]
    assert waits(line, lambda: 2, clock).poll() is not None
    assert line.mine.state is State.WAITING
