"""Runs and trainings that share a cluster: each keeps to its workers, one waits for the other, priority overtakes, a
dead one keeps nobody; and what a worker may hold is a share of its own machine's memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from farm.status import read_status
from farm.tasks.memory import memory_share
from tests.farm.training.sets import CONFIG, make_config

from ..outside import require
from ..pictures import claimed_png
from ..runs import HEAD, REPOSITORY, Farm, ray_head, results, save_picture
from ..waiting import wait_for

pytestmark = pytest.mark.timeout(400)
LEFT = """
import os
from farm.session import head_client
print(head_client(os.environ["RAY_ADDRESS"]).internal_kv_keys(b"", b"farm-queue", timeout=10))
"""
WORKERS = "2"
"""of each run; the cluster has room for three"""


@dataclass
class Started:
    """A run whose lines of JSON are read as they come."""

    process: subprocess.Popen[str]
    out: Path
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    @property
    def run(self) -> str:
        self.until(lambda: self.of("begin"), "it begins")
        return next(str(line["run"]) for line in self.lines if line["event"] == "begin")

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def until(self, what: Callable[[], object], words: str) -> None:
        def there() -> object:
            found = what()
            assert found or self.process.poll() is None, self.process.communicate()[1]
            return found

        wait_for(there, f"{words}: {self.lines[-3:]}", 120)

    def works(self) -> None:
        self.until(lambda: self.of("work"), "it works")

    def waits_for(self, words: str) -> None:
        """Until it says so last."""
        self.until(lambda: self.lines and words in str(self.lines[-1].get("text", "")), words)

    def ends(self) -> int:
        return self.process.wait(150)


@dataclass
class Training:
    """One whose lines for people are read as they come."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()), daemon=True)
        self.reader.start()

    def says(self, words: str) -> None:
        """Until it does."""

        def there() -> bool:
            found = any(words in line for line in self.lines)
            assert found or self.process.poll() is None, self.lines
            return found

        wait_for(there, f"{words}: {self.lines[-3:]}", 120)

    def ends(self) -> int:
        code = self.process.wait(150)
        self.reader.join(10)
        return code


@dataclass
class Site:
    """Who shares the cluster."""

    farm: Farm
    folder: Path
    environment: dict[str, str]
    started: list[Started | Training] = field(default_factory=list[Started | Training])

    def start(self, source: Path, name: str, *flags: str | Path) -> Started:
        out = self.folder / name
        words = self.farm.submit_args(source, out, "--workers", WORKERS, "--json", *flags)
        started = Started(self.farm.start(*words, env=self.environment), out)
        self.started.append(started)
        return started

    def train(self, config: Path, name: str, *flags: str) -> Training:
        words = ("--stage", "net", "--workers", WORKERS, "--threads", "1", "--out", self.folder / name, *flags)
        training = Training(self.farm.start("train", config, *words, env=self.environment))
        self.started.append(training)
        return training

    def left(self) -> str:
        """What the queue of the cluster holds."""
        command = [sys.executable, "-c", LEFT]
        environment = {**self.farm.variables, **self.environment}
        asked = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
        return asked.stdout.strip()


@pytest.fixture(scope="module")
def three_cpus() -> Iterator[dict[str, str]]:
    with ray_head(HEAD, "3") as environment:
        yield environment


