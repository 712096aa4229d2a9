"""How fast a machine is with a model: measured by a worker's own code on a picture made for it, or read from a file."""

from __future__ import annotations

import json
import multiprocessing
import platform
import socket
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from farm import fetch, manifest, storage
from farm.book import ModelBook
from farm.config import FaceConfig, FidelityConfig, LimitConfig, OutputConfig, RunConfig, VideoConfig, WorkerConfig
from farm.entries import total_s
from farm.errors import ModelError, UsageError
from farm.fleet import device_class, runs_fused
from farm.lock import RunLock
from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.plan import Planner
from farm.records import Done, Failed, ManifestRow, Overrides, Part, PartKind, Unit
from farm.storage import faults
from farm.tasks.base import WorkerContext
from farm.tasks.memory import memory_share
from sr_kernel import hardware
from sr_kernel.models import FILE_PREFIX

if TYPE_CHECKING:
    from farm.worker import Worker

_SCHEMA = 1
_WANTED_S = 3.0
"""that the picture which is timed should take"""
_LEAST_SIDE, _MOST_SIDE, _STEP = 64, 2048, 16
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRate:
    """One model on one worker."""

    model: str
    """its own name, as items carry it"""
    sha256: str
    px_s: float
    """source pixels a second: of a GPU while it infers, of a CPU worker with reading, decoding and encoding"""
    precision: str
    side_px: int
    """of the picture that was timed"""
    seconds: float
    """that it took"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What was measured on one machine."""

    device: str
    """cuda or cpu"""
    machine: str
    """its GPU or processor, in words"""
    host: str
    measured_unix: float
    models: tuple[ModelRate, ...]
    schema: int = _SCHEMA

    def of(self, model: str, sha256: str) -> ModelRate | None:
        """The rate of a model, by its weights."""
        return next((one for one in self.models if one.model == model and one.sha256 == sha256), None)


def write_rates(place: str, rates: Rates) -> str:
    """Write what was measured; returns the file's URL."""
    url = manifest.canonical(place)
    with faults.run_level(url):
        storage.publish(url, json.dumps(asdict(rates), indent=1).encode() + b"\n", attempt=uuid.uuid4().hex)
    return url


def read_rates(place: str) -> Rates:
    """What was measured before, here or elsewhere. Raises UsageError for a file that says something else."""
    url = manifest.canonical(place)
    with faults.run_level(url):
        text = storage.read_bytes(url, _MOST_BYTES)
    try:
        said: dict[str, Any] = json.loads(text)
        rates = Rates(models=tuple(ModelRate(**one) for one in said.pop("models")), **said)
        if rates.schema != _SCHEMA or rates.device not in ("cuda", "cpu"):
            raise ValueError(f"schema {rates.schema}, device {rates.device}")
        if not all(float(one.px_s) > 0 for one in rates.models):
            raise ValueError("a rate that is not above 0")
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"--rate: {url}: no rates ({error}); write them with farm plan --measure FILE") from error
    return rates


def measure(config: RunConfig, models: Sequence[str]) -> Rates:
    """Time each model, as the command or its rows name them, for a few seconds. Fetches weights that are not here.

    In a process of its own, which loads torch as a worker does. Raises ModelError and what fetching raises.
    """
    device = device_class(config.worker)
    for name in models:
        model = fetch.resolve(name, config.model.weights_dir)
        if not model.spec.name.startswith(FILE_PREFIX):
            fetch.ensure(model.spec, config.model.weights_dir)
    fused = device == "cuda" and runs_fused(config.worker, config.model.kernel)
    found: tuple[ModelRate, ...] = ()
    if models:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(_measure_here, _plain(config), tuple(models), device, fused=fused).result()
    return Rates(
        device=device,
        machine=_machine(device),
        host=socket.gethostname(),
        measured_unix=round(time.time(), 3),
        models=found,
    )


def _machine(device: str) -> str:
    if device == "cuda":
        return next((name for name, _ in hardware.driver_gpus()), "a GPU")
    return f"{len(hardware.cores_here())} cores, {platform.machine()}"


