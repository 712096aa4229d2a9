"""What is recorded, when, and for how long; the graphs themselves are a GPU's: tests/gpu."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sr_kernel import recorded
from sr_kernel.recorded import Recorder


class Tape:
    """A graph that runs its work anew, on its own inputs, when it is replayed."""

    def __init__(self, work: recorded.Work, inputs: Sequence[Tensor]) -> None:
        self.own = tuple(tensor.clone() for tensor in inputs)
        self.outputs = tuple(tensor.clone() for tensor in work(*self.own))
        self._work = work

    def replay(self) -> None:
        for into, made in zip(self.outputs, self._work(*self.own), strict=True):
            into.copy_(made)


@pytest.fixture
def recordings() -> list[object]:
    """Keys of what was recorded, in order."""
    return []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, recordings: list[object]) -> Recorder:
    made = Recorder(torch.device("cpu"))

    def record(
        key: object, work: recorded.Work, inputs: Sequence[Tensor], keeper: recorded.Keeper | None
    ) -> recorded._Recording:
        tape = Tape(work, inputs)
        recordings.append(key)
        return recorded._Recording(tape, tape.own, tape.outputs, (key, keeper))

    monkeypatch.setattr(made, "_record", record)
    monkeypatch.setattr(made, "_has_room", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return made


def doubled(recorder: Recorder, key: object, value: float) -> float:
    (made,) = recorder.run(key, lambda x: (x * 2,), [torch.tensor([value])])
    return float(made)


def test_what_comes_twice_is_recorded_and_answers_for_what_it_is_given(recorder: Recorder) -> None:
    assert [doubled(recorder, "a", value) for value in (1, 2, 3, 4)] == [2, 4, 6, 8]
    assert recorder.count == 1
    assert doubled(recorder, "b", 5) == 10
    assert recorder.count == 1


def test_shapes_that_take_turns_are_not_recorded_again_and_again(recorder: Recorder, recordings: list[object]) -> None:
    """More than are kept: each would push out the one that comes next, and none would ever be replayed."""
    for turn in range(20):
        for key in range(recorded._KEPT + 1):
            assert doubled(recorder, key, turn) == 2 * turn
    assert sorted(recordings) == list(range(recorded._KEPT))
    assert recorder.count == recorded._KEPT
    recorder.clear()
    assert recorder.count == 0
    assert doubled(recorder, 1, 4) == 8
    assert recorder.count == 0


def test_a_shape_that_comes_no_more_leaves_its_place(recorder: Recorder) -> None:
    for key in [*range(recorded._KEPT)] * 2:
        doubled(recorder, key, 1)
    for _ in range(recorded._STALE_RUNS):
        doubled(recorder, "new", 1)
    assert "new" in recorder._kept
    assert 0 not in recorder._kept
    assert recorder.count == recorded._KEPT


def test_an_archive_of_a_thousand_sizes_is_not_remembered(recorder: Recorder) -> None:
    for key in range(2000):
        doubled(recorder, key, 1)
    assert len(recorder._seen) == recorded._REMEMBERED
    assert recorder.count == 0


def test_without_room_work_goes_on_unrecorded(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_has_room", lambda: False)
    assert [doubled(recorder, "a", value) for value in (1, 2, 3)] == [2, 4, 6]
    assert recorder.count == 0


def test_what_was_not_used_for_long_makes_room(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in "aabb":
        doubled(recorder, key, 1)
    monkeypatch.setattr(recorder, "_has_room", lambda: recorder.count < 2)
    assert doubled(recorder, "c", 1) == doubled(recorder, "c", 1) == 2
    assert set(recorder._kept) == {"a", "b"}
    for _ in range(recorded._STALE_RUNS):
        doubled(recorder, "b", 1)
    assert doubled(recorder, "c", 3) == 6
    assert set(recorder._kept) == {"b", "c"}
