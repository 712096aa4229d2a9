"""All that matters on one GPU, in one table: what must hold of every model, what it costs, and whole jobs.

    PYTHONPATH=. python bench/gpu.py [--device cuda:0] [--weights DIR] [--out FILE] [--models NAME ...] [--quick]

Every model runs in every precision the device has, half precision also in the fused kernels where the device and the
network have them. Jobs (gpu_jobs.py) go from files to files through one worker, in the fastest kernels. The SRVGG
models take their files from --weights where they lie there, the others official files only; what has none gets seeded
weights, written to a file with the official keys. A check that fails becomes a cell that says why, stops no other, and
makes the exit code 1, as a missed limit does (--no-limits: only checks). A folder's wall clock is held against the
network alone although it lasts seconds only, without what comes first; a film's from a minute on. What has not begun
when the time of --budget-s is over is not begun, and is a failure. The file (bench/results/gpu-DATE.md unless told
otherwise) is written anew after every row, so that a run cut short leaves what it measured; a line of gpu.jsonl beside
it holds the same. --quick shrinks pictures and seeded networks for a run on a CPU. Jobs need farm, av and pyvips; the
rest only numpy, torch and sr_kernel.

Percent of matmul: FLOP of the picture without any halo (`flop_per_px`) over time, over the best rate that a square
matmul reached in half precision on random data in the same run.
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from gpu_checks import (  # beside this file
    QUICK,
    Sizes,
    Subject,
    against_cpu,
    against_device,
    body_and_windows,
    kernels_of,
    over_batches,
    over_order,
    over_tiles,
    picture,
    sixteen_bits,
    weights_of,
)
from gpu_report import SPEED_COLUMNS, Check, Report
from limits import RRDB_LEAST, SRVGG_LEAST, WALL_FROM_S, WALL_MOST, Limit, add_flag, exit_code
from recorded import keep, machine

from sr_kernel.archs import RRDBNet
from sr_kernel.backend import DTYPES, PrecisionError, check_precision
from sr_kernel.hardware import cpu_runs_bf16
from sr_kernel.models import MODELS, flop_per_px
from sr_kernel.pixels import Pixels, cut_window, to_unit
from sr_kernel.tiles import Box, Strategy

LEFT_OUT = "left out"
"""what is slow and nobody asks for: an RRDB over a large picture in fp32 on a GPU"""


def is_slow(subject: Subject, precision: str) -> bool:
    return subject.device.type == "cuda" and subject.spec.arch == "rrdb" and precision == "fp32"


def peak_memory(size: Callable[[Sizes], tuple[int, int]]) -> Callable[[Subject, str], str]:
    def measure(subject: Subject, precision: str) -> str:
        if is_slow(subject, precision) and size(subject.sizes) == subject.sizes.full:
            return LEFT_OUT
        rgb = picture(size(subject.sizes))
        if subject.device.type != "cuda":
            subject.restore(rgb, precision)
            return "CPU: not counted"
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(subject.device)
        subject.restore(rgb, precision)
        return f"{torch.cuda.max_memory_allocated(subject.device) / 2**20:.0f}"

    return measure


def seconds(call: Callable[[], object], device: torch.device, sizes: Sizes) -> float:
    """The median of several runs after one to warm up, the device idle before and after each."""
    times: list[float] = []
    begun = time.perf_counter()
    for _ in range(sizes.rounds + 1):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - started)
        if len(times) > 3 and time.perf_counter() - begun > sizes.budget_s:
            break
    return statistics.median(times[1:])


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured_peak(device: torch.device, sizes: Sizes) -> dict[str, float]:
    """FLOP a second of products and convolutions in half precision, or fp32 where a CPU has none, by name."""
    rates: dict[str, float] = {}
    repeats = 10 if device.type == "cuda" else 1
    dtypes = ("fp16", "bf16") if device.type == "cuda" else ("bf16" if cpu_runs_bf16() else "fp32",)
    for precision in dtypes:
        like = {"dtype": DTYPES[precision], "device": device}
        calls: dict[str, tuple[float, Callable[[], object]]] = {}
        for side in sizes.matmuls:
            a, b = torch.randn(side, side, **like), torch.randn(side, side, **like)
            calls[f"matmul {side}"] = (2.0 * side**3, lambda a=a, b=b: a @ b)
        width, height = sizes.full
        for count, into, out in ((1, 64, 64), (1, 192, 64), (1, 160, 32)):
            x = torch.randn(count, into, height, width, **like).contiguous(memory_format=torch.channels_last)
            w = torch.randn(out, into, 3, 3, **like).contiguous(memory_format=torch.channels_last)
            flop = 18.0 * into * out * count * height * width
            calls[f"conv {into} to {out}"] = (flop, lambda x=x, w=w: F.conv2d(x, w, padding=1))
        for name, (flop, call) in calls.items():
            taken = seconds(lambda call=call: [call() for _ in range(repeats)], device, sizes)
            rates[f"{name} {precision}"] = flop * repeats / taken
    return rates


def network_pass(subject: Subject, rgb: Pixels, precision: str) -> Callable[[], object]:
    """The network alone over a picture: uploads done before, nothing finished or fetched after."""
    plan, backend = subject.plan(rgb), subject.backend
    if plan.strategy is Strategy.BODY:
        whole = Box(x0=0, y0=0, x1=plan.spec.padded_width, y1=plan.spec.padded_height)
        x = to_unit(backend.upload([cut_window(rgb, whole)]), torch.float32)
        network = backend.network(precision)
        assert isinstance(network, RRDBNet)

        def run_body() -> None:
            with torch.inference_mode():
                features = network.body(x)
                for tile in plan.tiles:
                    network.tail(features, whole, tile.keep)

        return run_body
    size, batches = subject.batch, []
    for start in range(0, len(plan.tiles), size):
        tiles = plan.tiles[start : start + size]
        windows = [cut_window(rgb, tile.read) for tile in tiles]
        levels = backend.upload(windows + windows[-1:] * (size - len(windows)))
        batches.append(to_unit(levels, torch.float32))

    def run_windows() -> None:
        for x in batches:
            backend.run(x, Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]), precision)

    return run_windows


def speed(peak: float) -> Callable[[Subject, str], list[str]]:
    def measure(subject: Subject, precision: str) -> list[str]:
        """Frames and megapixels a second with all that surrounds the network, and the shares of the peak."""
        if is_slow(subject, precision):
            return [LEFT_OUT] * len(SPEED_COLUMNS)
        rgb = picture(subject.sizes.full)
        frame_s = seconds(lambda: subject.restore(rgb, precision), subject.device, subject.sizes)
        network_s = seconds(network_pass(subject, rgb, precision), subject.device, subject.sizes)
        pixels = rgb.shape[0] * rgb.shape[1]
        flop = flop_per_px(subject.spec) * pixels
        shares = [f"{100 * flop / taken / peak:.1f}" for taken in (frame_s, network_s)]
        strategy = subject.plan(rgb).strategy.value
        rates = [f"{1 / frame_s:.3g}", f"{pixels / frame_s / 1e6:.3g}"]
        return [strategy, *rates, shares[0], f"{network_s:.3g}", shares[1]]

    return measure


NAMES = ("x4plus", "x2plus", "x4plus-anime", "animevideov3", "general-x4v3")
CHECKS: Mapping[str, Check] = {
    "fp32, same device": against_device,
    "fp32, CPU": against_cpu,
    "tile shapes": over_tiles,
    "batches": over_batches,
    "order, short batches": over_order,
    "windows against body": body_and_windows,
    "uint16": sixteen_bits,
}
GPU_TIMES_LEAST, WHOLE_MOST_S = 4.0, 480.0


def precisions_of(device: torch.device) -> list[str]:
    """Every precision that the device may be asked for."""
    found: list[str] = []
    for precision in DTYPES:
        try:
            check_precision(precision, device)
        except PrecisionError:
            continue
        found.append(precision)
    return found


def heading(device: torch.device, sizes: Sizes, rates: Mapping[str, float]) -> list[str]:
    """What ran where, and the peak with everything it is the best of."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name = f"{found.name}, capability {found.major}.{found.minor}, {found.total_memory / 2**30:.0f} GiB"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    libraries = f"{versions}, numpy {np.__version__}, Python {platform.python_version()}"
    small, cut, square, full = (f"{w}x{h}" for w, h in (sizes.small, sizes.cut, sizes.square, sizes.full))
    return [
        f"# Models on {device} ({name}), {datetime.date.today():%Y-%m-%d}",
        "",
        f"{libraries}. `python {' '.join(sys.argv)}`",
        "",
        f"Pictures: against fp32 and uint16 {small}; tile shapes {sizes.tiles}, batches {sizes.batches}, order, body"
        f" {cut}; memory {square} and {full}; speed {full}, tile {sizes.tile_px}"
        f" ({sizes.compact_tile_px} of compact networks on a GPU), median of up to {sizes.rounds}.",
        "",
        f"Peak {max(rates.values()) / 1e12:.4g} TFLOP/s, the best of: "
        + ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in rates.items()),
    ]


