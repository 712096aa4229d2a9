"""Forward: windows on a device through a network to their results, on the device. Nothing here waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from sr_kernel.archs import RRDBNet
from sr_kernel.archs.layer import grow
from sr_kernel.backend import Backend, DeviceMemoryError, memory_errors
from sr_kernel.believable.sums import Look, look_at, sums_of, sums_of_blocks
from sr_kernel.colour_match import ColourMatch
from sr_kernel.fused.table import can_look, table_of
from sr_kernel.light import Light
from sr_kernel.models import ModelSpec
from sr_kernel.passes import Passes
from sr_kernel.pixels import integers, to_levels, to_samples, to_unit, top_level
from sr_kernel.resample import Resampler
from sr_kernel.tiles import COLOUR_REACH_PX, TAIL_HALO, Box, Mode, PicturePlan, Strategy, Tile
from sr_kernel.tta import TURNS, canvas_of, mean_of_turns

_SMALLEST_SPLIT_PX = 8
"""kept sides are not halved below this when memory is out: the halo would be nearly all of the work"""
_RESAMPLERS_KEPT = 16
_WIDEST_LATTICE_PX = 4
_MATCHES_KEPT = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How windows are restored; every field decides bytes, but `batch` on a CPU."""

    precision: Literal["fp32", "fp16", "bf16"]
    resize: Literal["lanczos", "official"] = "lanczos"
    """antialiased Lanczos-3 on floats before rounding, or Lanczos4 after rounding as upstream does"""
    light: Literal["gamma", "linear"] = "gamma"
    """in what `lanczos` averages: samples as they are stored, or linear light; `official` knows stored ones only"""
    batch: int = 1
    """windows a forward pass; on a GPU a shorter batch is filled up to this shape"""
    tta: bool = False
    """the network's output is the mean over the eight flips and turns of its input, see `sr_kernel.tta`"""
    keep_colour: bool = False
    """the source's low frequencies are kept, see `sr_kernel.colour_match`; wants a plan with `colour_px`"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch: {self.batch} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One window, and what its result is to be."""

    tile: Tile
    plan: PicturePlan
    dtype: np.dtype[Any]
    """of the result's samples: uint8 or uint16, as the source"""

    @property
    def need(self) -> Box:
        """Source pixels whose output the result is made from: tile.keep, and what is looked at beyond it."""
        return _needed(self.tile, self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A window's result on the device."""

    samples: Tensor
    """(H, W, 3), the pixels of `tile.out` in the job's dtype"""
    means: Tensor
    """(h, w, 3) fp32, the network's output averaged over each source pixel of `tile.keep`, 0..255"""
    sums: Tensor
    """int64: what `sr_kernel.fidelity.stats_of` reads"""
    count: int
    """`samples` of its stats"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A window's result before its figures, see `Made`."""

    samples: Tensor
    means: Tensor
    look: Look
    count: int


class Forward:
    """A model on its device. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self._spec = spec
        self._backend = backend
        self._resamplers: dict[tuple[object, ...], Resampler] = {}
        self._matches: dict[tuple[int, int], ColourMatch] = {}
        self._light: Light | None = None
        self.passes = Passes()
        """counts what is run; whoever holds several models gives them one"""

    def close(self) -> None:
        self._resamplers.clear()
        self._matches.clear()

    def batches(
        self,
        cut: Callable[[Sequence[int]], Tensor],
        jobs: Sequence[Job],
        settings: Settings,
        then: Callable[[Sequence[Made]], T],
    ) -> Iterator[T]:
        """Windows of one shape through the whole network in batches: what `then` makes of each batch's results.

        `cut` gives the windows of some jobs, named by their place, as `Backend.upload` does. On a GPU what `then` gets
        holds until it returns. Out of memory, also in
        `cut` and `then`, the batch is halved for all that follow, then, where the plan is exact, the window. Raises
        DeviceMemoryError when nothing smaller is left, PrecisionError.
        """
        first, batch, released = 0, settings.batch, False
        while first < len(jobs):
            places = range(first, min(first + batch, len(jobs)))
            try:
                # On a GPU bytes depend on the batch's shape: there a short one is filled up.
                fill = [places[-1]] * (batch - len(places)) if self._backend.static_shapes else []
                with memory_errors(), torch.inference_mode():
                    levels = cut([*places, *fill])
                # On a GPU halving windows may change bytes, too: only once nothing is left that could be let go.
                may_split = released or not self._backend.static_shapes
                done = then(self._batch(levels, [jobs[place] for place in places], settings, may_split=may_split))
            except DeviceMemoryError:
                self.passes.no_memory()
                if not released:  # before bytes could change by a smaller batch: without what is kept of other shapes
                    self._backend.release()
                    released = True
                    continue
                if batch == 1:
                    raise
                batch //= 2
                continue
            self.passes.batch(len(places), settings.batch)
            first += batch
            yield done

    def body(self, levels: Tensor, plan: PicturePlan, dtype: np.dtype[Any], settings: Settings) -> Iterator[Made]:
        """A picture (1, H, W, 3) whose body runs whole (`Strategy.BODY`): the result of every tile of the tail.

        With turns or kept colours the whole output is held in fp32 meanwhile: 12 bytes for each of its pixels. On a GPU
        a result holds until the next one is asked for. Raises DeviceMemoryError, PrecisionError.
        """
        jobs = [Job(tile=tile, plan=plan, dtype=dtype) for tile in plan.tiles]
        with memory_errors(), torch.inference_mode():
            x = to_unit(levels, torch.float32)
        if self._backend.records(x.shape[2] * x.shape[3]) and self._can_look(jobs[0], settings) and not settings.tta:
            try:
                recorded = self._recorded_body(levels, jobs, settings)
            except DeviceMemoryError:  # perhaps there is enough for one tile after the other
                self.passes.no_memory()
                self._backend.release()
            else:
                yield from recorded
                return
        whole = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2])
        network = cast("RRDBNet", self._backend.network(settings.precision))
        try:
            with memory_errors(), torch.inference_mode():
                output_of = self._body_output(network, x, plan, settings)
        except DeviceMemoryError:  # perhaps without what is kept of other shapes
            self.passes.no_memory()
            self._backend.release()
            with memory_errors(), torch.inference_mode():
                output_of = self._body_output(network, x, plan, settings)
        looks = self._can_look(jobs[0], settings)
        for job in jobs:
            keep = job.tile.keep
            with memory_errors(), torch.inference_mode():
                if looks:
                    part, table = _planes(x, keep), self._table([_shift(keep, keep)])
                    (finished,) = self._views(self._looked(output_of(keep)[None], part, table), [job])
                else:
                    (finished,) = _made([self._finish(output_of(job.need), x[0], whole, job, settings)])
            yield finished

    def _body_output(
        self, network: RRDBNet, x: Tensor, plan: PicturePlan, settings: Settings
    ) -> Callable[[Box], Tensor]:
        """What gives the output (h, w, 3) of a box in source pixels, for the caller to work on."""
        if settings.tta or settings.keep_colour:
            turns = TURNS if settings.tta else TURNS[:1]
            canvas = canvas_of(network, x, [tile.keep for tile in plan.tiles], turns)
            return lambda need: _part(canvas, need, self._spec.scale).clone()  # what tiles need overlaps
        whole, features = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]), network.body(x)
        return lambda need: network.tail(features, whole, need)[0]

    def _recorded_body(self, levels: Tensor, jobs: Sequence[Job], settings: Settings) -> list[Made]:
        """As `body`, all tiles in one piece of work."""
        network = cast("RRDBNet", self._backend.network(settings.precision))
        keeps = tuple(job.tile.keep for job in jobs)
        whole = Box(x0=0, y0=0, x1=levels.shape[2], y1=levels.shape[1])

        def work(levels: Tensor, table: Tensor) -> list[Tensor]:
            x, found = to_unit(levels, torch.float32), list[Tensor]()
            features = network.body(x)
            for index, keep in enumerate(keeps):
                made, part = network.tail(features, whole, keep), _planes(x, keep)
                found += self._looked(made, part, table[index : index + 1])
            return found

        key = ("body", settings.precision, tuple(levels.shape), keeps)
        with memory_errors(), torch.inference_mode():
            table = self._table([_shift(keep, keep) for keep in keeps], together=False)
            found = self._backend.recorded(key, work, [levels, table], network)
        three = [tuple(found[at : at + 3]) for at in range(0, len(found), 3)]
        return [
            self._views(cast("tuple[Tensor, Tensor, Tensor]", of_one), [job])[0]
            for job, of_one in zip(jobs, three, strict=True)
        ]

    def _batch(self, levels: Tensor, jobs: Sequence[Job], settings: Settings, *, may_split: bool) -> list[Made]:
        """One forward pass, and what follows it; there may be more windows (N, H, W, 3) than jobs."""
        splittable = may_split and len(jobs) == 1 and jobs[0].plan.mode is Mode.EXACT
        if self._can_look(jobs[0], settings):
            try:
                return self._looked_batch(levels, jobs, settings)
            except DeviceMemoryError:
                if not splittable:
                    raise
        with memory_errors(), torch.inference_mode():
            x = to_unit(levels, torch.float32)
        boxes = [_shift(job.need, job.tile.read) for job in jobs]
        # On a GPU bytes depend on shapes: there all of a window is computed, wherever what is kept of it lies.
        static = self._backend.static_shapes
        keep = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]) if static else _union(boxes)
        halo_px, scale = self._spec.halo_px if splittable else None, self._spec.scale

        def run(window: Tensor, part: Box) -> Tensor:
            return self._run(window, part, settings.precision, halo_px)

        with memory_errors(), torch.inference_mode():
            made = mean_of_turns(run, x, keep) if settings.tta else run(x, keep)
            windows = [
                self._finish(_part(made[index], _shift(box, keep), scale), x[index], job.tile.read, job, settings)
                for index, (job, box) in enumerate(zip(jobs, boxes, strict=True))
            ]
            return _made(windows)

    # -- what follows a network in one kernel --------------------------------------------------------------------

    def _can_look(self, job: Job, settings: Settings) -> bool:
        """Whether one kernel does what `_finish` does."""
        if job.dtype != np.uint8 or job.plan.spec.resampled or settings.keep_colour:
            return False
        return self._backend.compiles and can_look(self._spec.scale, _lattice_px(self._spec))

    def _looked_batch(self, levels: Tensor, jobs: Sequence[Job], settings: Settings) -> list[Made]:
        """As `_batch`."""
        network = self._backend.network(settings.precision)
        count, height, width, _ = levels.shape
        whole = Box(x0=0, y0=0, x1=width, y1=height)

        def work(levels: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x = to_unit(levels, torch.float32)
            made = mean_of_turns(network, x, whole) if settings.tta else network(x, whole)
            return self._looked(made, x, table)

        keeps = [_shift(job.tile.keep, job.tile.read) for job in jobs]
        with memory_errors(), torch.inference_mode():
            table = self._table([*keeps, *[keeps[-1]] * (count - len(jobs))])
            if settings.tta or not self._backend.records(count * height * width):
                return self._views(work(levels, table), jobs)
            key = ("windows", settings.precision, tuple(levels.shape))
            samples, means, sums = self._backend.recorded(key, work, [levels, table], network)
            return self._views((samples, means, sums), jobs)

    def _looked(self, made: Tensor, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`sr_kernel.fused.look.looked`, and the sums as `stats_of` reads them."""
        from sr_kernel.fused.look import looked  # needs Triton

        samples, means, sums = looked(made, x, table, self._spec.scale, _lattice_px(self._spec))
        return samples, means, sums_of_blocks(sums)

    def _table(self, keeps: Sequence[Box], *, together: bool = True) -> Tensor:
        """`table_of` on the device; the samples of windows that are not together each begin anew."""
        table = torch.from_numpy(table_of(keeps, self._spec.scale))
        if not together:
            table[:, -1] = 0
        return self._backend.send(table)

    def _views(self, found: tuple[Tensor, Tensor, Tensor], jobs: Sequence[Job]) -> list[Made]:
        """The results of some windows from what `_looked` gives."""
        (samples, means, sums), scale, made, first = found, self._spec.scale, list[Made](), 0
        sums = sums.clone()  # small, and asked for later than the rest
        for index, job in enumerate(jobs):
            keep = job.tile.keep
            last = first + keep.area_px * scale * scale * 3
            own = samples[first:last].view(keep.height * scale, keep.width * scale, 3)
            seen = means[index, : keep.height, : keep.width]
            made.append(Made(samples=own, means=seen, sums=sums[index], count=keep.area_px * 3))
            first = last
        return made

    def _run(self, x: Tensor, keep: Box, precision: str, halo_px: int | None) -> Tensor:
        """`Backend.run`; out of memory the kept part is halved, each half with its own halo, where one is given."""
        try:
            return self._backend.run(x, keep, precision)
        except DeviceMemoryError:
            if halo_px is None or max(keep.width, keep.height) < 2 * _SMALLEST_SPLIT_PX:
                raise
            halves, axis = _halves(keep, self._spec.align_px)
            reads = [_aligned(grow(half, halo_px, x.shape[3], x.shape[2]), self._spec.align_px) for half in halves]
            if max(read.area_px for read in reads) == x.shape[2] * x.shape[3]:
                raise
            self.passes.no_memory()
        parts = [
            self._run(x[..., read.y0 : read.y1, read.x0 : read.x1], _shift(half, read), precision, halo_px)
            for half, read in zip(halves, reads, strict=True)
        ]
        return torch.cat(parts, dim=axis)

    def _finish(self, made: Tensor, x: Tensor, area: Box, job: Job, settings: Settings) -> _Window:
        """The network's output of `job.need` (h, w, 3) and its source x (3, H, W), which covers `area`: the result."""
        # One NaN or infinity makes the sum NaN or infinite; finite samples are far too small to overflow it.
        finite = torch.isfinite(made.sum())
        made = made.clamp_(0, 1)
        if settings.keep_colour:
            self._match_colour(made, x, area, job)
        kept = _part(made, _shift(job.tile.keep, job.need), self._spec.scale)
        keep = _shift(job.tile.keep, area)
        source = x[:, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        means = _means(kept, self._spec.scale)
        shown = (kept * 255).round_()
        if job.plan.spec.resampled:
            samples = to_samples(self._resize(made.permute(2, 0, 1).unsqueeze(0), job, settings), job.dtype)[0]
        elif job.dtype == np.uint8:
            samples = integers(shown, job.dtype)
        else:
            samples = integers((kept * top_level(job.dtype)).round_(), job.dtype)
        look = look_at(shown, means, source, finite, self._spec.scale, _lattice_px(self._spec))
        return _Window(samples=samples, means=means, look=look, count=source.numel())

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
        match, at = self._matches[key], _shift(need, area)
        source = x[:, at.y0 : at.y1, at.x0 : at.x1].permute(1, 2, 0)
        levels = match.correction((source * 255).sub_(_means(made, scale)), need)
        _part(made, _shift(match.inner(need), need), scale).add_(levels.mul_(1 / 255)).clamp_(0, 1)

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


def _made(windows: Sequence[_Window]) -> list[Made]:
    """The results of a batch, with their figures."""
    sums = sums_of([window.look for window in windows])
    return [
        Made(samples=window.samples, means=window.means, sums=sums[index], count=window.count)
        for index, window in enumerate(windows)
    ]


def _lattice_px(spec: ModelSpec) -> int:
    """Source pixels after which a network could repeat itself: those that it unshuffles; attention windows are wider
    than what is looked at."""
    return spec.align_px if spec.align_px <= _WIDEST_LATTICE_PX else 1


def _needed(tile: Tile, plan: PicturePlan) -> Box:
    """Source pixels whose output the result needs: those kept, or all that are right where more is looked at."""
    spec, read = plan.spec, tile.read
    if plan.strategy is Strategy.BODY:
        halo = TAIL_HALO * spec.align_px
        resampled = spec.resampled
    else:
        halo = spec.halo_px if plan.mode is Mode.EXACT else min(spec.halo_px, spec.bounded_halo_px)
        resampled = spec.resampled or spec.colour_px > 0
    halo = -(-halo // spec.align_px) * spec.align_px
    need = tile.keep
    if resampled:
        need = Box(
            x0=read.x0 + halo if read.x0 > 0 else 0,
            y0=read.y0 + halo if read.y0 > 0 else 0,
            x1=read.x1 - halo if read.x1 < spec.padded_width else spec.width,
            y1=read.y1 - halo if read.y1 < spec.padded_height else spec.height,
        )
    # Bands of the tail hold no context for colours: what they need beyond their own is taken from the whole output.
    return grow(need, spec.colour_px, spec.width, spec.height) if plan.strategy is Strategy.BODY else need


def _means(made: Tensor, scale: int) -> Tensor:
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


def _part(made: Tensor, box: Box, scale: int) -> Tensor:
    """What `box`, in source pixels, covers of an output (h, w, 3)."""
    return made[box.y0 * scale : box.y1 * scale, box.x0 * scale : box.x1 * scale]


def _planes(x: Tensor, box: Box) -> Tensor:
    """What `box` covers of pictures (N, C, H, W)."""
    return x[:, :, box.y0 : box.y1, box.x0 : box.x1]


def _shift(box: Box, origin: Box) -> Box:
    """`box` counted from the corner of `origin`."""
    return Box(x0=box.x0 - origin.x0, y0=box.y0 - origin.y0, x1=box.x1 - origin.x0, y1=box.y1 - origin.y0)


def _union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all."""
    return Box(
        x0=min(box.x0 for box in boxes),
        y0=min(box.y0 for box in boxes),
        x1=max(box.x1 for box in boxes),
        y1=max(box.y1 for box in boxes),
    )


def _aligned(box: Box, align: int) -> Box:
    """`box` grown to multiples of `align`."""
    return Box(
        x0=box.x0 // align * align,
        y0=box.y0 // align * align,
        x1=-(-box.x1 // align) * align,
        y1=-(-box.y1 // align) * align,
    )


def _halves(box: Box, align: int) -> tuple[tuple[Box, Box], int]:
    """`box` cut across its longer side, and the axis of (N, h, w, 3) along which the halves join."""
    if box.width >= box.height:
        middle = (box.x0 + box.x1) // (2 * align) * align
        left = Box(x0=box.x0, y0=box.y0, x1=middle, y1=box.y1)
        return (left, Box(x0=middle, y0=box.y0, x1=box.x1, y1=box.y1)), 2
    middle = (box.y0 + box.y1) // (2 * align) * align
    top = Box(x0=box.x0, y0=box.y0, x1=box.x1, y1=middle)
    return (top, Box(x0=box.x0, y0=middle, x1=box.x1, y1=box.y1)), 1
