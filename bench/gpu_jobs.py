"""Whole jobs through one worker of a device, files to files: what bench/gpu.py measures beside networks alone.

The tutorial's picture of 1340x1748 by x4plus-anime at x4 and, by two passes, at x16, both also with 8 GB of the device;
a folder of pictures; a film of 1080p. Beside them the official package in half precision, where it is installed. All
inputs are made here. There is no Ray: the worker, its threads and its lane are in this process, and what is cut is put
together by the driver's own code.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import pyvips
import torch
from gpu_checks import CheckError, Sizes, kernels_of, picture  # beside this file
from one_worker import network_s, official, through, weights_of
from recorded import Figures

from farm import fetch, storage
from farm.assemble import Assembly
from farm.config import ModelConfig, OutputConfig, RunConfig, VideoConfig
from farm.kinds import MediaKind
from farm.lock import RunLock
from farm.params import UpscaleParams
from farm.plan import Planner
from farm.records import Done, Failed, ManifestRow, Part, PartKind, Split
from farm.tasks.base import WorkerContext
from farm.worker import Worker
from sr_kernel.models import MODELS, ModelSpec

HERE = Path(__file__).parent
UNIT = 64
FILM_RATE, SEGMENT_FRAMES = 24, 24
CODEC, CRF, PRESET = "h264", 18, "veryfast"
"""the encoder must not be what a GPU waits for; both contenders have it"""
COLUMNS = (
    "job", "model", "weights", "kernel", "precision", "done", "first s", "wall s", "a second", "source MP/s",
    "network s", "wall by network", "GiB held", "official, a second", "times official",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Some equal pictures, or one film, by one model."""

    what: str
    model: str
    size: tuple[int, int]
    count: int
    """pictures, or frames of the film"""
    is_film: bool = False
    outscale: float = 4.0
    cap_gib: float = 0.0
    """how much of the device it may take; 0: all"""
    officials: int = 0
    """pictures or frames for the official package; 0: it has no such job"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and with what jobs run."""

    device: torch.device
    scratch: Path
    weights: Path | None
    """folder of official files"""
    sizes: Sizes
    precision: str


def jobs(sizes: Sizes) -> list[Job]:
    tutorial = Job(what="tutorial, x4", model="x4plus-anime", size=sizes.tutorial, count=2, officials=4)
    again = dataclasses.replace(tutorial, what="tutorial, x16", outscale=16.0, officials=0)
    cap = f", {sizes.cap_gib:g} GiB"
    pictures = Job(what="folder", model="x4plus", size=sizes.picture, count=sizes.pictures, officials=8)
    return [
        tutorial,
        again,
        dataclasses.replace(tutorial, what=tutorial.what + cap, cap_gib=sizes.cap_gib, officials=0),
        dataclasses.replace(again, what=again.what + cap, cap_gib=sizes.cap_gib),
        pictures,
        dataclasses.replace(pictures, model="animevideov3", count=2 * pictures.count, officials=16),
        Job(
            what="film", model="animevideov3", size=sizes.full, count=sizes.frames, is_film=True, officials=sizes.frames
        ),
    ]


def ran(job: Job, place: Place) -> Figures:
    """A row of COLUMNS, of figures and text. Raises CheckError where a part fails, and whatever the device raises."""
    folder = place.scratch / "".join(char if char.isalnum() else "-" for char in f"{job.what} {job.model}")
    folder.mkdir()
    spec, path, origin = network_of(job.model, place)
    kernel = kernels_of(spec, place.device)[-1]
    sources = [make_film(folder / "film.mp4", job)] if job.is_film else make_pictures(folder / "in", job)
    try:
        with capped(place.device, job.cap_gib):
            row = measured(job, place, kernel, path, sources, folder / "out")
        rival = rival_rate(job, place, spec, path, sources, folder)
    finally:
        shutil.rmtree(folder)
    known = isinstance(rival, float)
    times = {"official, a second": rival, "times official": row["a second"] / rival if known else "-"}
    shown = {"job": job.what, "model": job.model, "weights": origin, "kernel": kernel}
    return {**shown, "precision": place.precision, **row, **times}


