"""What follows a network, step by step: colours, resizing, rounding, and what figures are made from.

`sr_kernel.counted` does the commonest of it in one kernel, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sr_kernel.archs.output import part_of
from sr_kernel.believable.sums import Form, Levels, Look, count_levels, joined, look_of, sums_of
from sr_kernel.boxes import moved, shifted
from sr_kernel.colour_match import ColourMatch
from sr_kernel.job import Job, Made, Settings
from sr_kernel.light import Light
from sr_kernel.models import ModelSpec
from sr_kernel.pixels import empty_samples, store, to_levels, to_samples, top_level
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strip:
    """What some rows of a window have come down to."""

    means: Tensor
    levels: Levels
    probe: Tensor
    """finite where all samples were"""


class Steps:
    """Of one network. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._form = Form.of(spec.scale, lattice_px(spec))
        self._resamplers: dict[tuple[object, ...], Resampler] = {}
        self._matches: dict[tuple[int, int], ColourMatch] = {}
        self._light: Light | None = None

    def close(self) -> None:
        self._resamplers.clear()
        self._matches.clear()

    def finish(self, output: Callable[[Box], Tensor], x: Tensor, area: Box, job: Job, settings: Settings) -> Window:
        """A window's result from the network's output and the source x (3, H, W), which covers `area`.

        `output` gives what a box in source pixels covers, (h * scale, w * scale, 3), to work on; boxes are counted from
        the corner of `job.need`.
        """
        keep, kept = shifted(job.tile.keep, area), shifted(job.tile.keep, job.need)
        source = x[:, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        probe, resized, scale = None, None, self._spec.scale
        if settings.keep_colour or job.plan.spec.resampled:  # these look at what lies around the kept part, too
            made = output(shifted(job.need, job.need))
            probe = _clamped(made)
            if settings.keep_colour:
                self._match_colour(made, x, area, job)
            if job.plan.spec.resampled:
                resized = to_samples(self._resize(made.permute(2, 0, 1).unsqueeze(0), job, settings), job.dtype)[0]
            output = partial(part_of, made, scale=scale)
        shape = (keep.height * scale, keep.width * scale, 3)
        samples = empty_samples(shape, job.dtype, x.device) if resized is None else resized
        strips: list[_Strip] = []
        for rows in self._cut(source):
            into = part_of(samples, rows, scale) if resized is None else None
            strips.append(self._strip(output(moved(rows, kept)), probe, into))
        means = joined([strip.means for strip in strips])
        finite = torch.isfinite(torch.stack([strip.probe for strip in strips])).all()
        look = look_of(self._form, [strip.levels for strip in strips], means, source, finite)
        return Window(samples=samples, means=means, look=look, count=source.numel())

    def _cut(self, source: Tensor) -> list[Box]:
        """What a window is worked on in, in pixels of its source (h, w, 3): on a CPU rows of blocks that stay in the
        cache from step to step, elsewhere all at once."""
        height, width, _ = source.shape
        step, side = height, self._form.side
        if source.device.type == "cpu":
            step = max(1, _CACHED_PX // (side * width * self._spec.scale**2)) * side
        return [Box(x0=0, y0=y0, x1=width, y1=min(y0 + step, height)) for y0 in range(0, height, step)]

    def _strip(self, made: Tensor, probe: Tensor | None, into: Tensor | None) -> _Strip:
        """Some rows of the output, whole blocks or the last, whose samples are written into `into` where it is given.
        `probe` as in the result, where they are clamped already; else they are here."""
        probe = _clamped(made) if probe is None else probe
        means = means_of(made, self._spec.scale)
        if into is not None and into.dtype != torch.uint8:
            store((made * torch.iinfo(into.dtype).max).round_(), into)
        shown = made.mul_(255).round_()
        if into is not None and into.dtype == torch.uint8:
            store(shown, into)
        return _Strip(means=means, levels=count_levels(shown, self._form), probe=probe)

    def _match_colour(self, made: Tensor, x: Tensor, area: Box, job: Job) -> None:
        """Puts the source's low frequencies into the clamped output of `job.need`, wherever all that decides them is.

        All else as of `finish`. Sums, products and clamping are each rounded once: no byte depends on the shape.
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
    """Clamps all samples to 0..1; what is finite if they all were."""
    # One NaN or infinity makes the sum NaN or infinite; finite samples are far too small to overflow it.
    probe = made.sum()
    made.clamp_(0, 1)
    return probe


def lattice_px(spec: ModelSpec) -> int:
    """Source pixels after which a network could repeat itself: those that it unshuffles; attention windows are wider
    than what is looked at."""
    return spec.align_px if spec.align_px <= _WIDEST_LATTICE_PX else 1


def means_of(made: Tensor, scale: int) -> Tensor:
    """The clamped output (h * scale, w * scale, 3) averaged over each source pixel, (h, w, 3), 0..255.

    Samples are added one after another, never by a reduction, whose order could depend on the shape.
    """
    rows = made if scale == 1 else made[::scale] + made[1::scale]
    for dy in range(2, scale):
        rows += made[dy::scale]
    cells = rows.clone() if scale == 1 else rows[:, ::scale] + rows[:, 1::scale]
    for dx in range(2, scale):
        cells += rows[:, dx::scale]
    return cells.mul_(255 / scale**2)
