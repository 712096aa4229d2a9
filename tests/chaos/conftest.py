"""Disturbances drawn at random from a seed that is printed: `pytest tests/chaos --trials 200 --seed 7`.

Without --trials every test runs its short form. What was done is said at the end, and appended to --record FILE.
"""

from __future__ import annotations

import random

import pytest

from ..runs import cluster, farm, make_picture, slow_farm
from . import record

__all__ = ["cluster", "farm", "make_picture", "slow_farm"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    record.summary(terminalreporter, config)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> record.Note:
    """Takes figures of what a test did."""
    return record.noter(request)


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> int:
    """How often a test disturbs; 0 asks for its short form."""
    return request.config.getoption("--trials")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """What is drawn: by the seed of the session and the test's own name, whatever else runs."""
    return random.Random(f"{request.config.getoption('--seed')} {request.node.nodeid}")