def measured(job: Job, place: Place, kernel: str, weights: Path, sources: Sequence[Path], out: Path) -> Figures:
    """The farm's part of a row. What comes first, of which kernels are compiled, is timed apart."""
    device = place.device
    model = fetch.resolve(str(weights))
    config = RunConfig(
        manifest=str(sources[0].parent),
        model=ModelConfig(model=str(weights), outscale=job.outscale, precision=place.precision, kernel=kernel),
        output=OutputConfig(format="jpg", quality=90),
        video=VideoConfig(codec=CODEC, crf=CRF, preset=PRESET, segment_frames=SEGMENT_FRAMES),
    )
    planner = Planner(config, MappingProxyType({str(weights): model}), str(out), device.type)
    kinds = (MediaKind.VIDEO, PartKind.FILM) if job.is_film else (MediaKind.IMAGE, PartKind.PICTURE)
    with RunLock(str(out)) as held:
        worker = Worker(context_of(place, held.run, out, model.spec.name, model.path or ""))
        try:
            items = [
                planner.plan(
                    ManifestRow(index=at, source_url=str(path), relative_path=path.name, kind=kinds[0]),
                    storage.stat(str(path)),
                )
                for at, path in enumerate(sources)
            ]
            parts = [Part(item=item, kind=kinds[1], cost_px=item.cost_px) for item in items]
            first_s, done = timed(worker, parts[:1])
            rest = parts if job.is_film else parts[1:]  # a film, once its kernels are there, again
            reset_peak(device)
            wall_s, done = timed(worker, rest)
            check(done, job, len(rest))
            held_gib = torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else "CPU: not counted"
            alone_s = network_alone_s(worker, job, items[0].upscale, device)
        finally:
            worker.stop()
            del worker
            forget(device)
    count = job.count if job.is_film else len(rest)
    return {
        "done": count,
        "first s": first_s,
        "wall s": wall_s,
        "a second": count / wall_s,
        "source MP/s": count * job.size[0] * job.size[1] / wall_s / 1e6,
        "network s": alone_s,
        "wall by network": wall_s / alone_s if isinstance(alone_s, float) else "-",
        "GiB held": held_gib,
    }


def context_of(place: Place, run: str, out: Path, model: str, path: str) -> WorkerContext:
    return WorkerContext(
        name="one",
        run=run,
        driver_host="elsewhere",
        out=str(out),
        device=str(place.device),
        io_threads=0,
        units_in_flight=2,
        memory_bytes=32 << 30,
        model_files=((model, path),),
    )


def timed(worker: Worker, parts: Sequence[Part]) -> tuple[float, list[Done]]:
    """Seconds of some parts and of all that follows from them; the finished pictures and films."""
    assembly, done = Assembly(), list[Done]()
    begun = time.perf_counter()
    while parts:
        by_id, following = {part.part_id: part for part in parts}, list[Part]()
        for outcome in through(worker, parts, UNIT):
            part = by_id[outcome.part_id]
            if isinstance(outcome, Failed):
                raise CheckError(outcome.message)
            if isinstance(outcome, Split):
                following += assembly.begin(part, outcome, {})
            elif part.kind in (PartKind.BAND, PartKind.SEGMENT):
                following += filter(None, [assembly.add(part, outcome)])
            else:
                done.append(outcome)
        parts = following
    return time.perf_counter() - begun, done


def check(done: Sequence[Done], job: Job, count: int) -> None:
    """That all is there, of the size that was asked for, and believable."""
    sizes = {(one.width, one.height) for one in done}
    wanted = {tuple(int(side * job.outscale) for side in job.size)}
    if len(done) != count or sizes != wanted:
        raise CheckError(f"{len(done)} of {count} done, sizes {sizes}, wanted {wanted}")
    if job.is_film and done[0].frames != job.count:
        raise CheckError(f"{done[0].frames} of {job.count} frames")
    if bad := [one for one in done if one.suspect]:
        raise CheckError(f"suspect, so that it was restored twice: {bad[0].suspect}")


