"""Whole runs of the command, as a user starts it: real Ray processes, real files, a small seeded network."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import pyvips

from .heads import REPOSITORY, head
from .seeded import save_srvgg

NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Farm:
    """Runs `farm` in a process of its own."""

    model: Path
    cache: Path
    timeout_s: float | None = 150
    """of one run; None waits as long as it takes"""
    environment: Mapping[str, str] = field(default_factory=dict)
    """of every run, beside the tests' own"""

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a run."""
        return {**os.environ, "XDG_CACHE_HOME": str(self.cache), **self.environment}

    def start(self, *args: str | Path, env: dict[str, str] | None = None, leads: bool = False) -> subprocess.Popen[str]:
        """`leads`: a process group of its own, as under `timeout` or a batch system."""
        return subprocess.Popen(
            [sys.executable, "-m", "farm", *map(str, args)],
            cwd=REPOSITORY,
            env={**self.variables, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=leads,
        )

    def run(self, *args: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, env=env)
        out, err = process.communicate(timeout=self.timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def submit(
        self, source: Path, out: Path, *flags: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(*self.submit_args(source, out, *flags), env=env)

    def submit_args(self, source: Path, out: Path, *flags: str | Path) -> tuple[str | Path, ...]:
        """On the tests' cluster one worker, where a test asks for no number: each loads torch."""
        few = ("--workers", "1") if "RAY_ADDRESS" in self.environment and "--workers" not in flags else ()
        return ("submit", source, "--model", self.model, "--gpus", "0", "--out", out, *few, *flags)


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    folder = tmp_path_factory.mktemp("model")
    return Farm(model=save_srvgg(folder / "tiny.pth", features=8, convs=2), cache=folder)


@pytest.fixture(scope="session")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """Large enough that a run can be caught in the middle."""
    folder = tmp_path_factory.mktemp("slow")
    return Farm(model=save_srvgg(folder / "slow.pth", features=48, convs=8), cache=folder)


@pytest.fixture
def make_picture() -> Callable[..., Path]:
    return save_picture


def save_picture(path: Path, width: int = 64, height: int = 48, *, seed: int = 0, bands: int = 3) -> Path:
    """A smooth picture that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, bands), dtype=np.uint8)
    image = pyvips.Image.new_from_array(coarse).resize(8, kernel="cubic").crop(0, 0, width, height)
    image.copy(interpretation="srgb" if bands > 2 else "b-w").write_to_file(str(path))
    return path


def results(out: Path) -> list[dict[str, object]]:
    """Rows of the result manifest."""
    return pq.read_table(out / "results.parquet").to_pylist()


IDENTITY = (
    "row",
    "status",
    "error",
    "source",
    "output",
    "sha256",
    "bytes",
    "width",
    "height",
    "model",
    "mode",
    "fidelity",
)


def identity(out: Path) -> list[tuple[object, ...]]:
    """What must be equal after any disturbance; paths relative to the root, in which packs have their sources too."""
    rows = []
    for row in results(out):
        for name in ("source", "output"):
            row[name] = str(row[name]).removeprefix(str(out))
        rows.append(tuple(row[name] for name in IDENTITY))
    return sorted(rows, key=repr)


def files(out: Path) -> set[str]:
    """Everything below an output root but the farm's own folder."""
    found = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith(".farm/")}


def actors_of(driver: subprocess.Popen[str]) -> list[int]:
    """Processes of our own driver that run an actor."""
    found: list[int] = []
    for child in psutil.Process(driver.pid).children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:
            continue  # ended while we looked
        if title.startswith("ray::Worker"):
            found.append(child.pid)
    return found


HEAD = """
import sys
from ray.cluster_utils import Cluster
without = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": int(sys.argv[1]), "num_gpus": 0, **without})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """Environment of a user of a cluster of our own: its address and its token."""
    with ray_head(HEAD, "4") as environment:
        yield environment


@contextmanager
def ray_head(
    script: str, *args: str, users: Mapping[str, str] = NONE, own: Mapping[str, str] = NONE
) -> Iterator[dict[str, str]]:
    """A cluster of our own, of a script that starts it, prints its address and ends it when its input ends; gives the
    environment of its users: its address, its token, and `users`. `own` is told to the cluster alone."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**token, **users, "PYTHONPATH": str(REPOSITORY)}
    with head(script, *args, env={**environment, **own}) as started:
        yield {**environment, "RAY_ADDRESS": started.line(r"\S+:\d+\s*$")}
