"""How fast each model of the table is on one CPU thread, in each precision that the CPU has, and what turns and kept
colours cost.

    PYTHONPATH=. taskset -c 0 python bench/models.py [--weights DIR] [--out FILE.md] [--models NAME ...] [--quick]

Official weights where `--weights` has them, derived ones where it has those, else seeded ones of the official shape:
speed does not depend on which. Samples in, samples out; no file is read or written. Everything is in CPU seconds of the
one thread that does all the work, so that what else runs on the machine counts less. The peak is the best of square
matrix products and of 3x3 convolutions of 64 channels over five shapes, measured beside each model in the same
precision. FLOP are counted by torch from the shapes that really ran, halos included.

Each model and precision has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from figures import cpu_name, process_mb  # beside this file
from gpu_checks import QUICK, Sizes, picture, weights_of
from network import flop_of, peak_calls, seconds_of

from sr_kernel.archs import ARCHS
from sr_kernel.backend import DTYPES, Backend
from sr_kernel.hardware import cpu_has_bf16
from sr_kernel.models import MODELS, ModelSpec, flop_per_px
from sr_kernel.tiles import COLOUR_REACH_PX, PicturePlan, PictureSpec, Strategy, plan_picture
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import load_state

NAMES = [name for name, spec in MODELS.items() if spec.arch in ARCHS and not spec.train_only]
WINDOWED = (768, 512)
"""of networks that run in windows: several windows, so that halos show"""
FLOP_A_PASS, FLOP_A_TURN = 2.5e11, 2.5e10
"""about what one pass over a picture may take, and one of the passes of which turns make eight"""
TILE_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model in one precision, on one thread."""

    model: str
    weights: str
    """official, derived or seeded"""
    precision: str
    size: str
    windows: int
    """how many, or 0 for a body that runs whole"""
    source_mp_s: float
    output_mp_s: float
    share_of_peak: float
    """of the FLOP that ran, halos and all that is no convolution included in the time"""
    peak_gflop_s: float
    halo: float
    """FLOP that ran over those of the bare picture"""
    memory_mb: float
    """largest resident size of the process, torch and weights included"""
    tta_times: float
    """time with turns over time without, on a smaller picture"""
    keep_colour_percent: float
    """more time with kept colours"""
    seconds: float


def size_of(spec: ModelSpec, flop: float, quick: bool) -> tuple[int, int]:
    """A picture of 3:2 whose sides are multiples of 16, of about so many FLOP."""
    if quick:
        return 48, 32
    unit = max(1, round((flop / flop_per_px(spec) / (3 * 2 * 256)) ** 0.5))
    return unit * 48, unit * 32


def plan_of(spec: ModelSpec, size: tuple[int, int], quick: bool, colour_px: int = 0) -> PicturePlan:
    return plan_picture(
        PictureSpec(
            width=size[0],
            height=size[1],
            scale=spec.scale,
            outscale=spec.scale,
            halo_px=spec.halo_px,
            align_px=spec.align_px,
            whole_body=spec.whole_body,
            tile_px=16 if quick else TILE_PX,
            exact_px=4_194_304,
            colour_px=colour_px,
        )
    )


