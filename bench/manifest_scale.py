"""What a manifest of many rows costs beside its work: planning, the driver's memory, running again when all is done.

    python bench/manifest_scale.py [--plan-rows 1000 ... 10000000] [--run-rows 1000 ... 1000000] [--again-rows 1000000]
    export $(scripts/s3-test-server start /tmp/s3); python bench/manifest_scale.py ... --store-rows 20000

Needs the weights of animevideov3 (FARM_WEIGHTS_DIR), which nothing is restored with.

Writes bench/results/manifest-scale-DATE.md and, where matplotlib is, a plot beside it. Rows are Parquet (source,
sha256, bytes, width, height), so that no source has to be there. The task is `nothing` (farm/tasks/nothing.py): rows go
through the real survey, ledger, schedule and Ray, and come back at once. Each figure is a process of its own; memory is
its high-water mark, less what it was before the manifest was opened.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from figures import cpu_name, process_mb  # beside this file

ROWS_A_GROUP = 100_000
REMOTE_ROOT = "s3://archive/photos"
FILES_A_FOLDER = 1000
SHARD_ROWS = 50_000
MODEL = "animevideov3"


def name_of(row: int) -> str:
    return f"{row // FILES_A_FOLDER:05d}/img_{row:08d}.jpg"


def make_manifest(path: Path, rows: int) -> Path:
    """Rows that say everything of their sources, so that nothing has to be looked up."""
    columns = {
        "source": pa.string(),
        "sha256": pa.string(),
        "bytes": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
    }
    with pq.ParquetWriter(path, pa.schema(list(columns.items()))) as writer:
        for start in range(0, rows, ROWS_A_GROUP):
            names = [name_of(row) for row in range(start, min(start + ROWS_A_GROUP, rows))]
            digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
            numbers = [[200_000] * len(names), [640] * len(names), [480] * len(names)]
            writer.write_table(pa.table([names, digests, *numbers], schema=writer.schema))
    return path


# -- what is measured, each in a process of its own --------------------------------------------------------------------


def config_of(manifest: str, out: str, root: str | None) -> Any:
    from farm.config import ModelConfig, OutputConfig, RunConfig, WorkerConfig

    return RunConfig(
        manifest=manifest,
        root=root,
        model=ModelConfig(model=MODEL),
        output=OutputConfig(out=out),
        worker=WorkerConfig(gpus=0),
        quiet=True,
    )


def measure_plan(manifest: str, out: str, root: str | None) -> dict[str, float]:
    """Both passes over a manifest of which nothing is done, up to the parts that workers would get."""
    from farm import plan, run
    from farm.records import Part, PartKind
    from farm.survey import PendingRow, Surveyor

    config = config_of(manifest, out, root)
    planner = plan.Planner(config, run.ModelBook(config.model), out, "cpu")
    import pyarrow.compute  # noqa: F401 (it belongs to what is there before)

    baseline_mb, began = process_mb("VmRSS"), time.perf_counter()
    with Surveyor(config, planner, out) as surveyor:
        counted = surveyor.survey()
        surveyed = time.perf_counter()
        survey_mb = process_mb("VmHWM")
        parts = 0
        for _, planned in surveyor.plans(counted):
            for row in planned.rows():
                if not isinstance(row, PendingRow):
                    raise SystemExit(f"not pending: {row}")
                Part(item=row.item, kind=PartKind.PICTURE, cost_px=row.item.cost_px)
                parts += 1
            del planned
    ended = time.perf_counter()
    if parts != counted.rows:
        raise SystemExit(f"{parts} parts of {counted.rows} rows")
    return {
        "rows": parts,
        "survey_s": surveyed - began,
        "plan_s": ended - surveyed,
        "baseline_mb": baseline_mb,
        "survey_mb": survey_mb,
        "peak_mb": process_mb("VmHWM"),
    }


def measure_run(manifest: str, out: str, root: str | None) -> dict[str, float]:
    """A whole run in Ray, of a task that does nothing, or of nothing at all where it is done already."""
    from farm import plan
    from farm.kinds import MediaKind
    from farm.run import run_manifest

    plan.TASKS = dict.fromkeys(MediaKind, "nothing")
    began = time.perf_counter()
    summary = run_manifest(config_of(manifest, out, root))
    return {
        "rows": summary.rows,
        "done": summary.done,
        "reused": summary.reused,
        "seconds": time.perf_counter() - began,
        "peak_mb": process_mb("VmHWM"),
        "ray": float("ray" in sys.modules),
        "torch": float("torch" in sys.modules),
    }


MEASURES: dict[str, Callable[[str, str, str | None], dict[str, float]]] = {"plan": measure_plan, "run": measure_run}


def measured(what: str, manifest: Path | str, out: Path | str, root: str | None) -> dict[str, float]:
    """One of MEASURES in a fresh process; `wall_s` is the whole process."""
    home = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(home.parent), str(home)]),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, __file__, "--measure", what, str(manifest), str(out), *([root] if root else [])]
    began = time.perf_counter()
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    found["wall_s"] = time.perf_counter() - began
    print(what, {name: round(value, 2) for name, value in found.items()}, file=sys.stderr)
    return found


# -- the tables --------------------------------------------------------------------------------------------------------


def plan_rows(folder: Path, counts: Sequence[int]) -> Iterator[dict[str, float]]:
    for rows in counts:
        manifest = make_manifest(folder / f"{rows}.parquet", rows)
        yield measured("plan", manifest, folder / "out", REMOTE_ROOT)
        manifest.unlink()


def run_rows(folder: Path, counts: Sequence[int]) -> Iterator[dict[str, float]]:
    for rows in counts:
        manifest, out = make_manifest(folder / f"{rows}.parquet", rows), folder / f"run-{rows}"
        yield measured("run", manifest, out, REMOTE_ROOT)
        manifest.unlink()
        shutil.rmtree(out)


def run_again(folder: Path, rows: int) -> tuple[dict[str, float], dict[str, float]]:
    """A run, and the same again, with an empty file for each output."""
    manifest, out = make_manifest(folder / "again.parquet", rows), folder / "again"
    first = measured("run", manifest, out, REMOTE_ROOT)
    for row in range(rows):
        path = out / name_of(row).replace(".jpg", "_4x.jpg")
        if row % FILES_A_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    before = written(out)
    again = measured("run", manifest, out, REMOTE_ROOT)
    if again["reused"] != rows or again["ray"] or again["torch"] or written(out) != before:
        raise SystemExit(f"the second run was no rerun: {again}")
    return first, again


def written(out: Path) -> dict[str, int]:
    """When the farm's own files were written last."""
    found = (path for path in (out / ".farm").rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): path.stat().st_mtime_ns for path in [*found, out / "results.parquet"]}


