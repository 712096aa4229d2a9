"""What follows a network, step by step: colours, resizing, rounding, and what figures are made from.

`sr_kernel.counted` does the commonest of it in one kernel, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_kernel.believable.sums import Form, Look, joined, look_at, sums_of
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
_CACHED_PX = 1 << 17
"""output pixels of a strip on a CPU, of which few float32 copies are at work at once"""


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
        keep = shifted(job.tile.keep, area)
        source = x[:, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        finite, resized = None, None
        if settings.keep_colour or job.plan.spec.resampled:  # these look at what lies around the kept part, too
            finite = _clamped(made)
            if settings.keep_colour:
                self._match_colour(made, x, area, job)
            if job.plan.spec.resampled:
                resized = to_samples(self._resize(made.permute(2, 0, 1).unsqueeze(0), job, settings), job.dtype)[0]
        kept = part_of(made, shifted(job.tile.keep, job.need), self._spec.scale)
        strips = [
            self._strip(
                part_of(kept, rows, self._spec.scale), source[rows.y0 : rows.y1], finite, resized is None, job.dtype
            )
            for rows in self._strips(source)
        ]
        return Window(
            samples=_stacked([strip.samples for strip in strips]) if resized is None else resized,
            means=_stacked([strip.means for strip in strips]),
            look=joined([strip.look for strip in strips]),
            count=source.numel(),
        )

    def _strips(self, source: Tensor) -> list[Box]:
        """What a window is looked at in, in pixels of its source (h, w, 3): on a CPU rows of blocks that stay in the
        cache from step to step, elsewhere all at once."""
        height, width, _ = source.shape
        step = height
        if source.device.type == "cpu":
            side = Form.of(self._spec.scale, lattice_px(self._spec)).side
            step = max(1, _CACHED_PX // (side * width * self._spec.scale**2)) * side
        return [Box(x0=0, y0=y0, x1=width, y1=min(y0 + step, height)) for y0 in range(0, height, step)]

    def _strip(
        self, kept: Tensor, source: Tensor, finite: Tensor | None, sampled: bool, dtype: np.dtype[Any]
    ) -> Window:
        """The result of some rows, whole blocks or the last. `finite`: whether all are, where they are clamped already;
        else they are here. Without samples unless `sampled`."""
        finite, scale = _clamped(kept) if finite is None else finite, self._spec.scale
        means = means_of(kept, scale)
        shown = (kept * 255).round_()
        samples = shown if dtype == np.uint8 or not sampled else (kept * top_level(dtype)).round_()
        return Window(
            samples=integers(samples, dtype) if sampled else samples[:0],
            means=means,
            look=look_at(shown, means, source, finite, scale, lattice_px(self._spec)),
            count=source.numel(),
        )

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


def _clamped(made: Tensor) -> Tensor:
    """Whether all samples are finite; clamps them to 0..1."""
    # One NaN or infinity makes the sum NaN or infinite; finite samples are far too small to overflow it.
    finite = torch.isfinite(made.sum())
    made.clamp_(0, 1)
    return finite


def _stacked(strips: Sequence[Tensor]) -> Tensor:
    return strips[0] if len(strips) == 1 else torch.cat(list(strips))


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