@pytest.fixture
def site(farm: Farm, three_cpus: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    site = Site(farm, tmp_path, three_cpus)
    try:
        yield site
    finally:
        for one in site.started:
            one.process.kill()
            one.process.wait(30)


def save_many(folder: Path) -> Path:
    """More pictures than a run has time for, on any machine: it is at work until somebody ends it."""
    picture = save_picture(folder / "0.png", 400, 300)
    for index in range(1, 3000):
        (folder / f"{index}.png").hardlink_to(picture)
    return folder


def workers_of(run: Started) -> set[object]:
    return {row["worker"] for row in results(run.out) if row["status"] == "done"}


def test_runs_wait_for_each_other_in_order_and_a_dead_one_keeps_nobody(
    site: Site, slow_farm: Farm, tmp_path: Path
) -> None:
    for index in range(3):
        save_picture(tmp_path / "few" / f"{index}.png", seed=index)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "sizeable.png").write_bytes(claimed_png(1.5 * memory_share(2)))
    save_picture(tmp_path / "large" / "small.png")

    first = site.start(save_many(tmp_path / "many"), "first", "--model", slow_farm.model)
    first.works()
    at_work = f"waiting for 2 CPUs: 1 of 3 is free, run {first.run} (priority 0) is at work"
    last = site.start(tmp_path / "large", "last", "--band-px", "999999999", "--tile-px", "64")
    last.waits_for(at_work)
    short = site.start(tmp_path / "few", "short", "--max-time", "40")  # behind all others: nobody speaks of it
    killed = site.start(tmp_path / "few", "killed", "--priority", "5")
    killed.waits_for(at_work)  # it holds nothing of what is free, and neither does the one before
    last.waits_for(f"run {killed.run} (priority 5) is before us")
    words = f"waiting for 2 CPUs: 1 of 3 is free, run {killed.run} (priority 5) is before us"
    wait_for(lambda: read_status(str(last.out)).waiting == words, "farm status says it, too")

    killed.process.kill()
    last.waits_for(at_work)
    urgent = site.start(tmp_path / "few", "urgent", "--priority", "7")
    last.waits_for(f"run {urgent.run} (priority 7) is before us")
    told = site.start(tmp_path / "few", "told")
    told.until(lambda: told.of("waiting"), "it waits")
    told.process.terminate()
    assert (told.ends(), short.ends()) == (143, 75)
    assert short.of("waiting"), "a time that is over ends the wait"
    first.process.terminate()
    urgent.works()
    assert first.ends() == 143
    assert (urgent.ends(), len(workers_of(urgent))) == (0, 2)
    assert last.ends() == 3
    assert last.lines[-1]["event"] == "end"
    assert site.left() == "[]", "neither those that have ended, however, nor the one that was killed"

    at = {row["status"]: row for row in results(last.out)}
    assert min(float(row["finished_unix"]) for row in at.values()) > max(
        float(row["finished_unix"]) for row in results(urgent.out)
    )
    assert at["failed"]["error"] == "out_of_memory"
    share = f"this worker may use {memory_share(2) / 2**30:.1f}"
    assert share in str(at["failed"]["message"]), "a half of what its node has, as two of them are there"
    assert read_status(str(last.out)).waiting == ""


def test_a_training_waits_for_its_turn_and_others_wait_for_it(site: Site, slow_farm: Farm, tmp_path: Path) -> None:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    text = CONFIG.split("[validation]")[0].replace("iterations = 12", "iterations = 1000000")
    config = make_config(tmp_path / "set", text + "[keep]\nevery = 1000000\nlog = 20\n")
    save_picture(tmp_path / "few" / "0.png")

    first = site.start(save_many(tmp_path / "many"), "first", "--model", slow_farm.model)
    first.works()
    at_work = f"waiting for 2 CPUs: 1 of 3 is free, run {first.run} (priority 0) is at work"
    training, told = site.train(config, "trained", "--priority", "3"), site.train(config, "told")
    training.says(at_work)
    behind = site.start(tmp_path / "few", "behind")
    behind.waits_for("(priority 3) and 1 more are before us")
    told.says("(priority 3) is before us")
    told.process.terminate()
    assert told.ends() == 143, told.lines
    behind.waits_for("(priority 3) is before us")
    first.process.terminate()
    assert first.ends() == 143
    behind.waits_for("(priority 3) is at work")
    (run,) = set(re.findall(r"run (\S+) \(priority 3\) is at work", str(behind.lines[-1])))
    training.says(" it/s, ")
    assert behind.of("work") == []

    training.process.terminate()
    assert training.ends() == 143, training.lines
    assert list((tmp_path / "trained" / "checkpoints").iterdir())
    assert behind.ends() == 0
    assert site.left() == "[]", f"nor {run}, which was told to stop"
