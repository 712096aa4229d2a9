"""The official video script's method and the farm: the same clip, weights, codec settings and machine, interleaved.

    pip install --no-deps -r bench/requirements.txt
    FARM_WEIGHTS_DIR=... python bench/video.py FILM [--frames 24] [--model animevideov3] [--rounds 3] [--no-limits]

Writes bench/results/video-DATE.md and a line of video.jsonl. Contenders: the official method untiled (its default), the
same with its best tile size of a short trial, the farm with one worker a core, and the farm with one worker. Steady
state is from the opening of the film by whoever restores it to the end of the finished file; start-up is the rest of
the command. In every round the network, the decoder and the encoder also run alone, and their processor seconds are
what the farm's wall clock is held against; the network's say how many times as fast as the official method the farm
could be at all. Exit code 1 where a limit is missed; the wall clock has one from a minute on. Needs ffmpeg and ffprobe,
which the farm itself does not.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from alone import BUSY, IDLE, Cost, bound_line, cost_table, job_limits, measure_cost  # beside this file
from figures import cpu_name, mid, peaks
from film_clip import cut, probe, psnr_db
from film_run import (
    ENCODERS,
    Job,
    Run,
    alone_command,
    best_tile,
    measure_memory,
    measure_restore,
    run_farm,
    run_official,
    segment_frames,
)
from limits import Limit, add_flag, exit_code
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import Figures, keep, machine
from watch import worked_table

from farm.fetch import locate
from sr_kernel.models import MODELS

HERE = Path(__file__).parent


def table(results: Mapping[str, Sequence[Run]]) -> list[str]:
    first, *_ = results.values()
    base = statistics.median(run.rate for run in first)
    lines = [
        "| contender | source frames/s, median (range) | source MP/s | times untiled | start-up s | whole command s "
        "| peak RSS, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        rate = statistics.median(run.rate for run in runs)
        mpx_rate = statistics.median(run.mpx_rate for run in runs)
        start_s = statistics.median(run.wall_s - run.steady_s for run in runs)
        wall_s = statistics.median(run.wall_s for run in runs)
        cells = [name, mid([run.rate for run in runs]), f"{mpx_rate:.3f}", f"{rate / base:.2f}", f"{start_s:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{wall_s:.1f}", peaks(run.memory_mb for run in runs)]) + " |")
    return lines


def derived(results: Mapping[str, Sequence[Run]], alone: Sequence[Cost], workers: int) -> list[str]:
    """Ratios that the issue of this bench asks for; `alone`: what the parts cost while every core does the same."""
    default, tiled, many, one = results.values()
    official_s = statistics.median(run.steady_s for run in default)
    middle = {id(runs): statistics.median(run.rate for run in runs) for runs in (default, tiled, many, one)}
    inside = [run.infer_s / run.steady_s / workers for run in many]
    return [
        f"- against its default: {middle[id(many)] / middle[id(default)]:.2f} times; "
        f"against its best tile size: {middle[id(many)] / middle[id(tiled)]:.2f} times",
        bound_line(official_s, middle[id(many)] / middle[id(default)], alone, workers),
        f"- {workers} workers against one, each on a core of its own: {middle[id(many)] / middle[id(one)]:.2f} times",
        f"- share of steady state that workers spent restoring (network, colour, quantising): {mid(inside)}",
        f"- putting the segments together: {mid([run.join_s for run in many])} s",
    ]


def memory_lines(runs: Mapping[str, Run]) -> list[str]:
    """Peak memory over a clip and over a longer one, by role."""
    lines = ["| a network of two convolutions over | frames | peak RSS, MB |", "|---|---|---|"]
    lines += [f"| {name} | {run.frames} | {peaks([run.memory_mb])} |" for name, run in runs.items()]
    short, long = runs.values()
    ratios = ", ".join(
        f"{role} {long.memory_mb[role] / value:.2f}" for role, value in sorted(short.memory_mb.items()) if value
    )
    return [*lines, "", f"- a film {long.frames / short.frames:g} times as long: {ratios} times the memory"]


def same_bytes(results: Mapping[str, Sequence[Run]]) -> bool:
    """Whether the farm has made the same film with one worker and with all."""
    _, _, many, one = (runs[-1].output for runs in results.values())
    return many.read_bytes() == one.read_bytes()


def outputs_line(results: Mapping[str, Sequence[Run]]) -> str:
    """That all contenders have made the same film; the farm's own runs the same bytes."""
    default, _, many, _ = (runs[-1].output for runs in results.values())
    frames = {probe(runs[-1].output).frames for runs in results.values()}
    same = "the same bytes" if same_bytes(results) else "OTHER BYTES"
    sizes = f"{default.stat().st_size / 1e6:.2f} and {many.stat().st_size / 1e6:.2f} MB"
    return (
        f"- films: {' or '.join(map(str, sorted(frames)))} frames each; official and farm {psnr_db(default, many):.1f} "
        f"dB apart, {sizes}; with one worker and with all, {same}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", choices=tuple(ENCODERS), default="h264")
    parser.add_argument("--crf", type=int, default=18)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--weights-dir")
    parser.add_argument("--tile", type=int, help="the official method's best tile size, when it is known")
    parser.add_argument("--out", type=Path, help="the report; default: bench/results/video-DATE.md")
    add_flag(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines, found, held = contest(arguments, Path(folder))
    target = arguments.out or HERE / "results" / f"video-{datetime.date.today().isoformat()}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print(f"\n{target}\n" + "\n".join(lines))
    keep("video", {**machine("torch", "ray", "realesrgan", "av"), **found, "limits": kept_limits(held)})
    return exit_code(held, arguments)


def contest(arguments: argparse.Namespace, folder: Path) -> tuple[list[str], Figures, list[Limit]]:
    """All rounds, then the report, its figures, and what must hold of them."""
    spec = MODELS[arguments.model]
    weights = locate(spec, arguments.weights_dir)
    if weights is None:
        raise SystemExit(f"{spec.file} is not here; name its folder with --weights-dir")
    cores = sorted(os.sched_getaffinity(0))
    job = Job(
        clip=cut(arguments.film, arguments.frames, folder / "clip.mp4"),
        folder=folder,
        spec=spec,
        weights=weights,
        codec=arguments.codec,
        crf=arguments.crf,
        preset=arguments.preset,
        segment_frames=segment_frames(arguments.frames, len(cores)),
    )
    tile = arguments.tile or best_tile(job)
    contenders: dict[str, Callable[[], Run]] = {
        "official, untiled": lambda: run_official(job, 0),
        f"official, tile {tile}": lambda: run_official(job, tile),
        f"farm, {len(cores)} workers": lambda: run_farm(job, len(cores)),
        "farm, 1 worker": lambda: run_farm(job, 1),
    }
    loads = {IDLE: cores[:1], BUSY: cores}
    restore_s = measure_restore(job)
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    costs: dict[str, list[Cost]] = {name: [] for name in loads}
    for round_ in range(arguments.rounds):
        for name, run in contenders.items():
            results[name].append(run())
            print(f"round {round_ + 1}: {name}: {results[name][-1].rate:.3f} frames/s", flush=True)
        for name, load in loads.items():
            costs[name].append(measure_cost(alone_command(job), load))
            print(f"round {round_ + 1}: {name}: {costs[name][-1].total_s:.1f} processor s", flush=True)
    many = results[list(contenders)[2]]
    steady_s = statistics.median(run.steady_s for run in many)
    alone = statistics.median(cost.network_s for cost in costs[IDLE])
    held = limits(results, costs, len(cores))
    lines = [
        *heading(arguments, job, many[0].precision, len(cores)),
        *table(results),
        "",
        *derived(results, costs[BUSY], len(cores)),
        outputs_line(results),
        "",
        *cost_table(costs, steady_s, len(cores)),
        "",
        f"- wall: {mid([run.steady_s for run in many])} s with {len(cores)} workers",
        f"- restoring from planes to planes (network, colour, quantising, sums): {restore_s:.1f} processor s, "
        f"{restore_s / alone:.3f} times the network alone",
        "",
        *worked_table(
            {
                name: (
                    len(cores) if name.endswith("workers") else 1,
                    [run.worked for run in runs if run.worked is not None],
                )
                for name, runs in results.items()
            }
        ),
        "",
        *memory_lines(measure_memory(job, len(cores))),
        "",
        shown_limits(held),
        "",
        "Made by `bench/video.py`; steady state from the opening of the film to the end of the finished one.",
    ]
    return lines, figures(results, costs, job), held


def limits(results: Mapping[str, Sequence[Run]], costs: Mapping[str, Sequence[Cost]], cores: int) -> list[Limit]:
    _, _, many, _ = results.values()
    return job_limits(
        [[run.rate for run in runs] for runs in results.values()],
        statistics.median(run.steady_s for run in many),
        costs,
        cores,
        same=same_bytes(results),
    )


def figures(results: Mapping[str, Sequence[Run]], costs: Mapping[str, Sequence[Cost]], job: Job) -> Figures:
    """As they are kept."""
    return {
        "model": job.spec.name,
        "frames_s": {name: [run.rate for run in runs] for name, runs in results.items()},
        "steady_s": {name: [run.steady_s for run in runs] for name, runs in results.items()},
        "alone_s": {name: [asdict(cost) for cost in found] for name, found in costs.items()},
    }


def heading(arguments: argparse.Namespace, job: Job, precision: str, cores: int) -> list[str]:
    film = probe(job.clip)
    packages = ("torch", "ray", "realesrgan", "av")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return [
        f"# Video: the official script's method and the farm, {datetime.date.today().isoformat()}",
        "",
        f"First {film.frames} frames of {arguments.film.name}, {film.width}x{film.height}, with sound, {job.spec.name} "
        f"x{job.spec.scale}, {arguments.rounds} rounds, interleaved.",
        f"{job.codec}, CRF {job.crf}, preset {job.preset}; the farm in segments of {job.segment_frames} frames.",
        f"{cpu_name()}, {cores} cores; {versions}; Python {platform.python_version()}.",
        f"The official method in fp32 (half precision is far slower on a CPU), the farm in {precision}.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