def real_files(folder: Path, rows: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Planning, running and running again over files that are there, each with its size and time as its version."""
    source, out = folder / "files", folder / "files-out"
    for row in range(rows):
        path = source / name_of(row)
        if row % FILES_A_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    manifest = folder / "files.parquet"
    pq.write_table(pa.table({"source": [name_of(row) for row in range(rows)]}), manifest)
    planned = measured("plan", manifest, out, str(source))
    first = measured("run", manifest, out, str(source))
    for row in range(rows):
        path = out / name_of(row).replace(".jpg", "_4x.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return planned, first, measured("run", manifest, out, str(source))


def on_a_store(rows: int) -> Iterator[tuple[str, dict[str, float], dict[str, int]]]:
    """(what the manifest says of its sources, the rerun of a finished run, its requests by kind), bucket to bucket."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.faulty_proxy import FaultyProxy
    from tests.s3_server import BUCKET, require_s3

    server = require_s3()
    proxy = FaultyProxy(server.endpoint)
    os.environ.update({**server.environment, "FARM_S3_ENDPOINT_URL": proxy.url})
    client = server.client()

    def put(url: str, names: Iterable[str], body: bytes) -> None:
        prefix = url.split("/", 3)[3]
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda name: client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=body), names):
                pass

    names = [name_of(row) for row in range(rows)]
    for what in ("etag", "nothing"):
        root = server.new_prefix()
        put(f"{root}/in", names, b"x")
        columns = {"source": names, "bytes": [1] * rows}
        if what == "etag":
            columns["etag"] = [hashlib.md5(b"x", usedforsecurity=False).hexdigest()] * rows
        table = io.BytesIO()
        pq.write_table(pa.table(columns), table)
        client.put_object(Bucket=BUCKET, Key=f"{root.split('/', 3)[3]}/in/m.parquet", Body=table.getvalue())
        measured("run", f"{root}/in/m.parquet", f"{root}/out", None)
        put(f"{root}/out", (name.replace(".jpg", "_4x.jpg") for name in names), b"")
        proxy.clear()
        again = measured("run", f"{root}/in/m.parquet", f"{root}/out", None)
        if again["reused"] != rows or again["ray"]:
            raise SystemExit(f"the second run was no rerun: {again}")
        yield what, again, Counter(f"{one.method} {one.what}" for one in proxy.seen)
    proxy.close()


