"""Where the time of a run goes: py-spy looks into every process of a farm command, and its samples are summed.

    pip install py-spy
    python bench/flames.py SOURCE --weights-dir DIR [--model animevideov3] [--workers 2] > bench/results/flames-DATE.md

Samples of the driver and of every worker: what waits is not counted, nor are threads of libvips and of codecs, which
have no Python in them. Each belongs to the part of the house whose function is innermost in its stack, whatever torch
does below it. py-spy is started once the workers are there, so starting them and loading their models is hardly seen;
it does not stop who it looks at.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

import psutil
from figures import cpu_name  # beside this file
from watch import ROOT, is_actor

RATE_HZ = 50
LONGEST_S = 3600
WAITS = ("Worker.main_loop (ray/", "Job.wait (farm/", "thread (")
"""innermost frames that py-spy takes for work"""
SHOWN = 25
"""functions, of workers"""
LEAST = 0.002
"""of all samples, that is shown"""
PARTS: Mapping[str, tuple[str, ...]] = {
    "network": ("sr_kernel/archs/",),
    "read, write, decode": ("farm/storage/", "farm/media/video/read/", "farm/media/load", "farm/media/decode"),
    "encode, join, publish": ("farm/media/",),
    "colours, resizing, rounding, figures": ("sr_kernel/",),
    "tasks, lanes, worker": ("farm/tasks/", "farm/worker", "farm/actors"),
    "everything else of the farm": ("farm/",),
    "Ray": ("ray/",),
    "torch, numpy and others without us": ("",),
}
"""the first that has a frame's file; of a stack the innermost frame of ours decides, else its innermost"""


def recorded(command: list[str], folder: Path) -> tuple[float, dict[str, list[str]]]:
    """Runs it; gives its seconds from where py-spy looked on, and raw stacks by role."""
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = psutil.Process(run.pid)
    spies: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
    began = time.monotonic()
    while run.poll() is None:
        found = [("driver", root), *(("worker", one) for one in root.children(recursive=True) if is_worker(one))]
        if len(found) > 1:
            for role, process in found:
                name = f"{role}-{process.pid}"
                if name not in spies:
                    began = time.monotonic() if not spies else began
                    spies[name] = spy(process.pid, folder / f"{name}.raw")
        time.sleep(0.5)
    seconds = time.monotonic() - began
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    stacks: dict[str, list[str]] = {}
    for name, (process, kept) in spies.items():
        process.wait()
        if kept.exists():
            stacks.setdefault(name.partition("-")[0], []).extend(kept.read_text().splitlines())
    return seconds, stacks


def is_worker(process: psutil.Process) -> bool:
    """Whether an actor of the run lives there."""
    try:
        return is_actor(" ".join(process.cmdline()[:1]))
    except psutil.Error:
        return False


def spy(pid: int, kept: Path) -> tuple[subprocess.Popen[bytes], Path]:
    command = ["py-spy", "record", "--pid", pid, "--rate", RATE_HZ, "--format", "raw", "--threads", "--nonblocking"]
    command += ["--duration", LONGEST_S, "--output", kept]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*map(str, command)], stdout=quiet, stderr=quiet), kept


def samples(stacks: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Frames from the outermost on, as `name (file:line)`, and how often."""
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not frames[-1].startswith(WAITS):
            yield frames, int(count)


def deciding(frames: list[str]) -> str:
    """The innermost frame of ours."""
    ours = (frame for frame in reversed(frames) if "(farm/" in frame or "(sr_kernel/" in frame)
    return next(ours, frames[-1])


def part_of(frame: str) -> str:
    return next(part for part, starts in PARTS.items() if any(f"({start}" in frame or not start for start in starts))


def tables(stacks: Mapping[str, list[str]]) -> list[str]:
    """Markdown: parts by role, then functions of workers."""
    lines = ["| process | part | samples | share of all |", "|---|---|---|---|"]
    counted = {role: Counter[str]() for role in stacks}
    functions = Counter[str]()
    for role, raw in stacks.items():
        for frames, count in samples(raw):
            frame = deciding(frames)
            counted[role][part_of(frame)] += count
            if role == "worker":
                functions[frame.rpartition(":")[0] + ")"] += count
    total = sum(sum(counts.values()) for counts in counted.values())
    for role, counts in counted.items():
        lines += [
            f"| {role} | {part} | {count} | {count / total:.1%} |"
            for part, count in counts.most_common()
            if count >= LEAST * total
        ]
    lines += ["", "| function of workers, with all below it that is not ours | share of all |", "|---|---|"]
    lines += [
        f"| `{name}` | {count / total:.1%} |" for name, count in functions.most_common(SHOWN) if count >= LEAST * total
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a film, or a folder")
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        flags = ("--out", Path(name) / "out", "--model", arguments.model, "--weights-dir", arguments.weights_dir)
        command = [sys.executable, "-m", "farm", "submit", arguments.source.resolve(), *flags, "--quiet"]
        command += ["--gpus", 0, "--workers", arguments.workers]
        seconds, stacks = recorded([*map(str, command)], Path(name))
    print(f"## {arguments.source.name}, {arguments.model}, {arguments.workers} workers, {date.today().isoformat()}\n")
    print(f"{cpu_name()}; {seconds:.0f} s from the first look on, {RATE_HZ} looks a second into each process.\n")
    print("\n".join(tables(stacks)))


if __name__ == "__main__":
    main()