def measure(options: argparse.Namespace, sizes: Sizes, scratch: Path) -> Report:
    """Every job, then every model in every sort of kernels and precision; the report is written after each."""
    device, begun_s = torch.device(options.device), time.perf_counter()
    with torch.inference_mode():
        rates = measured_peak(device, sizes)
    columns: tuple[str, ...] = ()
    if not options.no_jobs:
        from gpu_jobs import COLUMNS as columns  # noqa: N811 - with farm, av and pyvips, which models do not need
    report = Report(heading(device, sizes, rates), tuple(CHECKS), columns, begun_s + options.budget_s)
    if columns:
        measure_jobs(report, options, sizes, scratch, device)
    matmul = max(rate for name, rate in rates.items() if name.startswith("matmul"))
    for name in options.models:
        measure_model(report, name, options, sizes, scratch, matmul)
    report.limits = limits(report, device, time.perf_counter() - begun_s)
    write(report, options)
    return report


def measure_jobs(
    report: Report, options: argparse.Namespace, sizes: Sizes, scratch: Path, device: torch.device
) -> None:
    from gpu_jobs import Place, jobs, ran

    place = Place(
        device=device,
        scratch=scratch,
        weights=options.weights,
        sizes=sizes,
        precision="fp16" if device.type == "cuda" else "fp32",
    )
    for job in jobs(sizes):
        begun_s = time.perf_counter()
        where = f"{job.what}, {job.model}"
        found = report.trying(where, lambda job=job: ran(job, place))
        if isinstance(found, str):
            named = {"job": job.what, "model": job.model}
            found = {**dict.fromkeys(report.job_columns, found), **named}
        report.jobs.append(found)
        write(report, options)
        print(f"{where}: {time.perf_counter() - begun_s:.1f} s", file=sys.stderr, flush=True)


