"""Runs that share a cluster: each keeps to its workers, one waits for the other, priority overtakes, a dead one keeps
nobody; and what a worker may hold is a share of its own machine's memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farm.status import read_status
from farm.tasks.memory import memory_share

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
class Site:
    """Who shares the cluster."""

    farm: Farm
    folder: Path
    environment: dict[str, str]
    started: list[Started] = field(default_factory=list[Started])

    def start(self, source: Path, name: str, *flags: str | Path) -> Started:
        out = self.folder / name
        words = self.farm.submit_args(source, out, "--workers", WORKERS, "--json", *flags)
        self.started.append(Started(self.farm.start(*words, env=self.environment), out))
        return self.started[-1]

    def left(self) -> str:
        """What the queue of the cluster holds."""
        command = [sys.executable, "-c", LEFT]
        environment = {**self.farm.variables, **self.environment}
        asked = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
        return asked.stdout.strip()


@pytest.fixture
def site(farm: Farm, tmp_path: Path) -> Iterator[Site]:
    with ray_head(HEAD, "3") as environment:
        site = Site(farm, tmp_path, environment)
        try:
            yield site
        finally:
            for one in site.started:
                one.process.kill()
                one.process.wait(30)


def workers_of(run: Started) -> set[object]:
    return {row["worker"] for row in results(run.out) if row["status"] == "done"}


def test_runs_wait_for_each_other_in_order_and_a_dead_one_keeps_nobody(
    site: Site, slow_farm: Farm, tmp_path: Path
) -> None:
    for index in range(3):
        save_picture(tmp_path / "few" / f"{index}.png", seed=index)
    picture = save_picture(tmp_path / "picture.png", 400, 300)
    for index in range(300):  # more than it has time for
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / f"{index}.png").hardlink_to(picture)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "sizeable.png").write_bytes(claimed_png(1.5 * memory_share(2)))
    save_picture(tmp_path / "large" / "small.png")

    first = site.start(tmp_path / "many", "first", "--model", slow_farm.model)
    first.works()
    at_work = f"waiting for 2 CPUs: 1 of 3 is free, run {first.run} (priority 0) is at work"
    last = site.start(tmp_path / "large", "last", "--band-px", "999999999", "--tile-px", "64")
    last.waits_for(at_work)
    killed = site.start(tmp_path / "few", "killed", "--priority", "5")
    killed.waits_for(at_work)  # it holds nothing of what is free, and neither does the one before
    last.waits_for(f"run {killed.run} (priority 5) is before us")
    words = f"waiting for 2 CPUs: 1 of 3 is free, run {killed.run} (priority 5) is before us"
    wait_for(lambda: read_status(str(last.out)).waiting == words, "farm status says it, too")

    killed.process.kill()
    last.waits_for(at_work)
    urgent = site.start(tmp_path / "few", "urgent", "--priority", "7")
    last.waits_for(f"run {urgent.run} (priority 7) is before us")
    short, told = (site.start(tmp_path / "few", name, "--max-time", "20") for name in ("short", "told"))
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
