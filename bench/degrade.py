"""Pairs a second of the degradation and of upstream's method, on the same machine and pictures, interleaved.

    python bench/degrade.py PICTURES [--seconds 20] [--rounds 5]

Both read the PNG files of a folder, make pairs of 400 and 100 pixels by the x4 recipe, and write each as two PNG files.
The farm's degradation is run as processes of the same kind as upstream's, and as `farm degrade`, with Ray, ledger and
all, whose rate is that between its first and its last pair.
Upstream's method is basicsr's own dataset and `feed_data`, four pairs a batch: in one process with torch's threads on
every core, as its training runs it, and in one process a core. Writes bench/results/degrade-DATE.md and a line of
degrade.jsonl. Needs basicsr.
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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from figures import cpu_name, mid  # beside this file
from recorded import keep, machine

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Contender:
    method: str
    processes: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Result:
    pairs_per_s: float
    cpu_ms_per_pair: float | None = None
    """None where it was not taken"""


def run(contender: Contender, pictures: Path, out: Path, seconds: float) -> Result:
    """All processes of a contender over the same seconds, started together when all are warm."""
    command = [sys.executable, str(HERE / "degrade_worker.py"), str(pictures), str(out), "--method", contender.method]
    command += ["--threads", str(contender.threads), "--seconds", str(seconds)]
    workers = [
        subprocess.Popen([*command, "--seed", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(contender.processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        if worker.stdout.readline().strip() != "ready":
            raise SystemExit(f"a worker of {contender.method} did not start: see its message above")
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [json.loads(worker.communicate()[0]) for worker in workers]
    return Result(
        pairs_per_s=sum(answer["pairs"] / answer["seconds"] for answer in answers),
        cpu_ms_per_pair=1e3 * sum(answer["cpu_s"] for answer in answers) / sum(answer["pairs"] for answer in answers),
    )


def run_command(workers: int, pictures: Path, out: Path, pairs: int) -> Result:
    """`farm degrade`, pairs as a tree, from the first pair on the disk to the last."""
    count = sum(1 for _ in pictures.glob("*.png"))
    command = [sys.executable, "-m", "farm", "degrade", str(pictures), "--out", str(out), "--gpus", "0", "--no-usm"]
    command += ["--workers", str(workers), "--per-image", str(max(1, pairs // count)), "--quiet"]
    subprocess.run(command, check=True)
    times = sorted(path.stat().st_mtime for path in (out / "lq").glob("*.png"))
    return Result(pairs_per_s=(len(times) - 1) / (times[-1] - times[0]))


def copy_pictures(pictures: Path, folder: Path) -> Path:
    """The PNG files in a folder of the run's own, beside which upstream's list of names is written."""
    folder.mkdir()
    for path in pictures.glob("*.png"):
        shutil.copyfile(path, folder / path.name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pairs", type=int, default=600, help="of `farm degrade`")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    contenders = {
        f"upstream's method, 1 process, {cores} threads": Contender(method="upstream", processes=1, threads=cores),
        f"upstream's method, {cores} processes, 1 thread": Contender(method="upstream", processes=cores, threads=1),
        f"the farm's, {cores} processes, 1 thread": Contender(method="ours", processes=cores, threads=1),
    }
    command = f"`farm degrade`, {cores} workers"
    results: dict[str, list[Result]] = {name: [] for name in (*contenders, command)}
    turns = [(round_, name) for round_ in range(arguments.rounds) for name in results]
    for round_, name in turns:
        with tempfile.TemporaryDirectory() as scratch:
            pictures, out = copy_pictures(arguments.pictures, Path(scratch) / "pictures"), Path(scratch) / "out"
            if name == command:
                found = run_command(cores, pictures, out, arguments.pairs)
            else:
                found = run(contenders[name], pictures, out, arguments.seconds)
            results[name].append(found)
        print(f"round {round_ + 1}: {name}: {results[name][-1].pairs_per_s:.2f} pairs/s", flush=True)
    lines = report(results, arguments, cores)
    target = HERE / "results" / f"degrade-{datetime.date.today().isoformat()}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print(f"\n{target.relative_to(HERE.parent)}\n" + "\n".join(lines))
    rates = {name: [one.pairs_per_s for one in found] for name, found in results.items()}
    keep("degrade", {**machine("torch", "basicsr"), "pairs_s": rates})


def report(results: dict[str, list[Result]], arguments: argparse.Namespace, cores: int) -> list[str]:
    base = statistics.median(result.pairs_per_s for result in next(iter(results.values())))
    lines = [
        f"# Degradation: upstream's method and the farm's, {datetime.date.today().isoformat()}",
        "",
        f"x4 recipe, good crops of 400 pixels, read from and written as PNG files; {arguments.rounds} rounds of"
        f" {arguments.seconds:g} s, interleaved.",
        f"{cpu_name()}, {cores} cores; torch {metadata.version('torch')}, basicsr {metadata.version('basicsr')};"
        f" Python {platform.python_version()}.",
        "",
        "| contender | pairs/s, median (range) | times the first, by median | CPU ms a pair, least |",
        "|---|---|---|---|",
    ]
    for name, found in results.items():
        rates = [result.pairs_per_s for result in found]
        cpu = min((one.cpu_ms_per_pair for one in found if one.cpu_ms_per_pair is not None), default=None)
        said = "" if cpu is None else f"{cpu:.0f}"
        lines.append(f"| {name} | {mid(rates)} | {statistics.median(rates) / base:.1f} | {said} |")
    note = "`farm degrade` decodes a picture once for up to 16 pairs of it, the others once for each pair."
    return [*lines, "", note, "", "Made by `bench/degrade.py`."]


if __name__ == "__main__":
    main()
