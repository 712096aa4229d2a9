"""What the tests of this folder did, one line a test: said at the end, and kept in the file that --record names."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LINES = pytest.StashKey[list[str]]()
Note = Callable[..., None]


def noter(request: pytest.FixtureRequest) -> Note:
    """A function that notes figures of the test, when they are known; a test that fails notes what it did so far."""
    config, started = request.config, time.monotonic()

    def note(**figures: object) -> None:
        said = {
            "test": request.node.nodeid,
            "seed": config.getoption("--seed"),
            "trials": config.getoption("--trials"),
            **figures,
            "seconds": round(time.monotonic() - started),
        }
        config.stash.setdefault(LINES, []).append(json.dumps(said))
        if file := config.getoption("--record"):
            with Path(file).open("a") as out:
                out.write(json.dumps(said) + "\n")

    return note


def summary(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(LINES, []):
        reporter.write_line(f"chaos: {line}")
