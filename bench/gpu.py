"""Every model in every precision on one device: what must hold, the memory it takes, the speed it reaches.

    PYTHONPATH=. python bench/gpu.py [--device cuda:0] [--weights DIR] [--out FILE] [--models NAME ...] [--quick]

Needs numpy and torch besides sr_kernel. The SRVGG models take their files from --weights where they lie there, the
others official files only; what has none gets seeded weights, written to a file with the official keys. A check that
fails becomes a cell that says why, stops no other, and makes the exit code 1. The file (bench/results/gpu-DATE.md
unless told otherwise) is written anew after every model and precision, so that a run cut short leaves what it measured.
--quick shrinks pictures and seeded networks for a run on a CPU.

Percent of peak: FLOP of the picture without any halo (`flop_per_px`) over time, over the best rate that a square
matmul or one of the models' own 3x3 convolutions reached in half precision on random data in the same run.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from gpu_checks import (
    QUICK,
    CheckError,
    Sizes,
    Subject,
    against_cpu,
    against_device,
    body_and_windows,
    over_batches,
    over_order,
    over_tiles,
    picture,
    sixteen_bits,
    weights_of,
)

from sr_kernel.archs import RRDBNet
from sr_kernel.backend import DTYPES, PrecisionError, check_precision
from sr_kernel.hardware import cpu_runs_bf16
from sr_kernel.models import flop_per_px
from sr_kernel.pixels import Pixels, cut_window, to_unit
from sr_kernel.tiles import Box, Strategy


def peak_memory(size: Callable[[Sizes], tuple[int, int]]) -> Callable[[Subject, str], str]:
    def measure(subject: Subject, precision: str) -> str:
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
Check = Callable[[Subject, str], "str | list[str]"]
CHECKS: Mapping[str, Check] = {
    "fp32, same device": against_device,
    "fp32, CPU": against_cpu,
    "tile shapes": over_tiles,
    "batches": over_batches,
    "order, short batches": over_order,
    "windows against body": body_and_windows,
    "uint16": sixteen_bits,
}
SPEED_COLUMNS = ("strategy", "frames/s", "Mpx/s", "% of peak", "network s", "network % of peak")


@dataclass
class Report:
    """The tables so far."""

    heading: list[str]
    holds: list[str] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def cells(self, where: str, checks: Mapping[str, Check], subject: Subject | str, precision: str) -> list[str]:
        """One cell a check; what fails is a cell too. `subject` is text where the model could not be loaded."""
        made: list[str] = []
        for name, check in checks.items():
            try:
                if isinstance(subject, str):
                    raise CheckError(subject)
                cell = check(subject, precision)
                made += [cell] if isinstance(cell, str) else cell
            except Exception as error:  # whatever a device raises belongs into the table
                text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")[:300]
                self.failures.append(f"{where}, {name}: {text}")
                made += [f"FAILED [{len(self.failures)}]"] * (len(SPEED_COLUMNS) if name == "speed" else 1)
        return made

    def text(self) -> str:
        holds = _table(["model", "weights", "precision", *CHECKS], self.holds)
        memory = ["MiB, square", "MiB, full"]
        costs = _table(["model", "weights", "precision", *memory, *SPEED_COLUMNS], self.costs)
        failures = [f"{index}. {text}" for index, text in enumerate(self.failures, 1)] or ["None."]
        sections = ["", "## What must hold", "", *holds, "", "## What it costs", "", *costs, "", "## Failures", ""]
        return "\n".join([*self.heading, *sections, *failures, ""])


def _table(columns: Iterable[str], rows: Iterable[str]) -> list[str]:
    columns = list(columns)
    return [_row(columns), _row(["---"] * len(columns)), *rows]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


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
        f" {cut}; memory {square} and {full}; speed {full}, tile {sizes.tile_px}, median of up to {sizes.rounds}.",
        "",
        f"Peak {max(rates.values()) / 1e12:.4g} TFLOP/s, the best of: "
        + ", ".join(f"{name} {rate / 1e12:.4g}" for name, rate in rates.items()),
    ]


def measure(options: argparse.Namespace, sizes: Sizes, scratch: Path) -> Report:
    """Every model in every precision; the report is written after each."""
    device = torch.device(options.device)
    with torch.inference_mode():
        rates = measured_peak(device, sizes)
    report = Report(heading(device, sizes, rates))
    costs: dict[str, Check] = {
        "memory, square": peak_memory(lambda sizes: sizes.square),
        "memory, full": peak_memory(lambda sizes: sizes.full),
        "speed": speed(max(rates.values())),
    }
    for name in options.models:
        subject, source = load(name, options.weights, scratch, device, sizes)
        for precision in precisions_of(device):
            begun, where = time.perf_counter(), [name, source, precision]
            report.holds.append(_row([*where, *report.cells(f"{name} {precision}", CHECKS, subject, precision)]))
            report.costs.append(_row([*where, *report.cells(f"{name} {precision}", costs, subject, precision)]))
            options.out.write_text(report.text(), encoding="utf-8")
            print(f"{name} {precision}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
        if isinstance(subject, Subject):
            subject.upscaler.close()
    return report


def load(
    name: str, weights: Path | None, scratch: Path, device: torch.device, sizes: Sizes
) -> tuple[Subject | str, str]:
    """A model on the device, or why there is none; and where its weights come from."""
    try:
        spec, path, source = weights_of(name, weights, scratch, sizes)
        return Subject(spec=spec, path=path, device=device, sizes=sizes), source
    except Exception as error:  # a model that cannot be loaded must not keep the others from being measured
        return f"not loaded: {type(error).__name__}: {error}", "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--weights", type=Path, help="a folder with weight files under their official names")
    parser.add_argument("--out", type=Path, default=Path(f"bench/results/gpu-{datetime.date.today():%Y-%m-%d}.md"))
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true", help="tiny pictures, seeded networks of one block")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(options, QUICK if options.quick else Sizes(), Path(scratch))
    print(report.text())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