def measured(name: str, precision: str, given: Path | None, *, quick: bool) -> Figures:
    torch.set_num_threads(1)
    began = time.perf_counter()
    sizes = QUICK if quick else Sizes()
    with tempfile.TemporaryDirectory() as scratch:
        spec, path, weights = weights_of(name, given, Path(scratch), sizes)
        upscaler = Upscaler(spec, Backend(spec, load_state(path, spec), "cpu"))
    size = size_of(spec, FLOP_A_PASS, quick)
    if not spec.whole_body and not quick:
        size = WINDOWED
    plan, rgb = plan_of(spec, size, quick), picture(size)
    settings = Settings(precision=precision)  # pyright: ignore[reportArgumentType]

    ran = flop_of(lambda: upscaler.restore(rgb, plan, settings))  # also warms up
    peak, seconds = 0.0, float("inf")
    calls = peak_calls(spec.features, DTYPES[precision])
    for _ in range(2):
        for flop, call in calls.values():
            peak = max(peak, flop / min(seconds_of(call) for _ in range(3)))
        seconds = min(seconds, seconds_of(lambda: upscaler.restore(rgb, plan, settings)))
    held_mb = process_mb()

    kept, kept_plan = dataclasses.replace(settings, keep_colour=True), plan_of(spec, size, quick, COLOUR_REACH_PX)
    kept_s = min(seconds_of(lambda: upscaler.restore(rgb, kept_plan, kept)) for _ in range(2))
    small = size_of(spec, FLOP_A_TURN, quick)
    small_rgb, small_plan, turned = picture(small), plan_of(spec, small, quick), dataclasses.replace(settings, tta=True)
    once_s = min(seconds_of(lambda: upscaler.restore(small_rgb, small_plan, settings)) for _ in range(3))
    turned_s = seconds_of(lambda: upscaler.restore(small_rgb, small_plan, turned))
    megapixels = size[0] * size[1] / 1e6
    return Figures(
        model=name,
        weights=weights,
        precision=precision,
        size=f"{size[0]}x{size[1]}",
        windows=len(plan.tiles) if plan.strategy is Strategy.WINDOWS else 0,
        source_mp_s=round(megapixels / seconds, 5),
        output_mp_s=round(megapixels * spec.scale**2 / seconds, 4),
        share_of_peak=round(ran / seconds / peak, 3),
        peak_gflop_s=round(peak / 1e9, 1),
        halo=round(ran / (flop_per_px(spec) * size[0] * size[1]), 3),
        memory_mb=round(held_mb),
        tta_times=round(turned_s / once_s, 2),
        keep_colour_percent=round(100 * (kept_s / seconds - 1), 1),
        seconds=round(time.perf_counter() - began, 1),
    )


def in_a_process(name: str, precision: str, options: argparse.Namespace) -> Figures:
    command = [sys.executable, __file__, "--one", precision, "--models", name]
    command += ["--weights", str(options.weights)] if options.weights else []
    command += ["--quick"] if options.quick else []
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.PIPE, text=True
    )
    return Figures(**json.loads(done.stdout))


def report(rows: list[Figures]) -> str:
    """One table, and what it was made with."""
    machine = f"{cpu_name()}, one thread; torch {torch.__version__}, Python {platform.python_version()}"
    lines = [
        f"# Models by precision on one CPU thread, {datetime.date.today():%Y-%m-%d}",
        "",
        f"{machine}. {'fp32 and bf16' if cpu_has_bf16() else 'fp32 only: this processor has no bf16 of its own'}.",
        "",
        "| model | weights | precision | picture | source MP/s | output MP/s | share of peak | peak GFLOP/s |"
        " halo FLOP | memory MB | `--tta` | `--keep-colour` |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cut = f"{row.windows} windows" if row.windows else "body whole"
        lines.append(
            f"| {row.model} | {row.weights} | {row.precision} | {row.size}, {cut} | {row.source_mp_s:.4f} |"
            f" {row.output_mp_s:.3f} | {row.share_of_peak:.2f} | {row.peak_gflop_s:.0f} | {row.halo:.2f}x |"
            f" {row.memory_mb:.0f} | {row.tta_times:.2f}x | {row.keep_colour_percent:+.0f} % |"
        )
    return "\n".join(
        [
            *lines,
            "",
            "CPU seconds of the thread, best of two; reading, decoding and encoding are not in it. Share of peak: the"
            " FLOP that ran, halos included, over the time of everything from samples to samples. Memory is the"
            " process's largest resident size, torch included. `--tta` on a smaller picture. By `bench/models.py`.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a folder with weight files under their official names")
    parser.add_argument("--out", type=Path, default=Path(f"bench/results/models-{datetime.date.today():%Y-%m-%d}.md"))
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true", help="tiny pictures, seeded networks of one block")
    parser.add_argument("--one", metavar="PRECISION", help="measure one model in this process and answer in JSON")
    options = parser.parse_args()
    if options.one:
        print(
            json.dumps(
                dataclasses.asdict(measured(options.models[0], options.one, options.weights, quick=options.quick))
            )
        )
        return
    rows: list[Figures] = []
    for name in options.models:
        for precision in ("fp32", "bf16") if cpu_has_bf16() else ("fp32",):
            rows.append(in_a_process(name, precision, options))
            print(f"{name} {precision}: {rows[-1].seconds} s", file=sys.stderr, flush=True)
    options.out.write_text(report(rows), encoding="utf-8")
    options.out.with_suffix(".jsonl").write_text(
        "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows), encoding="utf-8"
    )
    print(report(rows))


if __name__ == "__main__":
    main()
