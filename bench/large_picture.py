"""Peak memory of a picture of 400 million pixels, restored to a BigTIFF of 6.4 thousand million, band by band.

    python bench/large_picture.py FOLDER --model FILE [--side 20000] [--workers 2]

FOLDER needs about 45 GB. FILE is any weight file; without --model a seeded network of three convolutions stands in for
a real one, since what is measured is everything but the network. Resident memory of the driver and of every actor is
sampled from outside, four times a second. Prints a table and appends it to bench/results/large-picture.md.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import psutil
import pyvips
import torch

RESULTS = Path(__file__).with_name("results") / "large-picture.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = make_picture(args.folder / "large.tiff", args.side)
    model = args.model or make_model(args.folder / "stand-in.pth")
    out = args.folder / "out"
    command = [sys.executable, "-m", "farm", "submit", str(source), "--model", str(model)]
    command += ["--workers", str(args.workers), "--out", str(out)]
    started_s = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peaks, disk = watch(run, out)
    seconds = time.monotonic() - started_s
    if run.wait() != 0:
        raise SystemExit(f"the run ended with {run.returncode}")
    report(args, source, Path(run.stdout.read().strip()), peaks, disk, seconds)  # type: ignore[union-attr]


def make_picture(path: Path, side: int) -> Path:
    """A picture with structure everywhere: two crossed gradients and noise; made in strips."""
    if not path.exists():
        x = pyvips.Image.xyz(side, side)
        waves = ((x[0] / 37).sin() + (x[1] / 53).cos()) * 50 + 128
        noise = pyvips.Image.gaussnoise(side, side, sigma=8, seed=1)
        channels = [(waves * factor + noise).cast("uchar") for factor in (1.0, 0.8, 0.6)]
        channels[0].bandjoin(channels[1:]).copy(interpretation="srgb").tiffsave(str(path), bigtiff=True)
    return path


def make_model(path: Path) -> Path:
    """SRVGGNetCompact of 8 features and one hidden convolution, seeded."""
    torch.manual_seed(0)
    state = {
        "body.0.weight": torch.randn(8, 3, 3, 3) * 0.1,
        "body.0.bias": torch.zeros(8),
        "body.1.weight": torch.full((8,), 0.1),
        "body.2.weight": torch.randn(8, 8, 3, 3) * 0.06,
        "body.2.bias": torch.zeros(8),
        "body.3.weight": torch.full((8,), 0.1),
        "body.4.weight": torch.randn(48, 8, 3, 3) * 0.06,
        "body.4.bias": torch.zeros(48),
    }
    torch.save({"params": state}, path)
    return path


def watch(run: subprocess.Popen[str], out: Path) -> tuple[dict[str, int], int]:
    """Peak resident bytes by role, and the most that lay on the disk below `out`."""
    peaks: dict[str, int] = {}
    driver, disk, round_ = psutil.Process(run.pid), 0, 0
    while run.poll() is None:
        for process in [driver, *driver.children(recursive=True)]:
            try:
                title, rss = " ".join(process.cmdline()), process.memory_info().rss
            except psutil.Error:
                continue  # it has ended between the two questions
            role = f"actor {process.pid}" if title.startswith("ray::Worker") else ""
            role = "driver" if process.pid == run.pid else role
            if role:
                peaks[role] = max(peaks.get(role, 0), rss)
        if round_ % 40 == 0:
            disk = max(disk, sum(path.stat().st_size for path in out.rglob("*") if path.is_file()))
        round_ += 1
        time.sleep(0.25)
    return peaks, disk


def report(
    args: argparse.Namespace, source: Path, made: Path, peaks: dict[str, int], disk: int, seconds: float
) -> None:
    header = pyvips.Image.new_from_file(str(made), access="sequential")
    network = args.model or "the stand-in network (three convolutions of 8 features)"
    lines = [
        f"## {date.today()}, {platform.machine()}, {psutil.cpu_count()} cores, torch {torch.__version__}",
        "",
        f"`python bench/large_picture.py FOLDER --side {args.side} --workers {args.workers}`: {args.side}x{args.side} "
        f"to {header.width}x{header.height} through {network}, {source.stat().st_size / 1e9:.1f} GB in, "
        f"{made.stat().st_size / 1e9:.1f} GB out, {seconds:.0f} s, at most {disk / 1e9:.1f} GB on the disk.",
        "",
        "| process | peak resident memory, MB |",
        "|---|---|",
        *(f"| {role.split()[0]} | {peak / 1e6:.0f} |" for role, peak in sorted(peaks.items())),
        "",
    ]
    print("\n".join(lines))
    with RESULTS.open("a") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
