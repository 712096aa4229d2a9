"""kill -9 of actors and drivers, and signals: outputs are those of an undisturbed run, and nothing is partial."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ..runs import Farm, actors_of, files, identity

Make = Callable[..., Path]
PICTURES = 24


def wait_for_outputs(out: Path, count: int, driver: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while len(files(out) - {"results.parquet"}) < count:
        assert time.monotonic() < until, "the run does not get on"
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)


def stop_and_check(driver: subprocess.Popen[str], signum: signal.Signals = signal.SIGTERM) -> None:
    """A signal ends a run within 10 s, with 128 + its number and no process of it left."""
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signum)
    asked = time.monotonic()
    _, err = driver.communicate(timeout=30)
    taken_s = time.monotonic() - asked
    assert driver.returncode == 128 + signum, err
    assert "Traceback" not in err
    assert "run the same command again to finish" in err
    assert taken_s < 10
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "no orphan process"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("source")


@pytest.fixture
def undisturbed(slow_farm: Farm, make_picture: Make, source: Path) -> list[tuple[object, ...]]:
    """The identity of a run that nothing happened to; made once."""
    out = source.parent / "undisturbed"
    if not out.exists():
        for index in range(PICTURES):
            make_picture(source / f"{index:02d}.png", 120 + index, 160, seed=index)
        done = slow_farm.submit(source, out)
        assert done.returncode == 0, done.stderr
    return identity(out)


def test_killed_actors_change_nothing(
    slow_farm: Farm, source: Path, undisturbed: list[tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    random_ = random.Random(7)
    driver = slow_farm.start(*slow_farm.submit_args(source, out))
    for wanted in (3, 9):
        wait_for_outputs(out, wanted, driver)
        victims = actors_of(driver)
        assert victims, "no actor found to kill"
        os.kill(random_.choice(victims), signal.SIGKILL)
    _, err = driver.communicate(timeout=150)
    assert driver.returncode == 0, err
    assert identity(out) == undisturbed
    assert not list((out / ".farm" / "tmp").rglob("*.*"))


def test_a_killed_driver_is_resumed_by_the_same_command(
    slow_farm: Farm, source: Path, undisturbed: list[tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = slow_farm.start(*slow_farm.submit_args(source, out))
    wait_for_outputs(out, 5, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    done_before = len(files(out))
    again = slow_farm.submit(source, out)
    assert again.returncode == 0, again.stderr
    assert "done before" in again.stderr
    assert done_before >= 5
    assert identity(out) == undisturbed
    assert {name for name in files(out) if not name.endswith(("_4x.png", "results.parquet"))} == set()


def test_an_interrupt_ends_within_ten_seconds_and_loses_nothing(
    slow_farm: Farm, source: Path, undisturbed: list[tuple[object, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    driver = slow_farm.start(*slow_farm.submit_args(source, out))
    wait_for_outputs(out, 2, driver)
    stop_and_check(driver)
    again = slow_farm.submit(source, out)
    assert again.returncode == 0, again.stderr
    assert identity(out) == undisturbed


@pytest.mark.parametrize(
    ("signum", "after_s"),
    [
        *((signal.SIGTERM, after_s) for after_s in (1.0, 1.5, 3.0, 4.5)),
        *((signal.SIGINT, after_s) for after_s in (1.0, 2.0, 2.5, 3.5, 6.0)),
    ],
)
def test_an_interrupt_while_ray_starts_is_the_same(
    slow_farm: Farm, source: Path, undisturbed: object, tmp_path: Path, signum: signal.Signals, after_s: float
) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: sockets lie in it
    driver = slow_farm.start(*slow_farm.submit_args(source, tmp_path / "out"), env={"TMPDIR": str(scratch)})
    time.sleep(after_s)
    stop_and_check(driver, signum)
    assert not list(scratch.iterdir())
    scratch.rmdir()


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
            stop_and_check(driver, signal.SIGINT)
    assert files(tmp_path / "farm-out") == set()


def test_a_second_run_meets_the_lock(slow_farm: Farm, source: Path, undisturbed: object, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = slow_farm.start(*slow_farm.submit_args(source, out))
    wait_for_outputs(out, 1, driver)
    started = time.monotonic()
    second = slow_farm.submit(source, out)
    assert second.returncode == 75, second.stderr
    assert time.monotonic() - started < 2
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=30)
    assert driver.returncode == 130
