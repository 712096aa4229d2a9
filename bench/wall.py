"""How the farm's wall clock stands to its parts in a job of a minute or more: a film, or a folder of pictures.

    FARM_WEIGHTS_DIR=... python bench/wall.py FILM [--frames 96] [--times 4] [--model animevideov3] [--rounds 1]
    FARM_WEIGHTS_DIR=... python bench/wall.py PICTURES [--model animevideov3] [--rounds 1]

As bench/video.py and bench/images.py measure it, without the official package, which takes most of their time. A film
is its first --frames frames, played --times times. In each round network, decoder and encoder run alone, on every core
at once and on one, before the farm and after it. Prints a table and appends a line to wall.jsonl; exit code 1 where a
job of a minute or more takes longer than it should. Films need ffmpeg and ffprobe.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from alone import BUSY, IDLE, Cost, cost_table, measure_cost, wall_by, wall_limits  # beside this file
from film_clip import cut, repeat
from film_run import Job, alone_command, measure_restore, run_farm, segment_frames
from images import alone_command as pictures_alone
from images import run_farm as run_pictures
from limits import add_flag, exit_code
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import keep, machine
from watch import Worked, worked_table

from farm.fetch import locate
from sr_kernel.models import MODELS, ModelSpec

CRF, PRESET = 18, "medium"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What runs."""

    farm: Callable[[], tuple[float, Worked | None]]
    """once; its seconds in steady state, and what its workers took meanwhile where that is looked at"""
    parts: Callable[[list[int]], Cost]
    """what the parts of the same work take alone, in processor seconds, while each of some cores does them"""


def film_contest(asked: argparse.Namespace, spec: ModelSpec, weights: Path, folder: Path, cores: list[int]) -> Contest:
    clip = cut(asked.source, asked.frames, folder / "clip.mp4")
    job = Job(
        clip=clip,
        folder=folder,
        spec=spec,
        weights=weights,
        codec="h264",
        crf=CRF,
        preset=PRESET,
        segment_frames=segment_frames(asked.frames, len(cores)),
    )
    measure_restore(job)  # what the encoder is measured with
    whole = replace(job, clip=repeat(clip, asked.times, folder / "whole.mp4"))

    def parts(on: list[int]) -> Cost:
        return scaled(measure_cost(alone_command(job), on), asked.times)

    def farm() -> tuple[float, Worked | None]:
        run = run_farm(whole, len(cores))
        return run.steady_s, run.worked

    return Contest(farm=farm, parts=parts)


def picture_contest(
    asked: argparse.Namespace, spec: ModelSpec, weights: Path, folder: Path, cores: list[int]
) -> Contest:
    out = folder / "out"
    run_pictures(asked.source, spec, weights, len(cores), out)  # what the encoder is measured with
    return Contest(
        farm=lambda: (run_pictures(asked.source, spec, weights, len(cores), out).steady_s, None),
        parts=lambda on: measure_cost(pictures_alone(spec, weights, out), on),
    )


def scaled(cost: Cost, times: int) -> Cost:
    return Cost(network_s=cost.network_s * times, decode_s=cost.decode_s * times, encode_s=cost.encode_s * times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a film, or a folder of pictures")
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--weights-dir")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    add_flag(parser)
    asked = parser.parse_args()
    spec, cores = MODELS[asked.model], sorted(os.sched_getaffinity(0))
    weights = locate(spec, asked.weights_dir)
    if weights is None:
        raise SystemExit(f"{spec.file} is not here; name its folder with --weights-dir")
    with tempfile.TemporaryDirectory() as folder:
        make = picture_contest if asked.source.is_dir() else film_contest
        contest = make(asked, spec, weights, Path(folder), cores)
        loads = {BUSY: cores, IDLE: cores[:1]}
        costs: dict[str, list[Cost]] = {name: [contest.parts(load)] for name, load in loads.items()}
        walls: list[float] = []
        worked: list[Worked] = []
        for _ in range(asked.rounds):
            steady_s, own = contest.farm()
            walls.append(steady_s)
            worked += [own] if own else []
            for name, load in loads.items():
                costs[name].append(contest.parts(load))
    wall_s = statistics.median(walls)
    found = {name: wall_by(runs, wall_s, len(cores)) for name, runs in costs.items()}
    print(f"\n{asked.source.name}, {spec.name}, {len(cores)} workers: {', '.join(f'{one:.1f}' for one in walls)} s\n")
    print("\n".join(cost_table(costs, wall_s, len(cores), "the parts")))
    if worked:
        print("\n" + "\n".join(worked_table({"farm": (len(cores), worked)})))
    held = wall_limits(wall_s, costs, len(cores))
    if held:
        print(f"\n{shown_limits(held)}")
    figures = {"source": asked.source.name, "model": spec.name, "wall_s": walls, "wall_by": found}
    if worked:
        figures["in_the_run"] = [one.wall_by(len(cores)) for one in worked]
    keep("wall", {**machine("torch", "ray", "av", "pyvips"), **figures, "limits": kept_limits(held)})
    return exit_code(held, asked)


if __name__ == "__main__":
    sys.exit(main())
