"""A service in this process, behind its guard, whose runs end up in a list instead of at Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from farm.config import RunConfig, WorkerConfig
from farm.errors import FarmError
from farm.jobs import Detached
from farm.serve.app import make_app
from farm.serve.guard import Guard
from farm.serve.roots import Roots
from farm.serve.runs import Runs

TOKEN = "0123456789abcdef" * 4
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
ID = "farm-20260101T000000Z-00000001"


@dataclass
class Handed:
    """What would have become jobs, and what is to go wrong instead."""

    runs: list[tuple[RunConfig, Sequence[str]]] = field(default_factory=list)
    error: Exception | None = None

    def __call__(self, config: RunConfig, words: Sequence[str]) -> Detached:
        if self.error is not None:
            raise self.error
        self.runs.append((config, words))
        return Detached(job=ID, root=str(config.output.out), dashboard="http://127.0.0.1:1", token="/no/answer/has/it")


@dataclass
class Service:
    roots: tuple[str, ...]
    handed: Handed = field(default_factory=Handed, repr=False)
    body_bytes: int = 64 << 10

    @cached_property
    def app(self) -> Guard:
        runs = Runs(Roots(self.roots), WorkerConfig(), self.handed)
        return Guard(make_app(runs), TOKEN, body_bytes=self.body_bytes)

    def client(self, *, shown: bool = True) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False, headers=SHOWN if shown else {})

    def start(self, **body: Any) -> tuple[int, dict[str, str]]:
        """Status and body of the answer to POST /v1/runs."""
        answer = self.client().post("/v1/runs", json=body)
        return answer.status_code, answer.json()


def all_errors(kind: type[FarmError] = FarmError) -> list[type[FarmError]]:
    """Every class of the tree."""
    return [kind, *(one for below in kind.__subclasses__() for one in all_errors(below))]


def tree(folder: Path) -> Path:
    """A root with a manifest, pictures, and links that lead out of it; beside it what nobody may name."""
    root = folder / "root"
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "a.png").touch()
    (root / "m.csv").write_text("source\nphotos/a.png\n")
    beside = folder / "root-beside"
    beside.mkdir()
    (beside / "b.png").touch()
    (beside / "m.csv").write_text("source\nb.png\n")
    (root / "out-link").symlink_to(beside)
    (root / "file-link.csv").symlink_to(beside / "m.csv")
    (root / "new-link").symlink_to(folder / "not-there-yet")
    (root / "in-link").symlink_to(root / "photos")
    (root / "round").symlink_to(root / "round")
    return root
