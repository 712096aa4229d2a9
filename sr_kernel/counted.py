"""What follows a network in one kernel: `sr_kernel.fused.look`, where it does what `sr_kernel.steps` does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sr_kernel.backend import Backend
from sr_kernel.believable.sums import sums_of_blocks
from sr_kernel.fused.table import can_look, table_of
from sr_kernel.job import Job, Made, Settings
from sr_kernel.models import ModelSpec
from sr_kernel.steps import lattice_px
from sr_kernel.tiles import Box


class Counted:
    """Of one network on one device."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self._backend = backend
        self._scale = spec.scale
        self._lattice_px = lattice_px(spec)

    def does(self, job: Job, settings: Settings) -> bool:
        """Whether the kernel makes all of a result: of 8 bits, not resized, with no colours kept."""
        if job.dtype != np.uint8 or job.plan.spec.resampled or settings.keep_colour:
            return False
        return self._backend.compiles and can_look(self._scale, self._lattice_px)

    def table(self, keeps: Sequence[Box]) -> Tensor:
        """What is kept of windows that are looked at together, on the device."""
        return self._backend.send(torch.from_numpy(table_of(keeps, self._scale)))

    def tables(self, keeps: Sequence[Box]) -> Tensor:
        """As many tables of one window each, in a column."""
        return self._backend.send(torch.from_numpy(np.concatenate([table_of([keep], self._scale) for keep in keeps])))

    def look(self, made: Tensor, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples and means as `looked` gives them, and the sums as `stats_of` reads them."""
        from sr_kernel.fused.look import looked  # needs Triton

        samples, means, sums = looked(made, x, table, self._scale, self._lattice_px)
        return samples, means, sums_of_blocks(sums)

    def results(self, found: Sequence[Tensor], jobs: Sequence[Job]) -> list[Made]:
        """The results of the first windows that `look` has seen, from what it gave: views, but of the sums."""
        (samples, means, sums), scale = found, self._scale
        made, first = list[Made](), 0
        sums = sums.clone()  # small, and asked for later than the rest
        for index, job in enumerate(jobs):
            keep = job.tile.keep
            last = first + keep.area_px * scale * scale * 3
            own = samples[first:last].view(keep.height * scale, keep.width * scale, 3)
            seen = means[index, : keep.height, : keep.width]
            made.append(Made(samples=own, means=seen, sums=sums[index], count=keep.area_px * 3))
            first = last
        return made
