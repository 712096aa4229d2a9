"""What follows a network, step by step: colours, resizing, rounding, and what figures are made from.

`sr_kernel.counted` does the commonest of it in one kernel, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sr_kernel.believable.sums import Look, look_at, sums_of
from sr_kernel.boxes import shifted
from sr_kernel.colour_match import ColourMatch
from sr_kernel.job import Job, Made, Settings
from sr_kernel.light import Light
from sr_kernel.models import ModelSpec
from sr_kernel.pixels import integers, to_levels, to_samples, top_level
from sr_kernel.resample import Resampler
from sr_kernel.tiles import COLOUR_REACH_PX, Box

_RESAMPLERS_KEPT = 16
_MATCHES_KEPT = 16
_WIDEST_LATTICE_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window's result before its figures, see `Made`."""

    samples: Tensor
    means: Tensor
    look: Look
    count: int


class Steps:
    """Of one network. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._resamplers: dict[tuple[object, ...], Resampler] = {}
        self._matches: dict[tuple[int, int], ColourMatch] = {}
        self._light: Light | None = None

    def close(self) -> None:
        self._resamplers.clear()
        self._matches.clear()

    def finish(self, made: Tensor, x: Tensor, area: Box, job: Job, settings: Settings) -> Window:
        """The network's output of `job.need` (h, w, 3) and its source x (3, H, W), which covers `area`: the result."""
        # One NaN or infinity makes the sum NaN or infinite; finite samples are far too small to overflow it.
        finite = torch.isfinite(made.sum())
        made = made.clamp_(0, 1)
        if settings.keep_colour:
            self._match_colour(made, x, area, job)
        kept = part_of(made, shifted(job.tile.keep, job.need), self._spec.scale)
        keep = shifted(job.tile.keep, area)
        source = x[:, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        means = means_of(kept, self._spec.scale)
        shown = (kept * 255).round_()
        if job.plan.spec.resampled:
            samples = to_samples(self._resize(made.permute(2, 0, 1).unsqueeze(0), job, settings), job.dtype)[0]
        elif job.dtype == np.uint8:
            samples = integers(shown, job.dtype)
        else:
            samples = integers((kept * top_level(job.dtype)).round_(), job.dtype)
        look = look_at(shown, means, source, finite, self._spec.scale, lattice_px(self._spec))
        return Window(samples=samples, means=means, look=look, count=source.numel())

    def _match_colour(self, made: Tensor, x: Tensor, area: Box, job: Job) -> None:
        """Puts the source's low frequencies into the clamped output of `job.need`, wherever all that decides them is.

        Arguments as of `_finish`. Sums, products and clamping are each rounded once: no byte depends on the shape.
        """
        spec, need, scale = job.plan.spec, job.need, self._spec.scale
        if spec.colour_px < COLOUR_REACH_PX:
            raise ValueError(f"keeping colours looks {COLOUR_REACH_PX} px far, the plan holds {spec.colour_px}")
        key = (spec.width, spec.height)
        if key not in self._matches:
            if len(self._matches) >= _MATCHES_KEPT:
                self._matches.clear()
            self._matches[key] = ColourMatch(*key, scale)
        match, at = self._matches[key], shifted(need, area)
        source = x[:, at.y0 : at.y1, at.x0 : at.x1].permute(1, 2, 0)
        levels = match.correction((source * 255).sub_(means_of(made, scale)), need)
        part_of(made, shifted(match.inner(need), need), scale).add_(levels.mul_(1 / 255)).clamp_(0, 1)

    def _resize(self, planes: Tensor, job: Job, settings: Settings) -> Tensor:
        """The levels of `job.tile.out` from the network's output of `job.need`, 0..1; both NCHW."""
        spec, scale, dtype = job.plan.spec, self._spec.scale, job.dtype
        sizes = (spec.width * scale, spec.height * scale, spec.out_width, spec.out_height)
        key = (*sizes, settings.resize, dtype)
        if key not in self._resamplers:
            if len(self._resamplers) >= _RESAMPLERS_KEPT:
                self._resamplers.clear()
            self._resamplers[key] = Resampler(*sizes, settings.resize, eight_bit=dtype == np.uint8)
        resampler, origin = self._resamplers[key], (job.need.x0 * scale, job.need.y0 * scale)
        if settings.resize == "official":
            return resampler.apply(to_levels(planes, dtype), origin, job.tile.out)
        if settings.light == "gamma":
            return resampler.apply(planes * top_level(dtype), origin, job.tile.out)
        self._light = self._light or Light(planes.device)
        made = resampler.apply(self._light.to_linear(planes), origin, job.tile.out)
        return self._light.to_gamma(made) * top_level(dtype)


def made_of(windows: Sequence[Window]) -> list[Made]:
    """The results of a batch, with their figures."""
    sums = sums_of([window.look for window in windows])
    return [
        Made(samples=window.samples, means=window.means, sums=sums[index], count=window.count)
        for index, window in enumerate(windows)
    ]


def lattice_px(spec: ModelSpec) -> int:
    """Source pixels after which a network could repeat itself: those that it unshuffles; attention windows are wider
    than what is looked at."""
    return spec.align_px if spec.align_px <= _WIDEST_LATTICE_PX else 1


def means_of(made: Tensor, scale: int) -> Tensor:
    """The clamped output (h * scale, w * scale, 3) averaged over each source pixel, (h, w, 3), 0..255.

    Samples are added one after another, never by a reduction, whose order could depend on the shape.
    """
    rows = made[::scale].clone()
    for dy in range(1, scale):
        rows += made[dy::scale]
    cells = rows[:, ::scale].clone()
    for dx in range(1, scale):
        cells += rows[:, dx::scale]
    return cells.mul_(255 / scale**2)


def part_of(made: Tensor, box: Box, scale: int) -> Tensor:
    """What `box`, in source pixels, covers of an output (h, w, 3)."""
    return made[box.y0 * scale : box.y1 * scale, box.x0 * scale : box.x1 * scale]
