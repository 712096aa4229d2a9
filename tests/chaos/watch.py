"""A run seen from outside while it is disturbed: what it commits, what processes it has, what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import psutil

from farm import lock

from ..runs import actors_of, identity, results

FAMILY_EVERY_S = 0.3
WORKING = "ray::Worker.run"
MOMENT_S = 3.0
PATIENCE_S = 150.0
"""without a commit, before a run is said to hang"""


@dataclass
class Watch:
    """The ledger of an output root, over as many runs as it takes.

    Files of the ledger are kept open from when they are first seen, so that no line is missed although they go when
    their shard is compacted.
    """

    out: Path
    open_files: dict[tuple[str, int], BufferedReader] = field(default_factory=dict[tuple[str, int], BufferedReader])
    entries: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    """every line, in the order in which it was seen; but where rows stand now, which a run notes, is no commit"""
    family: set[psutil.Process] = field(default_factory=set[psutil.Process])
    """every process that a run has ever started, by descent"""
    _rest: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])
    _looked_s: float = 0.0

    def look(self, driver: subprocess.Popen[str] | None = None) -> int:
        """How many commits there are: lines that say what is done or has failed."""
        for path in self.out.glob(".farm/ledger/shard-*/*.jsonl"):
            with suppress(FileNotFoundError):  # its shard is compacted just now
                key = (str(path), path.stat().st_ino)
                if key not in self.open_files:
                    self.open_files[key] = path.open("rb")
        for key, file in self.open_files.items():
            *lines, self._rest[key] = (self._rest.get(key, b"") + file.read()).split(b"\n")
            self.entries += [entry for entry in map(json.loads, lines) if not entry.get("noted_unix")]
        if driver is not None and driver.poll() is None and time.monotonic() - self._looked_s > FAMILY_EVERY_S:
            self._looked_s = time.monotonic()
            self.family |= family_of(driver)
        return len(self.entries)

    def until(self, commits: int, driver: subprocess.Popen[str]) -> bool:
        """Waits for so many commits; False when the run is over first."""
        seen, moved_s = self.look(driver), time.monotonic()
        while seen < commits:
            if driver.poll() is not None:
                return self.look() >= commits
            time.sleep(0.01)
            if (now := self.look(driver)) > seen:
                seen, moved_s = now, time.monotonic()
            assert time.monotonic() - moved_s < PATIENCE_S, "the run does not get on"
        return True

    def to_end(self, driver: subprocess.Popen[str]) -> str:
        """Looks on until the run is over; returns what it said."""
        self.until(1 << 60, driver)
        said = driver.communicate(timeout=30)[1]
        self.look()
        return said

    def kill(self, driver: subprocess.Popen[str]) -> None:
        """kill -9 of the driver, and nothing else."""
        self.family |= family_of(driver)
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate(timeout=60)
        self.look()

    def done(self) -> Counter[str]:
        """How often each item, band and segment was finished."""
        return Counter(str(entry["key"]) for entry in self.entries if entry["status"] == "done")


def family_of(driver: subprocess.Popen[str]) -> set[psutil.Process]:
    try:
        return set(psutil.Process(driver.pid).children(recursive=True))
    except psutil.Error:
        return set()  # it has ended


def kill_an_actor(driver: subprocess.Popen[str], choose: Callable[[list[int]], int]) -> bool:
    """kill -9 of one actor, more often of one that works than of one that starts; False when there is none just now."""
    victims = sorted(actors_of(driver)) if driver.poll() is None else []
    if not victims:
        return False
    working = [pid for pid in victims if title(pid).startswith(WORKING)]
    victims += working * 3
    try:
        os.kill(choose(victims), signal.SIGKILL)
    except ProcessLookupError:
        return False  # it has ended by itself
    return True


def content(out: Path) -> dict[str, str]:
    """Digest of every published file, but of the result manifest, which says times."""
    paths = (path for path in out.rglob("*") if path.is_file() and ".farm" not in path.relative_to(out).parts)
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.name != "results.parquet"
    }


def check_identical(out: Path, undisturbed: Path) -> None:
    """Every output and every row of the result manifest is that of the undisturbed run, in whatever order."""
    made, wanted = content(out), content(undisturbed)
    assert set(made) == set(wanted)
    assert [name for name in wanted if made[name] != wanted[name]] == []
    assert sorted(row[1:] for row in identity(out)) == sorted(row[1:] for row in identity(undisturbed))
    rows = [row["row"] for row in results(out)]
    assert len(rows) == len(set(rows)), "no row twice"


def check_clean(out: Path) -> None:
    """No partial or temporary file, no piece that nobody needs, no staging, no lock that somebody still holds."""
    assert [path for path in (out / ".farm" / "parts").rglob("*") if path.is_file()] == []
    check_free(out)


def check_free(out: Path) -> None:
    """Nothing staged, nothing under a temporary name, and a lock that can be taken: the run has let go of its root."""
    assert [path for path in (out / ".farm" / "tmp").rglob("*") if path.is_file()] == []
    assert [path for path in out.rglob("*") if path.name.endswith((".tmp", ".part", ".partial"))] == []
    with lock.RunLock(str(out)):
        pass  # BusyError where it is stale


def check_gone(family: set[psutil.Process], within_s: float) -> list[str]:
    """No process of a run is left; returns the names of those that took longer than a moment."""
    _, slow = psutil.wait_procs(list(family), timeout=min(MOMENT_S, within_s))
    names = [name for one in slow if (name := title(one.pid))]
    _, alive = psutil.wait_procs(slow, timeout=within_s - min(MOMENT_S, within_s))
    assert not alive, names
    return names


def title(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:80]
    except psutil.Error:
        return ""  # it has ended while we looked
