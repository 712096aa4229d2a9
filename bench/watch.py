"""A command and everything below it: its wall clock, and the memory of its processes by role."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from figures import mid  # beside this file

ROOT = Path(__file__).parent.parent


def is_actor(title: str) -> bool:
    """Whether a process of that title is one of ours that Ray has started."""
    return title.startswith("ray::") and "IDLE" not in title


class MemoryWatch(threading.Thread):
    """Samples the resident memory of a process and everything below it, by role."""

    def __init__(self, pid: int, period_s: float = 1.0) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._period_s = period_s
        """looking through all processes at 5 Hz costs several per cent of a core"""
        self._over = threading.Event()
        self.peaks_mb: dict[str, float] = {}

    def run(self) -> None:
        while not self._over.wait(self._period_s):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self._look(family)

    def _look(self, family: list[psutil.Process]) -> None:
        for process in family:
            self._sample(process)

    def _sample(self, process: psutil.Process) -> None:
        try:
            role = self._role(process)
            if role is not None:
                rss_mb = process.memory_info().rss / 1e6
                self.peaks_mb[role] = max(self.peaks_mb.get(role, 0.0), rss_mb)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return

    def _role(self, process: psutil.Process) -> str | None:
        """driver (what was started), actor, ffmpeg, or None for what else Ray starts."""
        if process.pid == self._root.pid:
            return "driver"
        title = " ".join(process.cmdline()[:1])
        if is_actor(title):
            return "actor"
        return "ffmpeg" if os.path.basename(title) == "ffmpeg" else None

    def stop(self) -> dict[str, float]:
        self._over.set()
        self.join()
        return self.peaks_mb


@dataclass(frozen=True, kw_only=True)
class Worked:
    """What the workers took of the processor meanwhile."""

    wall_s: float
    lane_s: float
    """processor seconds of the threads that call the network, one a worker: the busiest"""
    others_s: float
    """of all their other threads: decode, encode, publish, and what Ray has in there"""

    def wall_by(self, workers: int) -> float:
        """The wall clock by all of it over the cores, of which every worker has one."""
        return self.wall_s * workers / (self.lane_s + self.others_s)


def worked_table(rows: Mapping[str, tuple[int, Sequence[Worked]]]) -> list[str]:
    """Processor seconds that so many workers took in runs, whatever else slowed the machine down meanwhile."""
    lines = [
        "| in the run itself | wall s | lanes' processor s | other threads' | wall by their sum over the cores |",
        "|---|---|---|---|---|",
    ]
    for name, (workers, runs) in rows.items():
        if runs:
            parts = [[getattr(one, part) for one in runs] for part in ("wall_s", "lane_s", "others_s")]
            cells = [*map(mid, parts), mid([one.wall_by(workers) for one in runs])]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "The lane is the thread that runs the network and all else on pixels; the others decode and encode.",
    ]


class FilmWatch(MemoryWatch):
    """Also tells when a worker first had a local file open: a ledger says when parts ended, not when they began."""

    LOOK_S = 0.1

    def __init__(self, pid: int, film: Path, period_s: float = 1.0) -> None:
        super().__init__(pid, period_s)
        self._film = str(film.resolve())
        self.opened_unix: float | None = None
        """when no worker had it open yet, at most LOOK_S before one had"""
        self.worked: Worked | None = None
        """since then, as of the last look"""

    def run(self) -> None:
        looked = time.time()
        while not self._over.wait(self.LOOK_S):
            now = time.time()
            if any(self._holds(process) for process in self._family()):
                self.opened_unix = looked
                break
            looked = now
        self._begun = time.time(), self._threads()
        super().run()

    def _look(self, family: list[psutil.Process]) -> None:
        super()._look(family)
        started, before = self._begun
        now = {thread: seconds - before.get(thread, 0.0) for thread, seconds in self._threads().items()}
        if not now or len({pid for pid, _ in now}) < len({pid for pid, _ in before}):
            return  # the workers are going
        lanes = {pid: max(seconds for (of, _), seconds in now.items() if of == pid) for pid, _ in now}
        lane_s = sum(lanes.values())
        self.worked = Worked(wall_s=time.time() - started, lane_s=lane_s, others_s=sum(now.values()) - lane_s)

    def _threads(self) -> dict[tuple[int, int], float]:
        """Processor seconds of every thread of the workers."""
        seconds: dict[tuple[int, int], float] = {}
        for process in self._family():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if self._role(process) == "actor":
                    seconds |= {(process.pid, one.id): one.user_time + one.system_time for one in process.threads()}
        return seconds

    def _family(self) -> list[psutil.Process]:
        try:
            return self._root.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _holds(self, process: psutil.Process) -> bool:
        try:
            if self._role(process) != "actor":
                return False
            return any(file.path == self._film for file in process.open_files())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def start(command: list[str]) -> subprocess.Popen[str]:
    """A command of ours that finds the farm and decides itself how many threads it takes."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    """Standard output of a command that was started; its failure is ours."""
    out, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{process.args} ended with {process.returncode}: {said[-1000:]}")
    return out


def watched(command: list[str]) -> tuple[str, float, dict[str, float]]:
    """Standard output, wall seconds and memory of a command; its failure is ours."""
    started = time.perf_counter()
    process = start(command)
    watch = MemoryWatch(process.pid)
    watch.start()
    out = finish(process)
    wall_s = time.perf_counter() - started
    return out, wall_s, watch.stop()