def measure_model(
    report: Report, name: str, options: argparse.Namespace, sizes: Sizes, scratch: Path, matmul: float
) -> None:
    device = torch.device(options.device)
    costs: dict[str, Check] = {
        "memory, square": peak_memory(lambda sizes: sizes.square),
        "memory, full": peak_memory(lambda sizes: sizes.full),
        "speed": speed(matmul),
    }
    for kernel, subject, source in subjects(name, options.weights, scratch, device, sizes):
        for precision in precisions_of(device):
            if kernel == "fused" and precision == "fp32":
                continue  # which has no kernels of its own
            begun, leading = time.perf_counter(), [name, source, kernel, precision]
            where = f"{name} {precision}" if kernel == "plain" else f"{name} {precision}, {kernel}"
            report.holds.append([*leading, *report.cells(where, CHECKS, subject, precision)])
            report.costs.append([*leading, *report.cells(where, costs, subject, precision)])
            write(report, options)
            print(f"{where}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
        if isinstance(subject, Subject):
            subject.upscaler.close()


def write(report: Report, options: argparse.Namespace) -> None:
    options.out.write_text(report.text(), encoding="utf-8")


def limits(report: Report, device: torch.device, whole_s: float) -> list[Limit]:
    """What the issue of this bench wants of a GPU; a CPU only shows that everything runs. The wall clock of a folder is
    held to its limit whatever it lasts, that of a film from a minute on."""
    if device.type != "cuda":
        return []
    held = [Limit(what="all of it, s", found=whole_s, most=WHOLE_MOST_S, digits=0)]
    best: dict[str, float] = {}
    for row in report.figures()["costs"]:
        share = row["network % of matmul"]
        if row["precision"] == "fp16":
            best[row["model"]] = max(best.get(row["model"], 0.0), share if isinstance(share, float) else 0.0)
    for model, share in best.items():
        least = RRDB_LEAST if MODELS[model].arch == "rrdb" else SRVGG_LEAST
        held.append(Limit(what=f"{model}, fp16: network, % of matmul", found=share, least=least, digits=1))
    for row in report.jobs:
        where, times, wall = f"{row['job']}, {row['model']}", row["times official"], row["wall by network"]
        if row["job"] in ("folder", "film"):
            what = f"{where}: times the official package"
            held.append(Limit(what=what, found=known(times), least=GPU_TIMES_LEAST))
            if row["job"] == "folder" or (isinstance(wall, float) and row["wall s"] >= WALL_FROM_S):
                held.append(Limit(what=f"{where}: wall by network", found=known(wall), most=WALL_MOST, digits=3))
    return held


def known(cell: object) -> float:
    """NaN, which holds nothing, where a row says why it has no figure."""
    return cell if isinstance(cell, float) else math.nan


def subjects(
    name: str, weights: Path | None, scratch: Path, device: torch.device, sizes: Sizes
) -> Iterator[tuple[str, Subject | str, str]]:
    """Sort of kernels, the model in it on the device or why there is none, and where its weights come from."""
    try:
        spec, path, source = weights_of(name, weights, scratch, sizes)
    except Exception as error:  # a model without weights must not keep the others from being measured
        yield "plain", not_loaded(error), "none"
        return
    in_fp32: dict[str, Pixels] = {}
    for kernel in kernels_of(spec, device):
        try:
            made = Subject(spec=spec, path=path, device=device, sizes=sizes, kernel=kernel, in_fp32=in_fp32)
        except Exception as error:  # as above
            yield kernel, not_loaded(error), source
            continue
        yield kernel, made, source


def not_loaded(error: Exception) -> str:
    return f"not loaded: {type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--weights", type=Path, help="a folder with weight files under their official names")
    parser.add_argument("--out", type=Path, default=Path(f"bench/results/gpu-{datetime.date.today():%Y-%m-%d}.md"))
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--no-jobs", action="store_true", help="models only")
    parser.add_argument("--budget-s", type=float, default=460.0, help="nothing is begun after so many seconds")
    add_flag(parser)
    parser.add_argument("--quick", action="store_true", help="tiny pictures, seeded networks of one block")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(options, QUICK if options.quick else Sizes(), Path(scratch))
    print(report.text())
    keep("gpu", {**machine("torch"), "device": options.device, **report.figures()}, options.out.parent)
    return 1 if report.failures else exit_code(report.limits, options)


if __name__ == "__main__":
    sys.exit(main())
