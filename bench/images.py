"""The official package and the farm: same pictures, weights and machine, interleaved, reading and writing included.

    pip install --no-deps -r bench/requirements.txt
    FARM_WEIGHTS_DIR=... python bench/images.py PICTURES [--model animevideov3] [--rounds 3] [--no-limits]

Writes bench/results/images-DATE.md and a line of images.jsonl. Contenders: the package untiled (its default), the
package with its best tile size of a trial on the first pictures, the farm with one worker a core, and the farm with one
worker. Steady state is from the first picture's start to the last one's end; start-up is the rest of the command. In
every round the network, the decoder and the encoder also run alone over the same pictures (picture_alone.py): their
processor seconds are what the farm's wall clock is held against, and the network's say how many times as fast as the
package the farm could be at all. Exit code 1 where a limit is missed; the wall clock has one from a minute on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from alone import BUSY, IDLE, Cost, bound_line, cost_table, job_limits, measure_cost  # beside this file
from figures import cpu_name, mid, peaks
from limits import Limit, add_flag, exit_code
from limits import kept as kept_limits
from limits import shown as shown_limits
from network import flop_of, network_pass, plan_of
from picture_alone import windows_in
from recorded import Figures, keep, machine
from watch import watched

from farm import storage
from farm.fetch import locate
from farm.media import image
from sr_kernel.backend import Backend
from sr_kernel.hardware import cpu_has_bf16
from sr_kernel.models import MODELS, ModelSpec, flop_per_px
from sr_kernel.weights import load_state

HERE = Path(__file__).parent
TILES = (128, 256, 400, 512)


@dataclass(kw_only=True)
class Run:
    """One contender, once."""

    wall_s: float
    steady_s: float
    px: int
    memory_mb: dict[str, float]
    """peak resident memory by role: driver, actor, or process"""
    busy: float | None = None
    """share of the steady time that the actors spent inside the network"""
    infer_s: float | None = None
    windows: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    """that went through the network, by width and height of their pictures"""
    precision: str = "fp32"
    digests: tuple[str, ...] = ()
    """of the outputs, by row"""

    @property
    def rate(self) -> float:
        """Source megapixels a second, steady state."""
        return self.px / self.steady_s / 1e6


def run_official(pictures: Path, spec: ModelSpec, weights: Path, tile: int) -> Run:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(HERE / "official.py"), str(pictures), out, str(weights)]
        text, wall_s, memory = watched([*command, "--model", spec.name, "--tile", str(tile)])
    answer = json.loads(text.splitlines()[-1])
    return Run(wall_s=wall_s, steady_s=answer["steady_s"], px=answer["px"], memory_mb={"process": memory["driver"]})


def run_farm(pictures: Path, spec: ModelSpec, weights: Path, workers: int, out: Path) -> Run:
    """`out` is made anew, and left."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "farm", "submit", str(pictures), "--out", str(out), "--model", spec.name]
    command += ["--gpus", "0", "--workers", str(workers), "--pin-cores", "--weights-dir", str(weights.parent)]
    _, wall_s, memory = watched(command)
    rows = pq.read_table(out / "results.parquet").to_pylist()
    begun = min(row["finished_unix"] - row["total_s"] for row in rows)
    steady_s = max(row["finished_unix"] for row in rows) - begun
    infer_s = sum(row["infer_s"] for row in rows)
    return Run(
        wall_s=wall_s,
        steady_s=steady_s,
        px=sum(row["source_px"] for row in rows),
        memory_mb=memory,
        busy=infer_s / steady_s / workers,
        infer_s=infer_s,
        windows=windows_of([row["source"] for row in rows], spec),
        precision=rows[0]["precision"],
        digests=tuple(row["sha256"] for row in rows),
    )


def alone_command(spec: ModelSpec, weights: Path, out: Path) -> list[str]:
    """What the parts of a run with output root `out` cost alone; a core is to be named."""
    command = [sys.executable, str(HERE / "picture_alone.py"), str(out / "results.parquet"), "--model", spec.name]
    return [*command, "--weights-dir", str(weights.parent)]


def windows_of(sources: Sequence[str], spec: ModelSpec) -> Counter[tuple[int, int]]:
    """Windows of pictures and of their alpha channels, by width and height of the pictures."""
    windows: Counter[tuple[int, int]] = Counter()
    for url in sources:
        pixels = image.decode(storage.read_bytes(url), url, image.ReadLimits()).pixels
        plan = plan_of(spec, pixels.shape[1], pixels.shape[0], 256)
        windows[pixels.shape[1], pixels.shape[0]] += windows_in(pixels, plan)
    return windows


