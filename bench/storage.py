"""From bucket to bucket against from disk to disk: the same small pictures, network and machine, interleaved.

    export $(scripts/s3-test-server start /tmp/s3)
    FARM_WEIGHTS_DIR=... python bench/storage.py [--pictures 500] [--side 96] [--model animevideov3] [--rounds 3]

Writes bench/results/storage-DATE.md and a line of storage.jsonl. Every run restores the same pictures with a worker on
every core. Steady state is from the first picture's start to the last one's end; what Ray needs to start is the same
for both. The server runs on the same cores as the farm: what it takes of them is told beside, since a store elsewhere
takes nothing. Exit code 1 where two runs have made other bytes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pyvips
from figures import cpu_name, mid  # beside this file
from limits import Limit, add_flag, exit_code, promise
from limits import kept as kept_limits
from recorded import Figures, keep, machine
from watch import finish, start

HERE = Path(__file__).parent
SERVER = ("radosgw", "ceph-osd", "ceph-mon")


@dataclass(frozen=True, kw_only=True)
class Run:
    """All pictures, once."""

    wall_s: float
    steady_s: float
    infer_s: float
    """seconds inside the network, of all workers"""
    server_s: float
    """processor seconds of the S3 server meanwhile"""
    digests: tuple[str, ...]
    """of the outputs, by row"""


class Bucket:
    """A fresh prefix of the S3 server that the environment names, seen by botocore and not by the code under test."""

    def __init__(self) -> None:
        sys.path.insert(0, str(HERE.parent))
        from tests.s3_server import BUCKET, require_s3

        server = require_s3()
        self.environment = server.environment
        self.url = server.new_prefix()
        self._client, self._bucket = server.client(), BUCKET

    def send(self, folder: Path) -> str:
        """The files of a folder as objects; their prefix."""
        for path in sorted(folder.iterdir()):
            self._client.put_object(Bucket=self._bucket, Key=self._key(f"in/{path.name}"), Body=path.read_bytes())
        return f"{self.url}/in/"

    def fetch(self, name: str, to: Path) -> Path:
        to.write_bytes(self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read())
        return to

    def _key(self, name: str) -> str:
        return f"{self.url.split('/', 3)[3]}/{name}"


def make_pictures(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (side // 8 + 2, side // 8 + 2, 3), dtype=np.uint8)
        image = pyvips.Image.new_from_array(coarse).resize(8, kernel="cubic").crop(0, 0, side, side)
        image.copy(interpretation="srgb").write_to_file(str(folder / f"{index:05d}.png"))
    return folder


def server_seconds() -> float:
    """Processor seconds that the S3 server has taken so far."""
    found = [process for process in psutil.process_iter(["name"]) if process.info["name"] in SERVER]
    return sum(sum(process.cpu_times()[:2]) for process in found)


def run(source: str, out: str, results: Path, arguments: argparse.Namespace, bucket: Bucket | None) -> Run:
    environment = bucket.environment if bucket else {}
    os.environ.update(environment)
    command = [sys.executable, "-m", "farm", "submit", source, "--out", out, "--model", arguments.model]
    command += ["--gpus", "0", "--pin-cores", "--workers", str(len(os.sched_getaffinity(0)))]
    before, started = server_seconds(), time.perf_counter()
    finish(start(command))
    wall_s, server_s = time.perf_counter() - started, server_seconds() - before
    if bucket:
        bucket.fetch(f"{out.rsplit('/', 1)[-1]}/results.parquet", results)
    rows = pq.read_table(results).to_pylist()
    bad = [row["message"] for row in rows if row["status"] != "done"]
    if bad:
        raise SystemExit(f"{len(bad)} pictures failed, the first: {bad[0]}")
    begun = min(row["finished_unix"] - row["total_s"] for row in rows)
    return Run(
        wall_s=wall_s,
        steady_s=max(row["finished_unix"] for row in rows) - begun,
        infer_s=sum(row["infer_s"] for row in rows),
        server_s=server_s,
        digests=tuple(row["sha256"] for row in rows),
    )


def contest(arguments: argparse.Namespace, folder: Path) -> dict[str, list[Run]]:
    pictures, bucket = make_pictures(folder / "in", arguments.pictures, arguments.side), Bucket()
    source = bucket.send(pictures)
    runs: dict[str, list[Run]] = {"disk to disk": [], "bucket to bucket": []}
    for round_ in range(arguments.rounds):
        out = folder / f"out-{round_}"
        runs["disk to disk"].append(run(str(pictures), str(out), out / "results.parquet", arguments, None))
        shutil.rmtree(out)
        target, results = f"{bucket.url}/out-{round_}", folder / "results.parquet"
        runs["bucket to bucket"].append(run(source, target, results, arguments, bucket))
        print(f"round {round_ + 1}: " + ", ".join(f"{name} {made[-1].steady_s:.1f} s" for name, made in runs.items()))
    return runs


def same_bytes(runs: Mapping[str, Sequence[Run]]) -> bool:
    return len({run.digests for made in runs.values() for run in made}) == 1


def limits(runs: Mapping[str, Sequence[Run]]) -> list[Limit]:
    return [promise("the same bytes in every run, from disk and from bucket", holds=same_bytes(runs))]


def figures(runs: Mapping[str, Sequence[Run]], arguments: argparse.Namespace) -> Figures:
    """As they are kept."""
    parts = ("steady_s", "wall_s", "infer_s", "server_s")
    seconds = {name: {part: [getattr(run, part) for run in made] for part in parts} for name, made in runs.items()}
    return {"model": arguments.model, "pictures": arguments.pictures, "side": arguments.side, "seconds": seconds}


def report(arguments: argparse.Namespace, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    disk, store = (statistics.median(run.steady_s for run in made) for made in runs.values())
    walls = [statistics.median(run.wall_s for run in made) for made in runs.values()]
    same = same_bytes(runs)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray", "s3fs"))
    lines = [
        f"# Storage: from bucket to bucket and from disk to disk, {datetime.date.today().isoformat()}",
        "",
        f"{arguments.pictures} pictures of {arguments.side}x{arguments.side}, {arguments.model}, {arguments.rounds} "
        "rounds, interleaved; the S3 server (radosgw) on the same cores.",
        f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores; {versions}; Python {platform.python_version()}.",
        "",
        "| run | steady state, s | whole command, s | in the network, s | server's processor s |",
        "|---|---|---|---|---|",
    ]
    for name, made in runs.items():
        parts = [[getattr(run, part) for run in made] for part in ("steady_s", "wall_s", "infer_s", "server_s")]
        lines.append(f"| {name} | " + " | ".join(map(mid, parts)) + " |")
    return [
        *lines,
        "",
        f"- bucket to bucket takes {store / disk:.3f} times disk to disk in steady state, {walls[1] / walls[0]:.3f} "
        "times as a whole command",
        f"- outputs: {'the same bytes in every run' if same else 'OTHER BYTES'}",
        "",
        "Made by `bench/storage.py`.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--side", type=int, default=96, help="of a picture, in pixels")
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the report; default: bench/results/storage-DATE.md")
    add_flag(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = contest(arguments, Path(folder))
    lines, held = report(arguments, runs), limits(runs)
    target = arguments.out or HERE / "results" / f"storage-{datetime.date.today().isoformat()}.md"
    target.write_text("\n".join(lines) + "\n")
    print(f"\n{target}\n" + "\n".join(lines))
    keep("storage", {**machine("torch", "ray", "s3fs"), **figures(runs, arguments), "limits": kept_limits(held)})
    return exit_code(held, arguments)


if __name__ == "__main__":
    sys.exit(main())
