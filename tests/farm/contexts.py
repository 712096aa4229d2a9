"""What a worker of this process is told, for tests that work in one without Ray."""

from __future__ import annotations

from pathlib import Path

from farm.fetch import ResolvedModel
from farm.tasks.base import WorkerContext


def worker_here(run: str, out: Path, model: ResolvedModel, *, memory_bytes: int = 1 << 30) -> WorkerContext:
    """A CPU worker of attempt `run`, whose driver is elsewhere, with a model that was given as a weight file."""
    assert model.path is not None
    return WorkerContext(
        name="cpu-0",
        run=run,
        driver_host="elsewhere",
        out=str(out),
        device="cpu",
        io_threads=1,
        units_in_flight=1,
        memory_bytes=memory_bytes,
        model_files=((model.spec.name, model.path),),
    )
