"""From `farm submit one.jpg` to the written file, cold; and when all is done already. Where the time goes.

    python bench/startup.py [--runs 5] [--model box] [--weights DIR] [--farm FOLDER] [--note TEXT] [--no-limits]

One small picture, a new output root each time, so that Ray, a worker and the model start from nothing; files that the
system has read lately it has in memory. Half of the runs are plain and give the wall clock; the other half tell when
they do what (in_workers/, on PYTHONPATH) and give the parts. Parts that run at the same time overlap.

--farm: a folder that holds another version of farm and sr_kernel, to compare.

Exit code 1 where the file is written, or a finished run has ended, later than it should be, by the medians.

The physical limit: what one process takes to load ray and torch, one after the other, plus what restoring took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyvips
from limits import COLD_LIMIT_S, Limit, add_flag, exit_code  # beside this file
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import Figures, keep, machine, table

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 128, 96
DONE_LIMIT_S = 3.0
Event = tuple[int, str, str, float]


def picture(folder: Path) -> Path:
    """A small photograph-like one."""
    path = folder / "one.jpg"
    noise = pyvips.Image.gaussnoise(WIDTH // 8, HEIGHT // 8, mean=128, sigma=60, seed=1)
    smooth = noise.resize(8, kernel="cubic").cast("uchar")
    smooth.bandjoin([smooth.rot180(), smooth.flip("horizontal")]).copy(interpretation="srgb").write_to_file(str(path))
    return path


class Bench:
    """Runs the command."""

    def __init__(self, folder: Path, farm: Path, model: str, weights: str | None) -> None:
        self._folder, self._model = folder, model
        self._out = folder / "out"
        self._picture = picture(folder)
        self._env = {**os.environ, "PYTHONPATH": str(farm), "RAY_USAGE_STATS_ENABLED": "0"}
        self._farm = farm
        if weights:
            self._env["FARM_WEIGHTS_DIR"] = weights

    def run(self, *, probe: Path | None = None) -> tuple[float, float]:
        """Seconds of the command, and until the output was written (all of it where it was there before)."""
        env = dict(self._env)
        if probe is not None:
            env |= {"FARM_PROBE": str(probe), "PYTHONPATH": f"{Path(__file__).parent / 'in_workers'}:{self._farm}"}
        words = ("submit", self._picture, "--model", self._model, "--out", self._out, "--gpus", "0")
        begun_s, begun_unix = time.perf_counter(), time.time()
        subprocess.run([sys.executable, "-m", "farm", *map(str, words)], env=env, check=True, capture_output=True)
        whole_s = time.perf_counter() - begun_s
        return whole_s, next(self._out.glob("one*.jpg")).stat().st_mtime - begun_unix

    def cold(self, *, probe: Path | None = None) -> tuple[float, float]:
        shutil.rmtree(self._out, ignore_errors=True)
        return self.run(probe=probe)

    def parts(self) -> dict[str, float]:
        """Of one run that tells."""
        probe = self._folder / "probe"
        probe.unlink(missing_ok=True)
        begun_unix = time.time()
        self.cold(probe=probe)
        ended_unix = time.time()
        events: list[Event] = [tuple(json.loads(line)) for line in probe.read_text("utf-8").splitlines()]
        return parts_of(events, begun_unix, ended_unix)


def parts_of(events: list[Event], begun: float, ended: float) -> dict[str, float]:
    """Seconds of each part, and of what follows what."""
    driver = events[0][0]
    worker = next(pid for pid, what, point, _ in events if what == "Worker.__init__" and point == "begin")

    def at(pid: int, what: str, point: str) -> float:
        return next(when for one, name, where, when in events if (one, name, where) == (pid, what, point))

    def span(pid: int, what: str) -> float:
        return at(pid, what, "end") - at(pid, what, "begin")

    connected = at(driver, "Session.connect", "end")
    ran = at(worker, "Worker.run", "end")
    return {
        "command: interpreter": at(driver, "interpreter", "begin") - begun,
        "command: its own imports": span(driver, "import farm.cli") + span(driver, "import farm.begin"),
        "command: import ray": span(driver, "import ray"),
        "command: manifest, plan, lock": at(driver, "Session.connect", "begin")
        - at(driver, "run_locked", "begin")
        - span(driver, "import ray"),
        "Ray starts": span(driver, "Session.connect"),
        "worker: from its interpreter to the actor's first line": at(worker, "Worker.__init__", "begin")
        - at(worker, "interpreter", "begin"),
        "worker: import torch": span(worker, "import torch"),
        "worker: made, torch not counted twice": max(
            0.0,
            at(worker, "Worker.__init__", "end")
            - max(at(worker, "Worker.__init__", "begin"), at(worker, "import torch", "end")),
        ),
        "worker: model loaded": span(worker, "ModelLoader.__call__"),
        "worker: the picture, model not counted twice": span(worker, "Worker.run")
        - span(worker, "ModelLoader.__call__"),
        "Ray ends": span(driver, "Session.disconnect"),
        "after the picture, Ray's end included": ended - ran,
        "in a row: until Ray is started": connected - begun,
        "in a row: from there until the worker is there": at(driver, "Actors._await_workers", "end") - connected,
        "in a row: from there until the picture is done": ran - at(driver, "Actors._await_workers", "end"),
        "all": ended - begun,
    }


def bound_s(farm: Path) -> float:
    """Seconds of one process that loads ray and torch and does nothing."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import ray, torch"], env={**os.environ, "PYTHONPATH": str(farm)}, check=True)
    return time.perf_counter() - begun


