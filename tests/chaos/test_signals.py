"""Signals at moments drawn at random, from before Ray starts to the last join: a run ends and loses nothing.

With --trials N: N signals over pictures, films, training data and all of them at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..heads import REPOSITORY
from ..runs import Farm, files
from .conftest import Subjects
from .kinds import Subject
from .record import Note
from .watch import Watch, check_clean, check_free, check_gone, check_identical, content, family_of

Make = Callable[..., Path]
pytestmark = pytest.mark.timeout(900)
KINDS = ("mixed", "pictures", "films", "tar")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT_S = 10.0
AT_ONCE_S = 5.0
MET_S = 5.0
"""of it some 2 s of starting Python beside a run, on a slow machine; test_locks.py says how soon one is told then"""
LATE, LATE_S = 0.3, 3.0
"""of what is drawn anywhere: the share that comes when all is committed, and how long after that"""
LISTS = ("sources", "samples", "dataset.json")
"""tables of training data say what failed, so those of a run that goes on may say more"""


@dataclass(frozen=True)
class Plan:
    """When a run is told to stop, and how."""

    signum: signal.Signals
    after_s: float = 0.0
    commits: int = 0
    """of this run; 0 where the time counts from its lock on, else from the last of them on"""
    again: bool = False
    """a second signal follows at once"""
    group: bool = False
    """every process of its group is told, as `timeout`, scancel and `tini -g` do"""

    @property
    def is_late(self) -> bool:
        """Meant for when it joins, compacts, writes results and ends Ray, or for after all that."""
        return self.commits > 0 and self.after_s > 0

    def tell(self, driver: subprocess.Popen[str]) -> None:
        if self.group:
            os.killpg(driver.pid, self.signum)
        else:
            driver.send_signal(self.signum)


def stop(
    driver: subprocess.Popen[str], plan: Plan, is_late: Callable[[], bool] = lambda: False, code: int = 0
) -> float:
    """A signal ends a run within 10 s, with 128 + its number and no process of it left; returns seconds. One that comes
    when all is committed may find the run ended with its own `code`, or no more than a process."""
    family = family_of(driver)
    plan.tell(driver)
    asked = time.monotonic()
    codes = {128 + plan.signum} | ({code, -plan.signum} if is_late() else set[int]())
    if plan.again:
        time.sleep(0.3)
        driver.send_signal(plan.signum)
    _, err = driver.communicate(timeout=60)
    taken_s = time.monotonic() - asked
    assert driver.returncode in codes, err
    assert "Traceback" not in err
    is_told = driver.returncode == 128 + plan.signum and not plan.again
    assert not is_told or "run the same command again to finish" in err
    assert taken_s < (AT_ONCE_S if plan.again else LIMIT_S)
    check_gone(family, 5)
    return taken_s


def check_whole(out: Path, undisturbed: Path) -> None:
    """What a stopped run has published is complete, and nothing else of it is left."""
    wanted = content(undisturbed)
    for name, digest in content(out).items():
        if name.partition("/")[0] not in LISTS:
            assert digest == wanted[name]
    check_free(out)


def until_locked(out: Path, driver: subprocess.Popen[str]) -> None:
    """From here on a signal is heard by the run."""
    end = time.monotonic() + 60
    while not (out / ".farm").exists():
        assert time.monotonic() < end, driver.communicate()
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)


def stop_once(subject: Subject, watch: Watch, plan: Plan, chance: random.Random, temp: Path) -> float:
    """One run that is stopped as planned, and what must be so afterwards; returns the seconds that it took to end.

    `watch`: of all runs so far. `temp`: its temporary folder. What a run leaves there that is told twice goes with the
    next run.
    """
    kind, out = subject.kind, watch.out
    before, lines = len(content(out)), watch.look()
    driver = kind.farm.start(*kind.args(out, 2, chance), env={"TMPDIR": str(temp)}, leads=plan.group)
    until_locked(out, driver)

    def is_late() -> bool:
        return watch.look() >= subject.commits

    if plan.commits:
        if not watch.until(lines + plan.commits, driver):
            driver.communicate(timeout=60)
            assert driver.returncode == kind.code
            assert not list(temp.iterdir()), "temporary files are gone"
            return 0.0  # it was over before
        if not (plan.again or plan.is_late or plan.group):
            meet_the_lock(kind.farm, kind.args(out, 2), is_late)
    moment = time.monotonic() + plan.after_s
    while time.monotonic() < moment:
        watch.look(driver)  # its ledger is compacted when all is committed
        time.sleep(0.01)
    taken_s = stop(driver, plan, is_late, kind.code)
    if not plan.again:
        assert not list(temp.iterdir()), "temporary files are gone"
        check_whole(out, subject.undisturbed)
    assert len(content(out)) >= before
    return taken_s


def finish(subject: Subject, watch: Watch, chance: random.Random, temp: Path) -> None:
    """The next run is not disturbed, and leaves nothing of those before."""
    driver = subject.kind.farm.start(*subject.kind.args(watch.out, 2, chance), env={"TMPDIR": str(temp)})
    said = watch.to_end(driver)
    assert driver.returncode == subject.kind.code, said
    check_identical(watch.out, subject.undisturbed)
    check_clean(watch.out)
    assert not list(temp.iterdir()), "nor of Ray"


@pytest.fixture(autouse=True)
def hears_hangups() -> Iterator[None]:
    """Runs of these tests do, also where the tests themselves do not: under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def temp() -> Iterator[Path]:
    """A temporary folder with a short name: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def meet_the_lock(farm: Farm, args: tuple[str | Path, ...], is_over: Callable[[], bool]) -> None:
    """While a run works, the same command says so, and soon: both cores are busy as it starts."""
    started = time.monotonic()
    second = farm.run(*args)
    assert second.returncode == 75 or is_over(), second.stderr
    assert second.returncode != 75 or time.monotonic() - started < MET_S


def draw(chance: random.Random, moment: int, left: int, *, anywhere: bool) -> Plan:
    """A signal while Ray starts, one while work is done, and one that is repeated at once, in turns. `left`: commits
    that are to come. `anywhere`: up to the last of them, and often behind it; else early."""
    signum = chance.choice(SIGNALS)
    if moment % 3 == 0:
        return Plan(signum, after_s=chance.uniform(0, 6 if anywhere else 3))
    if anywhere and chance.random() < LATE:
        return Plan(signum, commits=max(1, left), after_s=chance.uniform(0.01, LATE_S), again=moment % 3 == 2)
    return Plan(signum, commits=chance.randint(1, max(1, left if anywhere else left // 8)), again=moment % 3 == 2)


def test_a_signal_ends_a_run_within_ten_seconds_and_loses_nothing(
    subjects: Subjects,
    make_picture: Make,
    tmp_path: Path,
    temp: Path,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    for at in range(-(-(trials or 3) // 3)):
        subject = subjects(KINDS[at % len(KINDS)], make_picture)
        watch = Watch(tmp_path / f"out{at}")
        plans: list[Plan] = []
        seconds: list[float] = []
        for moment in range(3):
            left = subject.commits - watch.look()
            plans.append(draw(chance, moment, left, anywhere=trials > 0))
            seconds.append(round(stop_once(subject, watch, plans[-1], chance, temp), 1))
        finish(subject, watch, chance, temp)
        note(kind=subject.kind.name, plans=[str(plan) for plan in plans], ended_s=seconds)


def test_a_terminal_that_is_gone_ends_a_run_as_a_signal_does(
    slow_farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    """Every process of its session hears it, and what is said to it fails; the lines of the live view are."""
    out, rows = tmp_path / "out", 40
    for at in range(rows):
        make_picture(tmp_path / f"in/{at:02d}.png", 160, 160, seed=at)
    args = slow_farm.submit_args(tmp_path / "in", out, "--workers", "2")
    ours, theirs = pty.openpty()
    driver = subprocess.Popen(
        [sys.executable, "-m", "farm", *map(str, args)],
        cwd=REPOSITORY,
        env=slow_farm.variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        text=True,
    )
    os.close(theirs)
    said = b""
    until_locked(out, driver)
    while len(list(out.glob("*.png"))) < 4:
        said += os.read(ours, 4096)
    assert b"busy" in said
    family, asked = family_of(driver), time.monotonic()
    assert family
    os.close(ours)
    assert driver.wait(60) == 128 + signal.SIGHUP
    assert time.monotonic() - asked < LIMIT_S
    check_gone(family, 5)
    check_free(out)
    made = content(out)
    assert 4 <= len(made) < rows
    (note,) = (json.loads(path.read_text()) for path in (out / ".farm/runs").iterdir())
    assert (note["exit_code"], note["done"], note["left"]) == (129, len(made), rows - len(made))
    again = slow_farm.run(*args)
    assert again.returncode == 0, again.stderr
    assert content(out).items() >= made.items()


@pytest.mark.parametrize("commits", [0, 3])
def test_a_signal_to_the_whole_process_group_is_one_to_the_run(
    subjects: Subjects,
    make_picture: Make,
    tmp_path: Path,
    temp: Path,
    chance: random.Random,
    note: Note,
    commits: int,
) -> None:
    """While Ray starts, and while there is work: Ray's processes must not go before the run does."""
    subject, watch = subjects("mixed", make_picture), Watch(tmp_path / "out")
    plan = Plan(signal.SIGTERM, after_s=0 if commits else chance.uniform(1, 4), commits=commits, group=True)
    taken_s = stop_once(subject, watch, plan, chance, temp)
    finish(subject, watch, chance, temp)
    note(plan=str(plan), ended_s=round(taken_s, 1))


def test_an_interrupt_while_weights_are_fetched_does_not_wait_for_them(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    picture = make_picture(tmp_path / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes every connection and never answers
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}"
        env = {"FARM_WEIGHTS_MIRROR": mirror, "FARM_WEIGHTS_DIR": str(tmp_path)}
        driver = farm.start("submit", picture, "--model", "animevideov3", "--gpus", "0", env=env)
        silent.settimeout(60)
        with silent.accept()[0]:
            time.sleep(0.5)
            stop(driver, Plan(signal.SIGINT))
    assert files(tmp_path / "farm-out") == set()
