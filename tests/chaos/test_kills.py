"""kill -9 of workers and of the driver, at moments drawn at random: what comes out is what came out undisturbed.

Each run takes its manifest in another order and has another number of workers; the undisturbed one had one.
With --trials N: N workers and N / 4 drivers over pictures, films, training data and all of them at once.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..media_reader import Probe
from ..moving_pattern import frame_number
from .conftest import Subjects
from .kinds import FILM_FRAMES, Subject
from .record import Note
from .watch import Watch, check_clean, check_gone, check_identical, kill_an_actor

Make = Callable[..., Path]
pytestmark = pytest.mark.timeout(900)
KINDS = ("mixed", "tar", "pictures", "films", "tree")
SHORT_KINDS = KINDS[:2]
WORKERS, FEW_WORKERS = (1, 2, 4), (2, 3)
"""of a run of the long form, and of the short one"""
DRIVER_KILLS = 5
"""of one output root, before its command is left alone"""
WORKER_KILLS = 20
MADE = (".png", ".mp4", ".mkv", ".webm", ".piece")
UNNAMED = 2 * max(WORKERS)
"""outputs and pieces that answers may be on their way of when a driver is killed: two units of each worker"""
ORPHANS_S = 60.0
"""that processes of a killed driver may take to notice"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", KINDS if metafunc.config.getoption("--trials") else SHORT_KINDS)


@dataclass
class Killed:
    """What was done to runs of one kind, and what it cost."""

    workers: int = 0
    drivers: int = 0
    runs: int = 0
    roots: int = 0
    again: int = 0
    """parts that were made again by the same driver after the death of their worker"""
    may_again: int = 0
    unnamed: int = 0
    """outputs and pieces that were published, but in no ledger when their driver was killed"""
    slow_to_go: list[str] = field(default_factory=list[str])
    """processes of killed drivers that were still there a moment after the last run had ended"""

    def add(self, other: Killed) -> None:
        for name in ("workers", "drivers", "runs", "roots", "again", "may_again", "unnamed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.slow_to_go += other.slow_to_go


def draw_moments(chance: random.Random, commits: int, workers: int, drivers: int) -> list[tuple[int, str]]:
    """(commits, whom to kill) in order, each at least one commit after the one before."""
    count = min(workers + drivers, commits - 2)
    whom = ["driver"] * drivers + ["worker"] * (count - drivers)
    chance.shuffle(whom)
    return list(zip(sorted(chance.sample(range(1, commits - 1), count)), whom, strict=True))


def disturb(
    subject: Subject, out: Path, moments: list[tuple[int, str]], sizes: tuple[int, ...], chance: random.Random
) -> tuple[Killed, Watch]:
    """Runs one command again and again until it ends by itself, killing at the moments that were drawn."""
    kind, commits = subject.kind, subject.commits
    watch, killed, last, waiting = Watch(out), Killed(roots=1), 0, list(moments)
    temp = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: sockets lie in it
    while True:
        driver = kind.farm.start(*kind.args(out, chance.choice(sizes), chance), env={"TMPDIR": str(temp)})
        killed.runs += 1
        while waiting and watch.until(max(waiting[0][0], last + 1), driver):
            if waiting[0][1] == "driver" and driver.poll() is None:
                watch.kill(driver)
                killed.drivers += 1
                unnamed = check_kept(watch)
                assert unnamed <= UNNAMED, "only what was in flight is made again"
                killed.unnamed += unnamed
            elif waiting[0][1] == "worker" and kill_an_actor(driver, chance.choice):
                killed.workers += 1
                killed.may_again += 4 + max(0, commits - len(watch.entries)) // 2
            elif driver.poll() is None:
                time.sleep(0.05)  # all workers are being replaced
                continue
            else:
                break
            waiting.pop(0)
            last = watch.look()
            if driver.returncode is not None:
                break
        if driver.returncode != -signal.SIGKILL:
            said = watch.to_end(driver)
            assert driver.returncode == kind.code, said
            assert not list(temp.iterdir()), "temporary files of those that were killed are gone, too"
            temp.rmdir()
            killed.again = sum(int(str(entry["attempts"])) - 1 for entry in watch.entries)
            return killed, watch


def check_kept(watch: Watch) -> int:
    """Whatever is in the ledger is there; returns how many pieces and outputs are there that the ledger lacks."""
    named = {str(entry["output"]) for entry in watch.entries if entry["status"] == "done"}
    paths = [path for path in watch.out.rglob("*") if path.suffix in MADE and "tmp" not in path.parts]
    joined = {str(entry["key"]).partition("/")[0] for entry in watch.entries if "/" not in str(entry["key"])}
    lost = {url for url in named if not Path(url).exists() and Path(url).parent.name not in joined}
    assert lost == set()
    return sum(str(path) not in named for path in paths)


def check(killed: Killed, watch: Watch, undisturbed: Path) -> list[str]:
    """Nothing is lost, doubled, changed or left behind; returns processes of killed drivers that took long to end."""
    check_identical(watch.out, undisturbed)
    assert max(watch.done().values()) == 1, "what the ledger has is not made again"
    blamed = [entry for entry in watch.entries if entry.get("error") in ("worker_died", "timeout", "out_of_memory")]
    assert blamed == [], "no innocent item is given up"
    assert killed.again <= killed.may_again, "only what was in the hands of who was killed is made again"
    check_clean(watch.out)
    return check_gone(watch.family, ORPHANS_S)


def test_killed_workers_and_drivers_change_nothing(
    name: str, subjects: Subjects, make_picture: Make, tmp_path: Path, trials: int, chance: random.Random, note: Note
) -> None:
    subject = subjects(name, make_picture)
    for film in subject.undisturbed.rglob("film_4x.mp4"):
        assert [frame_number(pixels) for pixels in Probe(film).rgb()] == list(range(FILM_FRAMES))
    sizes = WORKERS if trials else FEW_WORKERS
    workers = -(-trials // len(KINDS)) if trials else 3
    drivers = -(-workers // 4)
    all_ = Killed()
    while all_.workers < workers or all_.drivers < drivers:
        few = min(WORKER_KILLS, max(0, workers - all_.workers)), min(DRIVER_KILLS, max(0, drivers - all_.drivers))
        moments = draw_moments(chance, subject.commits, *few)
        killed, watch = disturb(subject, tmp_path / f"out{all_.roots}", moments, sizes, chance)
        killed.slow_to_go = check(killed, watch, subject.undisturbed)
        all_.add(killed)
        note(kind=name, commits=subject.commits, **vars(killed))
        shutil.rmtree(watch.out)
    note(kind=name, all=vars(all_), wanted=(workers, drivers))
