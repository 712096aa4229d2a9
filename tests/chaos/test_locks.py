"""One run at a time (R9): of many that start at once exactly one works, and a dead one is followed without a hand.

With --trials N: N rounds on a disk, N / 4 on a store.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.lock import RunLock, holds
from farm.lock import lease as leases
from farm.lock.lease import epochs
from tests.farm.test_lock import line, start
from tests.farm.test_lock_lease import can_be_had
from tests.stores import Store, opened
from tests.waiting import wait_for

from .record import Note

MANY = 20
TOLD_S = 2.0
LEASE_S = 6.0
"""of 2 s a holder may lose it on a busy machine: it is to be renewed in three quarters of that"""
SLACK_S = 4.0
"""to ask the store, on a busy machine; one of it is what the store rounds ages by"""
EIGHT = """
import os, sys, time

def say(*words):  # a line is one write, whatever PYTHONUNBUFFERED says: eight processes share the pipe
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

import s3fs, aiobotocore.session  # once for all of them: they take a second of processor time each
from farm.errors import BusyError
from farm.lock import RunLock
for _ in range(8):
    if os.fork() == 0:
        try:
            lock = RunLock(sys.argv[1]).__enter__()
        except BusyError as error:
            say("busy", os.getpid(), error)
            os._exit(error.exit_code)
        say("held", os.getpid(), lock.run)
        time.sleep(600)
for _ in range(8):
    os.wait()
"""


def test_of_twenty_at_once_exactly_one_works(tmp_path: Path, trials: int, chance: random.Random, note: Note) -> None:
    """And kill -9 of that one frees the lock for the next at once."""
    slowest_s = 0.0
    for _ in range(trials or 1):
        processes = [start(tmp_path) for _ in range(chance.randint(2, MANY) if trials else MANY)]
        lines = [line(process) for process in processes]
        (held,) = (one for one in lines if one.startswith("held"))
        busy = [one for one in lines if one.startswith("busy")]
        assert len(busy) == len(lines) - 1, lines
        run = held.split()[1]
        assert all(run in one for one in busy)
        slowest_s = max(slowest_s, *(float(one.split()[1]) for one in busy))
        processes[lines.index(held)].kill()
        for process in processes:
            process.communicate()
        assert sorted(process.returncode for process in processes) == [-signal.SIGKILL] + [75] * len(busy)
        with RunLock(str(tmp_path)) as lock:
            assert not holds(str(tmp_path), run)
            assert holds(str(tmp_path), lock.run)
    assert slowest_s < TOLD_S, "each is told at once, however long all of them take to load"
    note(rounds=trials or 1, slowest_told_s=round(slowest_s, 3))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv(leases.VARIABLE, f"{LEASE_S}")
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.s3
def test_of_eight_at_once_exactly_one_works_and_a_killed_one_is_followed_when_its_lease_ends(
    store: Store, trials: int, note: Note
) -> None:
    followed_s = [_follow(store.root) for _ in range(-(-trials // 4) or 1)]
    note(rounds=len(followed_s), followed_s=[round(one, 1) for one in followed_s])


def _follow(root: str) -> float:
    """One round; seconds from the death of the holder until the lock can be had."""
    eight = subprocess.Popen([sys.executable, "-c", EIGHT, root], stdout=subprocess.PIPE, text=True)
    lines = [line(eight) for _ in range(8)]
    (held,) = (one for one in lines if one.startswith("held"))
    busy = [one for one in lines if one.startswith("busy")]
    assert len(busy) == 7, lines
    _, pid, run = held.split()
    assert all(run in one and f"process {pid}" in one for one in busy), lines
    assert holds(root, run)
    time.sleep(1.5 * LEASE_S)
    assert not can_be_had(root), "it is renewed for as long as its holder lives"
    os.kill(int(pid), signal.SIGKILL)
    eight.communicate()
    assert not can_be_had(root), "nobody knows yet that it is dead"
    killed = time.monotonic()
    wait_for(lambda: can_be_had(root), "the lock is free", 20)
    followed_s = time.monotonic() - killed
    assert followed_s < LEASE_S + SLACK_S
    assert len(epochs(root, 10)) == 1, "who followed has removed what was before"
    return followed_s
