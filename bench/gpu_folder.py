"""A folder of pictures through one GPU worker in this process, files to files, without Ray: where does the time go?

    PYTHONPATH=. python bench/gpu_folder.py PICTURES [--weights DIR] [--models x4plus animevideov3] [--count 192]

What a worker under Ray does, its threads and its lane, with the driver's work left out. The physical limit beside it is
the network alone: the same windows or bodies, replayed one after another with nothing before and after. The official
package, where it can be imported, goes over the first pictures in its own loop in half precision. Networks without a
weight file get weights that pass a picture through, enlarged, so that no output is suspect; they cost what others cost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from one_worker import network_s, official, size_of, through, weights_of  # beside this file

from farm import fetch, storage
from farm.config import LimitConfig, ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.lock import RunLock
from farm.plan import Planner
from farm.records import Done, ManifestRow, Part, PartKind
from farm.tasks.base import WorkerContext
from farm.tasks.lane import Lane
from farm.worker import Worker
from sr_kernel.backend import Backend, Fetch
from sr_kernel.models import MODELS, flop_per_px
from sr_kernel.upscale import Upscaler

CLOCK: Clock
STAGES = ("read", "decode", "wait", "infer", "encode", "write")


class Clock:
    """Seconds that the lane's thread spends in some of its calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        for owner, name in (
            (Upscaler, "start_windows"), (Upscaler, "start_body"), (Backend, "upload"), (Backend, "send"),
            (Backend, "recorded"), (Backend, "fetch"), (Fetch, "arrays"), (Lane, "_settle"), (Lane, "_begin"),
        ):  # fmt: skip
            self._wrap(owner, name)

    def _wrap(self, owner: type, name: str) -> None:
        real = getattr(owner, name)

        def timed(*given: object, **more: object) -> object:
            begun = time.perf_counter()
            try:
                return real(*given, **more)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun

        setattr(owner, name, timed)


def farm(name: str, weights: Path, pictures: Sequence[Path], out: Path, options: argparse.Namespace) -> dict:  # type: ignore[type-arg]
    model = fetch.resolve(str(weights))
    config = RunConfig(
        manifest=str(pictures[0].parent),
        model=ModelConfig(
            model=str(weights), precision="fp16" if options.device != "cpu" else "fp32", kernel=options.kernel
        ),
        output=OutputConfig(format=options.format, quality=90),
        worker=WorkerConfig(),
        limits=LimitConfig(),
    )
    with RunLock(str(out)) as held:
        context = WorkerContext(
            name="gpu-0", run=held.run, driver_host="elsewhere", out=str(out), device=options.device,
            io_threads=options.threads, units_in_flight=2, memory_bytes=32 << 30,
            model_files=((model.spec.name, model.path or ""),),
        )  # fmt: skip
        worker = Worker(context)
        planner = Planner(config, MappingProxyType({str(weights): model}), str(out), options.device.split(":")[0])
        items = [
            planner.plan(ManifestRow(index=i, source_url=str(path), relative_path=path.name), storage.stat(str(path)))
            for i, path in enumerate(pictures)
        ]
        parts = [Part(item=item, kind=PartKind.PICTURE, cost_px=item.cost_px) for item in items]
        warm, rest = parts[: options.warm], parts[options.warm :]
        began = time.perf_counter()
        list(through(worker, warm, options.unit))
        first_s = time.perf_counter() - began
        CLOCK.seconds.clear()
        began, cpu = time.perf_counter(), time.process_time()
        outcomes = list(through(worker, rest, options.unit))
        cpu_s, lane_s = time.process_time() - cpu, dict(CLOCK.seconds)
        wall_s = time.perf_counter() - began
        print(f"{name}: {len(outcomes)} in {wall_s:.1f} s", file=sys.stderr, flush=True)
        failed = [one for one in outcomes if not isinstance(one, Done)]
        assert not failed, failed[0]
        done = [one for one in outcomes if isinstance(one, Done)]
        station = next(iter(worker._tasks.values()))._station  # type: ignore[attr-defined]
        params = items[0].upscale
        lane = station.lane.call(lambda: station.resident.get(next(iter(station.resident._held))))
        sizes = [size_of(one, MODELS[name].scale) for one in done]
        alone_s = (
            float("nan")
            if options.device == "cpu"
            else station.lane.call(lambda: network_s(lane.result(), sizes, params)).result()
        )
        worker.stop()
    px = sum(width * height for width, height in sizes)
    stages = {stage: sum(getattr(one.seconds, stage) for one in done) for stage in STAGES}
    return {
        "what": "farm", "model": name, "threads": options.threads, "format": options.format, "pictures": len(done),
        "first_s": first_s, "wall_s": wall_s, "per_s": len(done) / wall_s, "mpx_s": px / wall_s / 1e6,
        "network_s": alone_s, "ratio": wall_s / alone_s, "tflop_s": flop_per_px(MODELS[name]) * px / wall_s / 1e12,
        "cpu_s": cpu_s, "lane_s": lane_s, "stages_s": stages,
        "suspect": sum(bool(one.suspect) for one in done),
    }  # fmt: skip


def main() -> None:
    global CLOCK
    CLOCK = Clock()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--models", nargs="+", default=["x4plus", "animevideov3"])
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--warm", type=int, default=24)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--unit", type=int, default=64)
    parser.add_argument("--format", default="jpg")
    parser.add_argument("--kernel", default="fused")
    parser.add_argument("--official", type=int, default=0, help="pictures for the official package")
    parser.add_argument("--device", default="cuda:0", help="cpu: to see that it runs; the limit is not measured there")
    parser.add_argument("--out", type=Path, help="JSON lines are added here")
    options = parser.parse_args()
    given = sorted(path for path in options.pictures.iterdir() if path.is_file())
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "in").mkdir()
        pictures: list[Path] = []
        for index, path in zip(range(options.count + options.warm), itertools.cycle(given)):
            pictures.append(scratch / "in" / f"{index:04}{path.suffix}")
            shutil.copy(path, pictures[-1])
        for name in options.models:
            weights, _ = weights_of(MODELS[name], options.weights, scratch)
            answers = [farm(name, weights, pictures, scratch / f"out-{name}", options)]
            if options.official:
                (scratch / f"official-{name}").mkdir()
                answers.append(official(name, weights, pictures[: options.official], scratch / f"official-{name}"))
            for answer in answers:
                line = json.dumps(
                    answer
                    | {
                        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(0),
                        "torch": torch.__version__,
                    }
                )
                print(line, flush=True)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(line + "\n")


if __name__ == "__main__":
    main()