def network_alone_s(worker: Worker, job: Job, params: UpscaleParams, device: torch.device) -> float | str:
    """Of all but the first, by the lane's thread; of one pass only, and on a CPU it says why there is none."""
    if device.type != "cuda":
        return "CPU: not measured"
    if job.outscale > MODELS[job.model].scale:
        return "two passes"
    if job.cap_gib:
        return "as without a cap"
    station = next(iter(worker._tasks.values()))._station  # type: ignore[attr-defined]
    resident = station.lane.call(lambda: station.resident.get(next(iter(station.resident._held)))).result()
    count = job.count if job.is_film else job.count - 1
    return station.lane.call(lambda: network_s(resident, [job.size] * count, params)).result()


@contextmanager
def capped(device: torch.device, gib: float) -> Iterator[None]:
    """So much of a GPU's memory for this process, and no more."""
    if not gib or device.type != "cuda":
        yield
        return
    forget(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


# -- the official package ----------------------------------------------------------------------------------------


def rival_rate(
    job: Job, place: Place, spec: ModelSpec, weights: Path, sources: Sequence[Path], folder: Path
) -> float | str:
    """Pictures or frames a second of the official package, or why there is no such figure."""
    if not job.officials:
        return "no such job"
    if importlib.util.find_spec("realesrgan") is None:
        return "not installed"
    if spec.blocks != MODELS[job.model].blocks or spec.features != MODELS[job.model].features:
        return "a smaller network"
    half = place.device.type == "cuda"
    if not job.is_film:
        (folder / "official").mkdir()
        given = [sources[at % len(sources)] for at in range(job.officials)]
        found = official(job.model, weights, given, folder / "official", half=half, warm=min(3, job.officials - 1))
        return float(str(found["per_s"]))
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        return "no ffmpeg"
    command = [sys.executable, str(HERE / "official_video.py"), str(sources[0]), str(folder / "official.mp4")]
    command += [str(weights), "--model", job.model, "--tile", "0", "--encoder", "libx264", "--crf", str(CRF)]
    said = subprocess.run(
        [*command, "--preset", PRESET, *(["--half"] if half else [])], capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise CheckError(f"official_video.py ended with {said.returncode}: {said.stderr[-300:]}")
    answer = json.loads(said.stdout.splitlines()[-1])
    return answer["frames"] / answer["steady_s"]


# -- what they are given -----------------------------------------------------------------------------------------


def network_of(name: str, place: Place) -> tuple[ModelSpec, Path, str]:
    """The row of a network, its file and where that comes from; without an official one it is as small as asked."""
    spec, sizes = MODELS[name], place.sizes
    blocks, features = min(spec.blocks, sizes.seeded_blocks), min(spec.features, sizes.seeded_features)
    small = dataclasses.replace(spec, blocks=blocks, features=features)
    path, origin = weights_of(small, place.weights, place.scratch)
    return spec if origin == "official" else small, path, origin


def make_pictures(folder: Path, job: Job) -> list[Path]:
    """Equal ones under different names: what is looked up by content nowhere."""
    folder.mkdir()
    paths = [folder / f"{at:04}.jpg" for at in range(job.count)]
    image = pyvips.Image.new_from_array(np.ascontiguousarray(picture(job.size))).copy(interpretation="srgb")
    image.write_to_file(str(paths[0]), Q=95)
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return paths


def make_film(path: Path, job: Job) -> Path:
    """A picture that moves by four pixels a frame."""
    pixels = picture(job.size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FILM_RATE, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *job.size, "yuv420p"
        for at in range(job.count):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, 4 * at, axis=1).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
