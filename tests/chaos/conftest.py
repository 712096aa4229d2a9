"""Disturbances drawn at random from a seed that is printed: `pytest tests/chaos --trials 200 --seed 7`.

Without --trials every test runs its short form. What was done is said at the end, and appended to --record FILE.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..runs import Farm, cluster, farm, make_picture, slow_farm
from ..s3_server import require_s3
from ..seeded import save_srvgg
from ..stores import proxy, server
from . import record
from .cases import Bucket, Disk, Place, Work, undisturbed
from .kinds import Subject, make_kind
from .works import Command, make_commands
from .zygote import Zygote

__all__ = ["cluster", "farm", "make_picture", "proxy", "server", "slow_farm"]
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


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    made = Zygote(tmp_path_factory.mktemp("zygote"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    return make_commands(tmp_path_factory.mktemp("in"))


@pytest.fixture(scope="session")
def works(zygote: Zygote, commands: dict[str, Command], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    """By kind, on a disk."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        kind: undisturbed(Work(zygote=zygote, scratch=folder / "scratch", args=args), Disk(folder / kind))
        for kind, args in commands.items()
    }


@pytest.fixture(scope="session")
def stored_works(works: dict[str, Work]) -> dict[str, Work]:
    """By kind, on a store: outputs and results are those of the disk."""
    server = require_s3()
    found = {kind: undisturbed(work, Bucket(server)) for kind, work in works.items()}
    for kind, work in works.items():
        assert (found[kind].outputs, found[kind].identity) == (work.outputs, work.identity)
    return found


@pytest.fixture
def fresh_disk(tmp_path: Path) -> Callable[[], Place]:
    return lambda: Disk(tmp_path / f"out-{len(list(tmp_path.iterdir()))}")


@pytest.fixture
def fresh_bucket() -> Callable[[], Place]:
    server = require_s3()
    return lambda: Bucket(server)


@pytest.fixture
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")