def store_table(found: Iterable[tuple[str, dict[str, float], dict[str, int]]]) -> list[str]:
    lines = ["| the manifest says of versions | whole command, s | requests | rows a request | by kind |"]
    lines.append("|---|---|---|---|---|")
    for what, again, requests in found:
        total = sum(requests.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(requests.items()))
        lines.append(f"| {what} | {again['wall_s']:.1f} | {total} | {again['rows'] / total:.0f} | {kinds} |")
    return lines


def thousands(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def plan_table(found: Sequence[dict[str, float]]) -> list[str]:
    lines = ["| rows | hash pass, s | planning, s | rows/s, both | before, MB | peak of the hash pass, MB | peak, MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for one in found:
        rate = one["rows"] / (one["survey_s"] + one["plan_s"])
        numbers = (one[name] for name in ("baseline_mb", "survey_mb", "peak_mb"))
        memory = " | ".join(f"{value:.0f}" for value in numbers)
        lines.append(
            f"| {thousands(one['rows'])} | {one['survey_s']:.2f} | {one['plan_s']:.2f} | {thousands(rate)} | {memory} |"
        )
    return lines


def run_table(found: Sequence[dict[str, float]]) -> list[str]:
    lines = ["| rows | seconds | rows/s | driver's peak, MB |", "|---|---|---|---|"]
    for one in found:
        rate = one["rows"] / one["seconds"]
        lines.append(f"| {thousands(one['rows'])} | {one['seconds']:.1f} | {thousands(rate)} | {one['peak_mb']:.0f} |")
    return lines


def plot(path: Path, planned: Sequence[dict[str, float]], ran: Sequence[dict[str, float]]) -> bool:
    """Memory by rows; False where there is no matplotlib."""
    with contextlib.suppress(ImportError):
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        _, axes = pyplot.subplots(figsize=(6, 3.5))
        for found, label in ((planned, "planned only"), (ran, "run in Ray, a task that does nothing")):
            if found:
                axes.plot([one["rows"] for one in found], [one["peak_mb"] for one in found], "o-", label=label)
        axes.set(xscale="log", xlabel="rows of the manifest", ylabel="driver's peak, MB", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
        pyplot.tight_layout()
        pyplot.savefig(path, dpi=110)
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan-rows", type=int, nargs="*", default=[10**power for power in range(3, 8)])
    parser.add_argument("--run-rows", type=int, nargs="*", default=[10**power for power in range(3, 7)])
    parser.add_argument("--again-rows", type=int, default=10**6)
    parser.add_argument("--file-rows", type=int, default=10**5)
    parser.add_argument("--store-rows", type=int, default=0, help="needs the variables of scripts/s3-test-server")
    parser.add_argument(
        "--folder", type=Path, help="where manifests and outputs go for the time; default: the system's"
    )
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, manifest, out, *root = arguments.measure
        print(json.dumps(MEASURES[what](manifest, out, root[0] if root else None)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        report(Path(name), arguments)


def report(folder: Path, arguments: argparse.Namespace) -> None:
    date = datetime.date.today().isoformat()
    target = Path(__file__).parent / "results" / f"manifest-scale-{date}.md"
    planned = list(plan_rows(folder, arguments.plan_rows))
    ran = list(run_rows(folder, arguments.run_rows))
    lines = [
        f"# Manifests of many rows, {date}",
        "",
        f"{cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}.",
    ]
    lines += ["", "Planned, nothing of it done yet:", "", *plan_table(planned)]
    lines += [
        "",
        "Run in Ray with a task that does nothing (the ledger is synced to disk for each row):",
        "",
        *run_table(ran),
    ]
    if arguments.again_rows:
        first, again = run_again(folder, arguments.again_rows)
        lines += [
            "",
            f"A finished run of {thousands(first['rows'])} rows, run again: **{again['wall_s']:.1f} s** for the whole",
        ]
        lines += [f"command, peak {again['peak_mb']:.0f} MB; nothing is written, Ray and torch are not loaded."]
    if arguments.file_rows:
        plans, first, again = real_files(folder, arguments.file_rows)
        lines += [
            "",
            f"{thousands(plans['rows'])} files that are there, versions by size and time:",
            "",
            *plan_table([plans]),
        ]
        lines += ["", f"Run again when done: {again['wall_s']:.1f} s for the whole command."]
    if arguments.store_rows:
        found = on_a_store(arguments.store_rows)
        lines += ["", f"A finished run of {thousands(arguments.store_rows)} rows from bucket to bucket, run again:", ""]
        lines += store_table(found)
    if plot(target.with_suffix(".png"), planned, ran):
        lines += ["", f"![the driver's peak memory by rows]({target.with_suffix('.png').name})"]
    target.write_text("\n".join(lines) + "\n")
    print(target)


if __name__ == "__main__":
    main()