def measure(arguments: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.farm.resolve(), arguments.model, arguments.weights)
        bench.cold()  # whatever was never read is read now
        cold, written, done = [], [], []
        for _ in range(arguments.runs):
            whole_s, written_s = bench.cold()
            cold.append(whole_s)
            written.append(written_s)
            done.append(bench.run()[0])
        told = [bench.parts() for _ in range(arguments.runs)]
        bound = statistics.median(bound_s(arguments.farm) for _ in range(3))
    parts = {name: statistics.median(one[name] for one in told) for name in told[0]}
    return {"cold_s": cold, "written_s": written, "done_s": done, "parts_s": parts, "bound_s": bound}


def shown(found: Figures) -> str:
    cold, written, done = (statistics.median(found[name]) for name in ("cold_s", "written_s", "done_s"))
    limit = found["bound_s"] + found["parts_s"]["worker: the picture, model not counted twice"]
    spread = ", ".join(f"{one:.2f}" for one in found["cold_s"])
    rows = [
        ("**cold: until the file is written**", f"**{written:.2f}**"),
        (f"cold: until the command has ended ({spread})", f"{cold:.2f}"),
        ("again, all done", f"{done:.2f}"),
        ("limit: ray and torch loaded in one process, and the picture", f"{limit:.2f}"),
        ("written, by the limit", f"{written / limit:.2f}"),
        *((name, f"{seconds:.2f}") for name, seconds in found["parts_s"].items()),
    ]
    return table(("what", "seconds, median"), rows)


def limits(found: Figures) -> list[Limit]:
    written, done = (statistics.median(found[name]) for name in ("written_s", "done_s"))
    return [
        Limit(what="cold: until the file is written, s", found=written, most=COLD_LIMIT_S),
        Limit(what="again, all done, s", found=done, most=DONE_LIMIT_S),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="box")
    parser.add_argument("--weights")
    parser.add_argument("--farm", type=Path, default=ROOT)
    parser.add_argument("--note", default="")
    add_flag(parser)
    arguments = parser.parse_args()
    found = {**machine("ray", "torch"), "model": arguments.model, "note": arguments.note, **measure(arguments)}
    held = limits(found)
    print(shown(found), shown_limits(held), sep="\n\n")
    keep("startup", found | {"limits": kept_limits(held)})
    return exit_code(held, arguments)


if __name__ == "__main__":
    sys.exit(main())
