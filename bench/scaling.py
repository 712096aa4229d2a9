"""What more workers bring: the real network on this machine's cores, and workers that only wait, as many as it bears.

    python bench/scaling.py network --media DIR [--most 2]
    python bench/scaling.py timed [--workers 1 4 16 64]

network: `farm submit` of the same pictures with 1..N one-thread workers. The rate counts from the first picture that is
done to the last, as the run itself says it (--json), so without its start. The limit is what the cores give: as many
bare processes, each with a network on a core of its own and nothing else, together.

timed: the engine and the schedule on a real Ray, with actors that take ROW_S for a row and compute nothing. Of a window
of seconds, from when all are there, the share that they were at work; the limit is 100 %. Also: what a call, and an
answer that is waited for, take of the driver, which bench/fleet.py counts with.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips
from fleet import MODEL, PX, Rows, slots  # beside this file
from recorded import Figures, keep, machine, table

ROOT = Path(__file__).parent.parent
MEDIA = ("Blake_Lively.jpg", "OST_009.png", "painting.png", "building.png")
PICTURES, WIDTH, HEIGHT = 24, 512, 384
ROW_S, UNIT_S = 0.05, 2.0
WINDOW_S = 20.0


# -- the real network ------------------------------------------------------------------------------------------------


def pictures(media: Path, folder: Path) -> None:
    """The same few photographs, at one size, again and again."""
    folder.mkdir()
    found = [media / name for name in MEDIA if (media / name).exists()]
    for index in range(PICTURES):
        image = pyvips.Image.thumbnail(str(found[index % len(found)]), WIDTH, height=HEIGHT, size="force")
        image.colourspace("srgb")[:3].cast("uchar").write_to_file(str(folder / f"{index:02d}.jpg"), Q=95)


def farm_rate(source: Path, out: Path, workers: int, model: str) -> float:
    """Megapixels a second of a run with so many workers, between its first and its last picture."""
    words = ("submit", source, "--out", out, "--model", model, "--gpus", "0", "--workers", workers, "--json")
    words = (*words, "--format", "jpg", "--pin-cores")
    ran = subprocess.run(
        [sys.executable, "-m", "farm", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
    )
    rows = [line for line in map(json.loads, ran.stdout.splitlines()) if line["event"] == "row"]
    first, last = rows[workers - 1], rows[-1]  # when each worker has loaded its model
    return sum(row["px"] for row in rows[workers:]) / (last["at_s"] - first["at_s"]) / 1e6


def bare_rates(processes: int, model: str) -> float:
    """Megapixels a second of so many processes together that only call the network, on a window that fits the cache."""
    made = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_network.py")), str(core), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in range(processes)
    ]
    for one in made:
        assert one.stdout
        one.stdout.readline()  # it is ready
    for one in made:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    return sum(float(one.communicate()[0]) for one in made)


def measure_network(most: int, model: str, media: Path) -> Figures:
    found: dict[str, dict[str, float]] = {"farm": {}, "bare": {}}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        pictures(media, source)
        for workers in range(1, most + 1):
            found["bare"][str(workers)] = bare_rates(workers, model)
            found["farm"][str(workers)] = farm_rate(source, Path(name) / f"out{workers}", workers, model)
    return {"kind": "network", "model": model, "megapixels_s": found}


def shown_network(found: Figures) -> str:
    farm, bare = found["megapixels_s"]["farm"], found["megapixels_s"]["bare"]
    head = (
        "workers",
        "farm, source MP/s",
        "times one",
        "bare network, MP/s",
        "times one",
        "farm's gain by the bare one's",
    )
    rows = []
    for count in farm:
        gain, bound = farm[count] / farm["1"], bare[count] / bare["1"]
        rows.append(
            (count, f"{farm[count]:.4f}", f"{gain:.2f}", f"{bare[count]:.4f}", f"{bound:.2f}", f"{gain / bound:.1%}")
        )
    return table(head, rows)


# -- workers that only wait ------------------------------------------------------------------------------------------


@dataclass
class Waited:
    """As much of a Done as is looked at here."""

    part_id: str
    source_px: int
    infer_s: float
    begun_unix: float
    ended_unix: float


class Waiter:
    """In place of farm.worker.Worker: rows take their time, one after the other."""

    def __init__(self, context: Any) -> None:
        self._name = context.name
        self._lane = threading.Lock()

    def info(self) -> Any:
        from farm.worker import WorkerInfo

        return WorkerInfo(name=self._name, node="n", pid=os.getpid(), device="cpu")

    def run(self, unit: Any) -> tuple[Waited, ...]:
        with self._lane:
            begun = time.time()
            time.sleep(sum(part.cost_px for part in unit.parts) / PX * ROW_S)
            ended = time.time()
        each_s = (ended - begun) / len(unit.parts)
        return tuple(
            Waited(part.part_id, part.cost_px, each_s, begun + at * each_s, begun + (at + 1) * each_s)
            for at, part in enumerate(unit.parts)
        )

    def stop(self) -> None:
        """Nothing goes on."""


class Clock:
    """The real one."""

    monotonic = staticmethod(time.monotonic)


def measure_timed(workers: int) -> Figures:
    """One Ray with so many of them, from start to end."""
    import ray

    from farm import engine
    from farm.engine import Engine, EngineConfig
    from farm.schedule import Pace, Schedule, SchedulePolicy

    pace = Pace(floors_px_s={MODEL: 1000.0}, unit_s=UNIT_S, cap_px=4_194_304)
    schedule = Schedule(SchedulePolicy(), pace)
    config = EngineConfig(
        address=None,
        embedded_cpus=max(workers, 2),
        embedded_gpus=0,
        wait_s=600.0,
        min_workers=0,
        deadline_s=pace.deadline_s,
    )
    engine._RemoteWorker = ray.remote(Waiter)
    engine._START_LIMIT_S = 600.0
    driven = Engine(config, slots(workers), schedule)
    driven.session._at_first = None  # these load no torch
    begun_s = time.monotonic()
    window: list[float] = []
    cpu: list[float] = []

    def supply() -> Iterator[Any]:
        """Rows until the window is over, which begins when all workers are there."""
        for part in Rows(10**9, Clock()).parts():  # type: ignore[arg-type]
            now = time.time()
            if not window and schedule.workers == workers and pace.rate(part.item.params.resident):
                window.extend((now + 2 * UNIT_S, now + 2 * UNIT_S + WINDOW_S))
            if window and not cpu and now >= window[0]:
                cpu.append(time.process_time())
            if window and now >= window[1]:
                cpu.append(time.process_time())
                return
            yield part

    intervals: list[tuple[float, float]] = []
    with driven:
        for finished in driven.run(supply()):
            outcome: Any = finished.outcome
            pace.observe(finished.part, outcome.source_px, outcome.infer_s)
            intervals.append((outcome.begun_unix, outcome.ended_unix))
        waits = _waits(driven) if workers == 1 else {}
    first, last = window
    worked = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in intervals)
    rows = sum(first <= end < last for _, end in intervals)
    return {
        "workers": workers,
        "rows_s": rows / WINDOW_S,
        "busy": worked / (workers * WINDOW_S),
        "driver": (cpu[-1] - cpu[0]) / WINDOW_S,
        "until_all_there_s": window[0] - 2 * UNIT_S - (time.time() - (time.monotonic() - begun_s)),
        "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        **waits,
    }


def _waits(driven: Any) -> Figures:
    """Seconds of the driver for a call of a unit, and for a reference that ray.wait looks at."""
    import ray

    handle = next(iter(driven._actors.values())).handle
    begun_s = time.perf_counter()
    references = [handle.info.remote() for _ in range(500)]
    ray.get(references)
    call_s = (time.perf_counter() - begun_s) / 500
    part = next(Rows(1, Clock()).parts())  # type: ignore[arg-type]
    from farm.records import Unit

    lasting = Unit(unit_id=0, parts=(part,) * 60)
    pending = [handle.run.remote(lasting) for _ in range(2000)]
    took = []
    for _ in range(50):
        begun_s = time.perf_counter()
        ray.wait(pending, num_returns=1, timeout=0)
        took.append(time.perf_counter() - begun_s)
    return {"call_s": call_s, "reference_s": statistics.median(took) / len(pending)}


def shown_timed(found: Figures) -> str:
    head = (
        "workers",
        "rows a second",
        "limit",
        "share",
        "at work (limit 100 %)",
        "driver, of a core",
        "all there after, s",
    )
    rows = []
    for one in found["runs"]:
        limit = one["workers"] / ROW_S
        figures = (f"{one['rows_s']:.1f}", f"{limit:.0f}", f"{one['rows_s'] / limit:.1%}", f"**{one['busy']:.1%}**")
        rows.append((str(one["workers"]), *figures, f"{one['driver']:.1%}", f"{one['until_all_there_s']:.1f}"))
    costs = next(one for one in found["runs"] if "call_s" in one)
    said = f"a call: {costs['call_s'] * 1e6:.0f} us; ray.wait: {costs['reference_s'] * 1e6:.2f} us a reference, of 2000"
    return f"{table(head, rows)}\n\n{said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    network = commands.add_parser("network")
    network.add_argument("--most", type=int, default=os.cpu_count())
    network.add_argument("--model", default=MODEL)
    network.add_argument("--media", type=Path, required=True)
    timed = commands.add_parser("timed")
    timed.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    one = commands.add_parser("one")  # a process for each, so that no Ray knows of another
    one.add_argument("workers", type=int)
    arguments = parser.parse_args()
    if arguments.command == "one":
        print(json.dumps(measure_timed(arguments.workers)))
        return
    if arguments.command == "network":
        found = {**machine("ray", "torch"), **measure_network(arguments.most, arguments.model, arguments.media)}
        print(shown_network(found))
    else:
        runs = []
        for workers in arguments.workers:
            asked = [sys.executable, __file__, "one", str(workers)]
            said = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout
            runs.append(json.loads(said.splitlines()[-1]))
        found = {**machine("ray"), "kind": "timed", "row_s": ROW_S, "unit_s": UNIT_S, "runs": runs}
        print(shown_timed(found))
    keep("scaling", found)


if __name__ == "__main__":
    main()
