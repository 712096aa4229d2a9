"""The model that a worker holds between pictures."""

from __future__ import annotations

from dataclasses import replace

from farm import fetch
from farm.errors import ModelError
from farm.tasks.base import WorkerContext
from farm.tasks.lane import ModelRef
from sr_kernel.backend import KernelError
from sr_kernel.upscale import Upscaler
from sr_kernel.weights import WeightsError, describe_file


class ResidentModel:
    """The one model a worker holds; another one replaces it. Called in the lane only."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._files = dict(context.model_files)
        self._ref: ModelRef | None = None
        self._upscaler: Upscaler | None = None

    def get(self, ref: ModelRef) -> Upscaler:
        """Load it unless it is there. Raises ModelError."""
        if self._upscaler is None or ref != self._ref:
            if self._upscaler is not None:
                self._upscaler.close()
            self._upscaler = None
            self._upscaler = self._load(ref)
            self._ref = ref
        return self._upscaler

    def _load(self, ref: ModelRef) -> Upscaler:
        kernel = "fused" if ref.kernel == "fused" else "plain"
        try:
            if ref.model in self._files:
                path = fetch.ensure_file(self._files[ref.model])
                spec = replace(describe_file(path), sha256=ref.sha256)
                return Upscaler.load(spec, path, device=self._context.device, kernel=kernel)
            spec = fetch.resolve(ref.model).spec
            path = fetch.ensure(spec, self._context.weights_dir)
            partner = None
            if ref.denoise < 1 and spec.partner:
                partner = fetch.ensure(fetch.resolve(spec.partner).spec, self._context.weights_dir)
            return Upscaler.load(
                spec, path, device=self._context.device, denoise=ref.denoise, partner_path=partner, kernel=kernel
            )
        except (WeightsError, KernelError) as error:
            raise ModelError(f"model {ref.model}: {error}") from error