def computed_flop(spec: ModelSpec, weights: Path, windows: Mapping[tuple[int, int], int]) -> float:
    """FLOP that the network really ran, as torch counts them: what halos add, less what layers cut off again."""
    backend = Backend(spec, load_state(weights, spec), "cpu")
    total = 0.0
    for (width, height), count in windows.items():
        picture, plan = np.zeros((height, width, 3), dtype=np.uint8), plan_of(spec, width, height, 256)
        total += count / len(plan.tiles) * flop_of(network_pass(backend, plan, picture, "fp32"))
    return total


def measure_peak(cores: list[int], dtype: str, features: int) -> tuple[float, str]:
    """FLOP a second of one core while all cores do the same, and the shape that reached it."""
    command = [sys.executable, str(HERE / "peak.py"), "--dtype", dtype, "--features", str(features)]
    running = [subprocess.Popen([*command, "--core", str(core)], stdout=subprocess.PIPE, text=True) for core in cores]
    answers = [json.loads(process.communicate()[0]) for process in running]
    means = {shape: statistics.mean(answer[shape] for answer in answers) for shape in answers[0]}
    shape = max(means, key=lambda name: means[name])
    return means[shape], shape


def best_tile(pictures: Path, spec: ModelSpec, weights: Path, count: int = 4) -> int:
    """The tile size with which the official package is fastest on the first pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(pictures.iterdir())[:count]:
            shutil.copy(path, folder)
        return max(TILES, key=lambda tile: run_official(Path(folder), spec, weights, tile).rate)


def table(results: dict[str, list[Run]]) -> list[str]:
    base = statistics.median(run.rate for run in results["official, untiled"])
    lines = [
        "| contender | source MP/s, median (range) | times untiled | start-up s | whole command s | peak RSS, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        rate = statistics.median(run.rate for run in runs)
        start = statistics.median(run.wall_s - run.steady_s for run in runs)
        wall = statistics.median(run.wall_s for run in runs)
        memory = peaks(run.memory_mb for run in runs)
        rates = mid([run.rate for run in runs])
        lines.append(f"| {name} | {rates} | {rate / base:.2f} | {start:.1f} | {wall:.1f} | {memory} |")
    return lines


def derived(
    results: dict[str, list[Run]],
    costs: Mapping[str, list[Cost]],
    spec: ModelSpec,
    weights: Path,
    peak: float,
    shape: str,
    cores: int,
) -> list[str]:
    """Ratios that the issue of this bench asks for."""
    names = list(results)
    median = {name: statistics.median(run.rate for run in runs) for name, runs in results.items()}
    many, one = results[names[2]], results[names[3]]
    flop = computed_flop(spec, weights, many[0].windows)
    times = median[names[2]] / median[names[0]]
    official_s = statistics.median(run.steady_s for run in results[names[0]])
    inside, alone = ([flop / (run.infer_s or 1.0) for run in runs] for runs in (many, one))
    return [
        f"- against its default: {times:.2f} times; "
        f"against its best tile size: {median[names[2]] / median[names[1]]:.2f} times",
        bound_line(official_s, times, costs[BUSY], cores),
        f"- actors inside the network between the first unit's start and the last one's end: "
        f"{mid([run.busy or 0.0 for run in many])}; with one worker {mid([run.busy or 0.0 for run in one])}",
        f"- {cores} workers against one: {median[names[2]] / median[names[3]]:.2f} times",
        f"- inside the network, FLOP as they ran: {statistics.median(inside) / 1e9:.1f} GFLOP/s a core, "
        f"{statistics.median(inside) / peak:.2f} of the machine's {peak / 1e9:.1f} ({shape}, {many[0].precision}); "
        f"with one worker {statistics.median(alone) / peak:.2f}; reading, encoding and Ray on the same cores included",
        f"- halos and alpha cost: {flop / (flop_per_px(spec) * many[0].px):.3f} times the FLOP of the bare pictures",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights-dir")
    parser.add_argument("--tile", type=int, help="the official package's best tile size, when it is known")
    add_flag(parser)
    arguments = parser.parse_args()
    spec = MODELS[arguments.model]
    weights = locate(spec, arguments.weights_dir)
    if weights is None:
        raise SystemExit(f"{spec.file} is not here; name its folder with --weights-dir")
    cores = sorted(os.sched_getaffinity(0))
    tile = arguments.tile or best_tile(arguments.pictures, spec, weights)
    with tempfile.TemporaryDirectory() as folder:
        results, costs = contest(arguments, spec, weights, tile, cores, Path(folder))
    peak, shape = measure_peak(cores, "bfloat16" if cpu_has_bf16() else "float32", spec.features)
    held = limits(results, costs, len(cores))
    lines = report(results, costs, spec, weights, arguments, peak=peak, shape=shape, cores=len(cores))
    lines += ["", shown_limits(held)]
    target = HERE / "results" / f"images-{datetime.date.today().isoformat()}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print(f"\n{target.relative_to(HERE.parent)}\n" + "\n".join(lines))
    keep(
        "images",
        {**machine("torch", "ray", "realesrgan"), **figures(results, costs, spec), "limits": kept_limits(held)},
    )
    return exit_code(held, arguments)


def contest(
    arguments: argparse.Namespace, spec: ModelSpec, weights: Path, tile: int, cores: list[int], folder: Path
) -> tuple[dict[str, list[Run]], dict[str, list[Cost]]]:
    """All rounds: runs by contender, and what the parts cost alone by load."""
    pictures, many, one = arguments.pictures, folder / "many", folder / "one"
    contenders: dict[str, Callable[[], Run]] = {
        "official, untiled": lambda: run_official(pictures, spec, weights, 0),
        f"official, tile {tile}": lambda: run_official(pictures, spec, weights, tile),
        f"farm, {len(cores)} workers": lambda: run_farm(pictures, spec, weights, len(cores), many),
        "farm, 1 worker": lambda: run_farm(pictures, spec, weights, 1, one),
    }
    loads = {IDLE: cores[:1], BUSY: cores}
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    costs: dict[str, list[Cost]] = {name: [] for name in loads}
    for round_ in range(arguments.rounds):
        for name, run in contenders.items():
            results[name].append(run())
            print(f"round {round_ + 1}: {name}: {results[name][-1].rate:.3f} MP/s", flush=True)
        for name, load in loads.items():
            costs[name].append(measure_cost(alone_command(spec, weights, many), load))
            print(f"round {round_ + 1}: {name}: {costs[name][-1].total_s:.1f} processor s", flush=True)
    return results, costs


def limits(results: Mapping[str, list[Run]], costs: Mapping[str, list[Cost]], cores: int) -> list[Limit]:
    _, _, many, one = results.values()
    return job_limits(
        [[run.rate for run in runs] for runs in results.values()],
        statistics.median(run.steady_s for run in many),
        costs,
        cores,
        same=len({run.digests for run in [*many, *one]}) == 1,
    )


def figures(results: Mapping[str, list[Run]], costs: Mapping[str, list[Cost]], spec: ModelSpec) -> Figures:
    """As they are kept."""
    return {
        "model": spec.name,
        "megapixels_s": {name: [run.rate for run in runs] for name, runs in results.items()},
        "steady_s": {name: [run.steady_s for run in runs] for name, runs in results.items()},
        "alone_s": {name: [asdict(cost) for cost in found] for name, found in costs.items()},
    }


def report(
    results: dict[str, list[Run]],
    costs: Mapping[str, list[Cost]],
    spec: ModelSpec,
    weights: Path,
    arguments: argparse.Namespace,
    *,
    peak: float,
    shape: str,
    cores: int,
) -> list[str]:
    count = len(list(arguments.pictures.iterdir()))
    px = results["official, untiled"][0].px
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray", "realesrgan", "pyvips"))
    return [
        f"# Images: the official package and the farm, {datetime.date.today().isoformat()}",
        "",
        f"{count} pictures, {px / 1e6:.1f} source megapixels, {spec.name}, {arguments.rounds} rounds, interleaved.",
        f"{cpu_name()}, {cores} cores; {versions}; Python {platform.python_version()}.",
        "The official package in fp32 (half precision is far slower on a CPU). Both read and write their files.",
        "",
        *table(results),
        "",
        *derived(results, costs, spec, weights, peak, shape, cores),
        "",
        *cost_table(costs, statistics.median(run.steady_s for run in list(results.values())[2]), cores, "all pictures"),
        "",
        "Made by `bench/images.py`; steady state from the first picture's start to the last one's end.",
    ]


if __name__ == "__main__":
    sys.exit(main())
