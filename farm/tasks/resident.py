"""The models that a worker holds between pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from farm import fetch
from farm.errors import ModelError
from farm.tasks.base import WorkerContext
from farm.tasks.lane import ModelRef
from farm.tasks.memory import MemoryBudget, budget_of
from sr_kernel.backend import KernelError
from sr_kernel.passes import Passes
from sr_kernel.upscale import Upscaler
from sr_kernel.weights import WeightsError, describe_file

_SHARE = 0.25
"""of the worker's memory for pictures, or of its GPU's whole memory, that models may occupy: what they leave free
varies with what else runs, and must decide nothing"""


class ResidentModels:
    """The models of one worker: those asked for last, as many as its memory has room for. Called in the lane only."""

    def __init__(
        self,
        context: WorkerContext,
        load: Callable[[ModelRef], Upscaler] | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._load = load or ModelLoader(context)
        self._budget = budget or budget_of(context.memory_bytes)
        self._gpu_bytes = _gpu_bytes(context)
        self._held: dict[ModelRef, Upscaler] = {}
        """the one asked for last is the last"""

    def get(self, ref: ModelRef) -> Upscaler:
        """Load it unless it is there. The others go, least recently used first, until all fit. Raises ModelError."""
        before = next(reversed(self._held), None)
        if before is not None and before != ref:  # those held longer have given back what they could
            self._held[before].release()
        found = self._held.pop(ref, None)
        if found is None:
            self._make_room(0)  # before another one comes: those held may have grown by a precision since
            found = self._load(ref)
        self._held[ref] = found
        self._make_room(1)
        return found

    def _make_room(self, kept: int) -> None:
        """Let models go until they fit; the last `kept` stay, whatever they occupy."""
        room_bytes = int(_SHARE * (self._gpu_bytes or self._budget.total_bytes))
        while len(self._held) > kept and sum(one.held_bytes for one in self._held.values()) > room_bytes:
            self._held.pop(next(iter(self._held))).close()


class ModelLoader:
    """Loads what is asked for by name, from this machine's files. `passes` counts what all of it runs."""

    def __init__(self, context: WorkerContext, passes: Passes | None = None) -> None:
        self._context = context
        self._passes = passes or Passes()
        self._files = dict(context.model_files)

    def __call__(self, ref: ModelRef) -> Upscaler:
        """Raises ModelError."""
        try:
            loaded = self._of_file(ref) if ref.model in self._files else self._of_table(ref)
        except (WeightsError, KernelError) as error:
            raise ModelError(f"model {ref.model}: {error}") from error
        loaded.forward.passes = self._passes
        return loaded

    def _of_file(self, ref: ModelRef) -> Upscaler:
        path = fetch.ensure_file(self._files[ref.model])
        spec = replace(describe_file(path), sha256=ref.sha256)
        return Upscaler.load(spec, path, device=self._context.device, kernel=ref.kernel)

    def _of_table(self, ref: ModelRef) -> Upscaler:
        spec = replace(fetch.resolve(ref.model, self._context.weights_dir).spec, sha256=ref.sha256)
        path = fetch.ensure(spec, self._context.weights_dir)
        partner = None
        if ref.denoise < 1 and spec.partner:
            partner = fetch.ensure(fetch.resolve(spec.partner).spec, self._context.weights_dir)
        return Upscaler.load(
            spec,
            path,
            device=self._context.device,
            denoise=ref.denoise,
            partner_path=partner,
            mixed=fetch.cache_folder("mixed"),
            kernel=ref.kernel,
        )


def _gpu_bytes(context: WorkerContext) -> int:
    """All memory of its GPU; 0 where it has none."""
    if context.device.startswith("cuda"):
        return cast("int", torch.cuda.get_device_properties(context.device).total_memory)
    return 0
