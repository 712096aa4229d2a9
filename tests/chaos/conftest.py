"""Disturbances drawn at random from a seed that is printed: `pytest tests/chaos --trials 200 --seed 7`.

Without --trials every test runs its short form. What was done is said at the end, and appended to --record FILE.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ..runs import Farm, cluster, farm, make_picture, slow_farm
from ..seeded import save_srvgg
from . import record
from .kinds import Subject, make_kind

__all__ = ["cluster", "farm", "make_picture", "slow_farm"]
HERE = Path(__file__).parent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    record.summary(terminalreporter, config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A long form takes as long as it was asked to; what hangs in it is found by watch.PATIENCE_S."""
    for item in items if config.getoption("--trials") else ():
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(0))


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


@pytest.fixture(scope="session")
def small_farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """A network that takes a small picture a fraction of a second."""
    folder = tmp_path_factory.mktemp("model")
    return Farm(model=save_srvgg(folder / "small.pth", features=32, convs=6), cache=folder, timeout_s=600)


Subjects = Callable[[str, Callable[..., Path]], Subject]


@pytest.fixture(scope="session")
def subjects(
    small_farm: Farm,
    cluster: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Subjects:
    """What is disturbed, by the name of its kind; each is made, and run undisturbed, once a session."""
    made: dict[str, Subject] = {}
    films = tmp_path_factory.getbasetemp() / "films"
    size = 3 if request.config.getoption("--trials") else 1

    def subject(name: str, make: Callable[..., Path]) -> Subject:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            kind = make_kind(name, folder / "in", small_farm, make, films, size)
            made[name] = Subject(kind, folder / "undisturbed", kind.undisturbed(folder / "undisturbed", cluster))
        return made[name]

    return subject
