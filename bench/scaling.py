"""What more workers bring: the real network on this machine's cores, and one that only takes its time.

    python bench/scaling.py --media DIR [--most 2] [--no-limits]
    python bench/scaling.py --stand-in 1,4,16,64 [--no-limits]

`farm submit` of the same pictures with 1..N one-thread workers. The rate counts from when every worker has made one to
when so few are left that some may have none, as the run itself says it (--json), so without its start and its end. The
limit is what the cores give: as many bare processes, each with a network on a core of its own and nothing else,
together. Exit code 1 where two workers make less than 1.9 times what one makes, or where workers that sleep wait.

With --stand-in the network sleeps, as a GPU looks from a processor, so that there can be more workers than cores: real
Ray, real workers, real files. The rate counts from when every worker has made something to when rows run out, and its
limit is the sleep.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyvips
from fleet import MODEL  # beside this file
from limits import TWO_LEAST, Limit, add_flag, exit_code
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import Figures, keep, machine, table

HERE = Path(__file__).parent
MEDIA = ("Blake_Lively.jpg", "OST_009.png", "painting.png", "building.png")
PICTURES, WIDTH, HEIGHT = 24, 512, 384
SLEEP_LEAST = 0.97
STAND_IN_S, STAND_IN_SIZE = 3.0, (96, 72)
"""seconds that a row sleeps, and its size, which is one window"""
STAND_IN_ROWS, STAND_IN_TAIL = 8, 2
"""rows a worker has once all are there, and how many of these are the end"""
STAND_IN_START_S = 2.5
"""about what each further worker takes to start, where cores are few"""


def pictures(media: Path, folder: Path) -> None:
    """The same few photographs, at one size, again and again."""
    folder.mkdir()
    found = [media / name for name in MEDIA if (media / name).exists()]
    for index in range(PICTURES):
        image = pyvips.Image.thumbnail(str(found[index % len(found)]), WIDTH, height=HEIGHT, size="force")
        image.colourspace("srgb")[:3].cast("uchar").write_to_file(str(folder / f"{index:02d}.jpg"), Q=95)


def farm_rate(source: Path, out: Path, workers: int, model: str) -> float:
    """Megapixels a second of a run with so many workers, while all of them are at work."""
    words = ("submit", source, "--out", out, "--model", model, "--gpus", "0", "--workers", workers, "--json")
    words = (*words, "--format", "jpg", "--pin-cores")
    ran = subprocess.run(
        [sys.executable, "-m", "farm", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True
    )
    rows = [line for line in map(json.loads, ran.stdout.splitlines()) if line["event"] == "row"]
    first, last = all_at_work(rows, workers, tail=1)
    return sum(row["px"] for row in rows[first + 1 : last + 1]) / (rows[last]["at_s"] - rows[first]["at_s"]) / 1e6


def stand_in_figures(workers: int, folder: Path, model: str) -> dict[str, float]:
    """A run with so many workers that sleep."""
    source = folder / "in"
    source.mkdir(exist_ok=True)
    image = pyvips.Image.gaussnoise(*STAND_IN_SIZE, mean=128, sigma=30).bandjoin([128, 90]).cast("uchar")
    image = image.copy(interpretation="srgb")
    count = workers * (STAND_IN_ROWS + round(workers * STAND_IN_START_S / STAND_IN_S / 2))
    for index in range(count):
        target = source / f"{index:05d}.png"
        if not target.exists():
            image.write_to_file(str(target))
    area = STAND_IN_SIZE[0] * STAND_IN_SIZE[1]
    paths = [str(HERE / "in_workers"), os.environ.get("PYTHONPATH", "")]
    told = {"FARM_STAND_IN_S": repr(STAND_IN_S / area), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    words = ("submit", source, "--out", folder / f"out{workers}", "--model", model, "--gpus", "0", "--json")
    began_s = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "farm", *map(str, words), "--workers", str(workers), "--format", "jpg"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **told},
    )
    ended_s = time.perf_counter()
    rows = [line for line in map(json.loads, ran.stdout.splitlines()) if line["event"] == "row"]
    return {
        **steady(rows, workers),
        "rows": len(rows),
        "command_s": round(ended_s - began_s, 1),
    }


def all_at_work(rows: list[dict[str, Any]], workers: int, tail: int) -> tuple[int, int]:
    """The row with which every worker has made something, and the one after which `tail` rows a worker are left."""
    seen: set[str] = set()
    first = next((at for at, row in enumerate(rows) if len(seen.add(row["worker"]) or seen) == workers), len(rows))
    last = len(rows) - 1 - tail * workers
    if last <= first:
        raise SystemExit(f"{workers} workers were never all at work; give them more rows")
    return first, last


def steady(rows: list[dict[str, Any]], workers: int) -> dict[str, float]:
    """Of rows that sleep, while all workers are at work."""
    first, last = all_at_work(rows, workers, STAND_IN_TAIL)
    wall_s = rows[last]["at_s"] - rows[first]["at_s"]
    return {
        "steady_s": round(wall_s, 2),
        "steady_rows": last - first,
        "rows_s": round((last - first) / wall_s, 3),
        "busy": round((last - first) * STAND_IN_S / wall_s / workers, 4),
        "all_at_work_s": rows[first]["at_s"],
    }


def bare_rates(cores: list[int], model: str) -> float:
    """Megapixels a second of a process on each of the cores together that only call the network, on a window that fits
    the cache."""
    made = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_network.py")), str(core), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in cores
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
    cores = sorted(os.sched_getaffinity(0))
    if most > len(cores):
        raise SystemExit(f"--most {most}: this process may use {len(cores)} cores")
    found: dict[str, dict[str, float]] = {"farm": {}, "bare": {}}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        pictures(media, source)
        for workers in range(1, most + 1):
            found["bare"][str(workers)] = bare_rates(cores[:workers], model)
            found["farm"][str(workers)] = farm_rate(source, Path(name) / f"out{workers}", workers, model)
    return {"kind": "network", "model": model, "megapixels_s": found}


def measure_stand_in(counts: list[int], model: str) -> Figures:
    found: dict[str, dict[str, float]] = {}
    for workers in counts:
        with tempfile.TemporaryDirectory() as name:
            found[str(workers)] = stand_in_figures(workers, Path(name), model)
            print(workers, found[str(workers)], flush=True)
    return {"kind": "stand-in", "seconds_a_row": STAND_IN_S, "size": STAND_IN_SIZE, "workers": found}


def shown_stand_in(found: Figures) -> str:
    head = ("workers", "rows a second", "limit: the sleep alone", "of the limit", "rows, steady", "whole command s")
    rows = [
        (
            count,
            f"{one['rows_s']:.2f}",
            f"{int(count) / found['seconds_a_row']:.2f}",
            f"{one['busy']:.1%}",
            f"{one['steady_rows']:.0f} in {one['steady_s']:.0f} s",
            f"{one['command_s']:.0f}",
        )
        for count, one in found["workers"].items()
    ]
    return table(head, rows)


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


def limits(found: Figures) -> list[Limit]:
    if found["kind"] == "stand-in":
        return [
            Limit(what=f"{count} workers, of the sleep alone", found=one["busy"], least=SLEEP_LEAST, digits=4)
            for count, one in found["workers"].items()
        ]
    farm = found["megapixels_s"]["farm"]
    return [Limit(what="two workers by one", found=farm["2"] / farm["1"], least=TWO_LEAST)] if "2" in farm else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--media", type=Path, help="folder with the photographs that are enlarged")
    parser.add_argument("--stand-in", help="numbers of workers, with a network that sleeps")
    add_flag(parser)
    arguments = parser.parse_args()
    if arguments.stand_in:
        counts = [int(word) for word in arguments.stand_in.split(",")]
        found = {**machine("ray", "torch"), **measure_stand_in(counts, "box")}
        print(shown_stand_in(found))
    elif arguments.media is not None:
        found = {**machine("ray", "torch"), **measure_network(arguments.most, arguments.model, arguments.media)}
        print(shown_network(found))
    else:
        parser.error("--media or --stand-in says what to measure")
    held = limits(found)
    print(shown_limits(held))
    keep("scaling", found | {"limits": kept_limits(held)})
    return exit_code(held, arguments)


if __name__ == "__main__":
    sys.exit(main())