def _plain(config: RunConfig) -> RunConfig:
    """Pictures through the network once: what rows and flags ask for beyond that is counted, not timed."""
    model = replace(
        config.model, models=(), outscale=None, size=None, max_side=0, denoise=1.0, tta=False, keep_colour=False
    )
    return replace(
        config,
        model=model,
        face=FaceConfig(),
        fidelity=FidelityConfig(),
        output=OutputConfig(format="png"),
        video=VideoConfig(),
        worker=WorkerConfig(),
        limits=LimitConfig(),
    )


def _measure_here(config: RunConfig, models: tuple[str, ...], device: str, *, fused: bool) -> tuple[ModelRate, ...]:
    from farm.worker import Worker

    with TemporaryDirectory(prefix="farm-plan-") as folder, RunLock(folder) as held:
        book = ModelBook(replace(config.model, model=models[0]))
        named = [(name, book[name]) for name in models]
        context = WorkerContext(
            name="plan",
            run=held.run,
            driver_host=socket.gethostname(),
            out=folder,
            device="cuda:0" if device == "cuda" else "cpu",
            io_threads=1,
            units_in_flight=1,
            memory_bytes=memory_share(1),
            weights_dir=config.model.weights_dir,
            model_files=tuple(
                (one.spec.name, one.path) for _, one in named if one.path and one.spec.name.startswith(FILE_PREFIX)
            ),
        )
        worker = Worker(context)
        planner = Planner(
            replace(config, model=replace(config.model, model=models[0])), book, folder, device, fused=fused
        )
        rates = [_rate(worker, planner, name, Path(folder), device) for name, _ in named]
        worker.stop()
        return tuple(rates)


def _rate(worker: Worker, planner: Planner, name: str, folder: Path, device: str) -> ModelRate:
    """Twice a small picture, the first of which loads the model; then one as large as takes some seconds."""
    _timed(worker, _part(planner, name, folder, _LEAST_SIDE), device)
    small_s, _ = _timed(worker, _part(planner, name, folder, _LEAST_SIDE), device)
    side = int(min(_MOST_SIDE, max(_LEAST_SIDE, _LEAST_SIDE * (_WANTED_S / small_s) ** 0.5))) // _STEP * _STEP
    part = _part(planner, name, folder, side)
    seconds, precision = _timed(worker, part, device)
    return ModelRate(
        model=part.item.params.model,
        sha256=part.item.params.model_sha256,
        px_s=round(side * side / seconds, 1),
        precision=precision,
        side_px=side,
        seconds=round(seconds, 3),
    )


def _part(planner: Planner, name: str, folder: Path, side: int) -> Part:
    """A picture with contours and grain, as a worker gets it."""
    path = folder / f"{side}.png"
    y, x = np.mgrid[0:side, 0:side]
    grain = np.random.default_rng(0).integers(0, 32, (side, side, 3))
    slopes = np.stack([x * 2 % 224, (x + y) % 224, y * 3 % 224], axis=2)
    path.write_bytes(encode((slopes + grain).astype(np.uint8), ImageMeta(), EncodeSpec(format="png"), str(path)))
    row = ManifestRow(index=0, source_url=str(path), relative_path=path.name, overrides=Overrides(model=name))
    item = planner.plan(row, storage.stat(str(path)))
    return Part(item=item, kind=PartKind.PICTURE, cost_px=side * side)


def _timed(worker: Worker, part: Part, device: str) -> tuple[float, str]:
    """Seconds that count for the device, and what the network ran in. Raises ModelError where it does not."""
    outcomes = worker.run(Unit(unit_id=0, parts=(part,)))
    done = outcomes[0] if outcomes else None
    if not isinstance(done, Done):
        found = done.message if isinstance(done, Failed) else "gave no answer"
        raise ModelError(f"model {part.item.params.model}: a picture made for it {found}; farm doctor says more")
    return max(1e-6, done.seconds.infer if device == "cuda" else total_s(done.seconds)), done.precision
