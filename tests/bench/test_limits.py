"""What a bench says when a figure is not what it must be: its exit code, and the table that names the figure."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from types import ModuleType

import pytest

from .scripts import bench_module


@pytest.fixture(scope="module")
def limits() -> Iterator[ModuleType]:
    with bench_module("limits") as module:
        yield module


def options(limits: ModuleType, *words: str) -> Namespace:
    parser = ArgumentParser()
    limits.add_flag(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(("found", "code"), [(3.2, 0), (3.19, 1), (float("nan"), 1)])
def test_a_missed_limit_is_named_and_ends_with_one(limits: ModuleType, found: float, code: int) -> None:
    held = [
        limits.Limit(what="times the official package", found=found, least=3.2),
        limits.Limit(what="wall", found=1.05, most=1.05, digits=3),
    ]
    assert limits.exit_code(held, options(limits)) == code
    assert limits.exit_code(held, options(limits, "--no-limits")) == 0
    first, second = limits.shown(held).splitlines()[2:]
    assert first.startswith("| times the official package | ")
    assert first.endswith("| at least 3.2 | **missed** |" if code else "| at least 3.2 |  |")
    assert second == "| wall | 1.050 | at most 1.05 |  |"
    assert limits.kept(held)["wall"] == {"found": 1.05, "wanted": "at most 1.05", "holds": True}


def test_other_bytes_are_a_failure_whoever_only_looks(limits: ModuleType) -> None:
    held = [limits.promise("the same bytes in every run", holds=False)]
    assert limits.exit_code(held, options(limits, "--no-limits")) == 1
    assert limits.shown(held).splitlines()[2] == "| the same bytes in every run | NO | yes | **missed** |"
