"""What the workers of a run are given: weights on this machine, memory, a pace to be measured by, and their context."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from farm import fetch
from farm.book import ModelBook
from farm.config import ModelConfig, RunConfig
from farm.errors import UsageError
from farm.face import FACE_RESIDENT_BYTES
from farm.pace import Pace
from farm.plan import Planner
from farm.progress import Progress
from farm.resolver import resolve_denoise
from farm.schedule import SchedulePolicy
from farm.survey import Survey
from farm.title import work_title
from sr_kernel.hardware import cpu_has_bf16
from sr_kernel.models import BODY_PX_BYTES, CANVAS_PX_BYTES, FILE_PREFIX, flop_per_px

if TYPE_CHECKING:
    from farm.tasks.base import WorkerContext
    from sr_kernel.models import ModelSpec

_SAMPLES_PX_BYTES = 160
"""a source pixel, its sixteen output pixels, and their encoded bytes"""
_OPERATION_FLOP_PX = 20_000.0
"""what a source pixel of training data is taken to cost, in floating-point operations; rates are learned"""
_STEP_LIMIT = "FARM_STEP_LIMIT_S"
"""environment: seconds after which a worker that has not answered is taken for hung, where that is sooner than the
deadline of what it was given"""
_FLOOR_FLOPS = {"cpu": 10e9, "cuda": 500e9}
"""floating-point operations a second that no working device falls below; deadlines rest on it until a rate is known"""


class Outfit:
    """Of one run: its models by the names of items, and what it asks of faces."""

    def __init__(self, config: RunConfig, models: ModelBook, counted: Survey, planner: Planner) -> None:
        self._config = config
        self._models = models
        self._counted = counted
        self._face = planner.face
        self._device = planner.device_class

    def fetch(self, progress: Progress) -> None:
        """Bring the weights that are to be fetched to this machine, before anything is started. Raises ModelError."""
        for model in sorted(self._counted.models):
            self._fetch(model, progress)
        self._fetch_faces(progress)

    def _fetch(self, model: str, progress: Progress) -> None:
        spec = self._models.by_spec_name(model).spec
        if spec.name.startswith(FILE_PREFIX):
            return

        def note(done: int, total: int) -> None:
            progress.note(f"fetching {model}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

        fetch.ensure(spec, self._config.model.weights_dir, note)
        if spec.partner and resolve_denoise(None, self._config.model.denoise, spec) < 1:
            fetch.ensure(fetch.resolve(spec.partner).spec, self._config.model.weights_dir, note)

    def _fetch_faces(self, progress: Progress) -> None:
        for name in fetch.face_rows(self._face) if self._face else ():

            def note(done: int, total: int, name: str = name) -> None:
                progress.note(f"fetching {name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

            fetch.ensure_face_file(name, None, self._config.model.weights_dir, note)

    @property
    def _whole(self) -> list[ModelSpec]:
        """Models of this run that take whole pictures through their body."""
        specs = (self._models.by_spec_name(model).spec for model in self._counted.models)
        return [spec for spec in specs if spec.whole_body]

    @property
    def body_bytes(self) -> int:
        """See body_bytes()."""
        return body_bytes(self._config.model, self._whole, faces=self._face is not None)

    @property
    def costs(self) -> dict[str, float]:
        """Floating-point operations that a source pixel costs, by model or operation."""
        turns = 8 if self._config.model.tta else 1
        costs = {model: turns * flop_per_px(self._models.by_spec_name(model).spec) for model in self._counted.models}
        return costs | dict.fromkeys(self._counted.operations, _OPERATION_FLOP_PX)

    def pace(self) -> Pace:
        """What deadlines and the size of units rest on. Raises UsageError for a FARM_STEP_LIMIT_S that says nothing."""
        floor_flops = _FLOOR_FLOPS[self._device]
        floors = {model: floor_flops / cost for model, cost in self.costs.items()}
        model = self._config.model
        cap_px = max(model.band_px, model.exact_px if self._whole else 1)
        return Pace(floors_px_s=floors, cap_px=cap_px, most_s=_longest_step_s())

    def context(self, run: str, out: str) -> WorkerContext:
        """The template that each worker's own context is made from."""
        from farm.tasks.base import WorkerContext

        files = tuple(
            (model.spec.name, model.path)
            for model in self._models.values()
            if model.path is not None and model.spec.name.startswith(FILE_PREFIX)
        )
        return WorkerContext(
            name=work_title(self._counted.models, self._counted.operations),
            run=run,
            driver_host=socket.gethostname(),
            out=out,
            device="cpu",
            io_threads=self._config.worker.io_threads,
            units_in_flight=SchedulePolicy().units_in_flight,
            memory_bytes=0,
            decoder=self._config.video.decoder,
            weights_dir=self._config.model.weights_dir,
            model_files=files,
            face_files=fetch.face_files(self._config.face) if self._face else (),
        )


def body_bytes(model: ModelConfig, whole: Sequence[ModelSpec], *, faces: bool) -> int:
    """What the largest 8-bit picture that goes whole through a body needs in a worker, and faces.

    `whole`: models of the run that take whole pictures through their body.
    """
    full = model.precision == "fp32" or (model.precision == "auto" and not cpu_has_bf16())
    px_bytes = BODY_PX_BYTES["fp32" if full else "half"] + _SAMPLES_PX_BYTES
    if model.tta or model.keep_colour:
        px_bytes += CANVAS_PX_BYTES * max((spec.scale for spec in whole), default=0) ** 2
    return (FACE_RESIDENT_BYTES if faces else 0) + (model.exact_px * px_bytes if whole else 0)


def _longest_step_s() -> float | None:
    """What the environment says of deadlines. Raises UsageError."""
    text = os.environ.get(_STEP_LIMIT)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{_STEP_LIMIT}: {text!r} is no number of seconds above 0; correct it or leave it out")
    return seconds
