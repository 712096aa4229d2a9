"""The time left that is said of a mixed run, against what was left: a recording of a real one, told to the estimator.

tests/farm/data/eta-*.jsonl were made by bench/eta.py; bench/results has what was measured.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
RECORDING = HERE / "data" / "eta-shuffled.jsonl"
HELD = HERE / "data" / "eta-held.jsonl"
"""of a shorter run, which says what each worker holds"""
FROM = WITHIN = 0.2


@pytest.fixture(scope="module")
def eta() -> Iterator[ModuleType]:
    """The script that recorded it."""
    spec = importlib.util.spec_from_file_location("bench_eta", HERE.parents[1] / "bench" / "eta.py")
    assert spec
    assert spec.loader
    module = sys.modules["bench_eta"] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_eta"]


def test_after_a_fifth_of_a_mixed_run_the_time_left_is_within_a_fifth_of_the_truth(eta: ModuleType) -> None:
    """And on average from there on: two minutes of 72 rows are few, single moments are off by up to a third."""
    late = [point for point in eta.replay(eta.read(RECORDING)) if point.share >= FROM]
    assert len(late) > 50
    errors = [abs(point.error(point.said)) for point in late]
    assert late[0].share < FROM + 0.02
    assert errors[0] < WITHIN
    assert sum(errors) / len(errors) < WITHIN
    assert max(errors) < 0.35


def test_what_workers_hold_tells_more_near_the_end_than_an_even_share(eta: ModuleType) -> None:
    """One of two workers is left with a picture."""
    lines = eta.read(HELD)
    blind = [{name: value for name, value in line.items() if name != "held"} for line in lines]
    told, shared = ([point for point in eta.replay(each) if point.share >= FROM] for each in (lines, blind))
    assert abs(told[0].error(told[0].said)) < WITHIN
    assert _off(told) < WITHIN
    assert _off(told[-len(told) // 5 :]) < _off(shared[-len(shared) // 5 :])


def _off(points: Sequence[Any]) -> float:
    """On average."""
    return sum(abs(point.error(point.said)) for point in points) / len(points)


@pytest.mark.parametrize("recording", [RECORDING, HELD], ids=["two minutes", "held"])
def test_the_recording_is_of_pictures_and_films_and_names_nothing(eta: ModuleType, recording: Path) -> None:
    lines = eta.read(recording)
    kinds = {(line["kind"], "general" in line["model"]) for line in lines if "kind" in line}
    assert kinds == {("image", True), ("image", False), ("video", False)}
    assert len({line["px"] for line in lines if line["event"] == "row"}) > 6, "of several sizes"
    assert not [line for line in lines if {"source", "output", "message", "run", "out"} & line.keys()]
