"""Upscaler: a resident model. Windows in, restored windows out; a whole picture in, a whole picture out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.archs import ARCHS, RRDBNet
from sr_kernel.archs.layer import grow
from sr_kernel.backend import Backend, DeviceMemoryError, Fetch, memory_errors
from sr_kernel.fidelity import PixelStats
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.pixels import Pixels, cut_window, to_levels, to_samples, top_level
from sr_kernel.resample import Resampler
from sr_kernel.tiles import TAIL_HALO, Box, Mode, PicturePlan, Strategy, Tile
from sr_kernel.weights import WeightsError, load_state, mix

_SMALLEST_SPLIT_PX = 8
"""kept sides are not halved below this when memory is out: the halo would be nearly all of the work"""
_RESAMPLERS_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How windows are restored; every field decides bytes, but `batch` on a CPU."""

    precision: Literal["fp32", "fp16", "bf16"]
    resize: Literal["lanczos", "official"] = "lanczos"
    """antialiased Lanczos-3 on floats before rounding, or Lanczos4 after rounding as upstream does"""
    batch: int = 1
    """windows a forward pass; on a GPU a shorter batch is filled up to this shape"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch: {self.batch} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """One restored window."""

    pixels: Pixels
    """HWC, 3 channels, the pixels of `tile.out`, in the dtype of the source"""
    stats: PixelStats
    """sums over the source pixels of `tile.keep`"""
    finite: bool
    """false when the network gave NaN or infinity; the pixels are then not to be published"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """One restored picture."""

    pixels: Pixels
    stats: PixelStats
    finite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is left to do to the network's output of one window."""

    tile: Tile
    plan: PicturePlan
    need: Box
    """source pixels whose output the result is made from: tile.keep, and what resampling reaches beyond it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A window's result on the device."""

    samples: Tensor
    """(H, W, 3) in the dtype of the source"""
    sums: Tensor
    """int64 [4]: `sum_in`, `sum_out` and `sum_abs_diff` of its stats, and 1 when all output was finite, else 0"""
    count: int
    """`samples` of its stats"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """Results that the device works on, or has brought, in order."""

    counts: tuple[int, ...]
    fetch: Fetch

    def results(self) -> list[WindowResult]:
        """Waits for the device, once."""
        arrays = self.fetch.arrays()
        return [
            WindowResult(pixels=pixels, stats=_stats(count, sums), finite=bool(sums[3]))
            for count, pixels, sums in zip(self.counts, arrays[::2], arrays[1::2], strict=True)
        ]


class Upscaler:
    """A model whose weights stay on one device. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self._backend = backend
        self._resamplers: dict[tuple[object, ...], Resampler] = {}

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        path: str | Path,
        *,
        device: str = "cpu",
        denoise: float = 1.0,
        partner_path: str | Path | None = None,
    ) -> Upscaler:
        """Verified weights on a device, tried out once.

        `denoise` below 1 mixes in the weights of `partner_path`, see `sr_kernel.weights.mix`. Raises WeightsError, also
        when the network answers a gradient with NaN or infinity, and DeviceMemoryError.
        """
        state = load_state(path, spec)
        if denoise != 1:
            if partner_path is None:
                raise WeightsError(f"weights: {spec.name}: a denoise strength of {denoise} needs the partner's file")
            state = mix(state, load_state(partner_path, MODELS[spec.partner] if spec.partner else None), denoise)
        _self_test(spec, state)
        return cls(spec, Backend(spec, state, device))

    @property
    def device(self) -> str:
        return str(self._backend.device)

    def close(self) -> None:
        """Gives the model's memory back; the object is of no use afterwards."""
        self._backend.close()
        self._resamplers.clear()

    def restore_windows(
        self, windows: Sequence[Pixels], tiles: Sequence[Tile], plans: Sequence[PicturePlan], settings: Settings
    ) -> list[WindowResult]:
        """Windows through the whole network.

        Each window is HWC, 3 channels, uint8 or uint16, what its tile reads (`sr_kernel.pixels.cut_window`). All have
        one dtype and one shape; they may belong to different pictures. Out of memory, the batch is halved, then, where
        the plan is exact, the window; bytes stay the same on a CPU. Raises DeviceMemoryError when nothing smaller is
        left, PrecisionError.
        """
        for window, tile in zip(windows, tiles, strict=True):
            if window.shape != (tile.read.height, tile.read.width, 3) or window.dtype != windows[0].dtype:
                raise ValueError(f"a window of {window.shape} {window.dtype} is not what {tile.read} reads")
        jobs = [_Job(tile=tile, plan=plan, need=_needed(tile, plan)) for tile, plan in zip(tiles, plans, strict=True)]
        return list(_one_behind(self._batches(windows, jobs, settings)))

    def restore_body(
        self, rgb: Pixels, plan: PicturePlan, settings: Settings, emit: Callable[[Tile, Pixels], None]
    ) -> tuple[PixelStats, bool]:
        """A picture whose body runs whole (`Strategy.BODY`): every tile of the tail is handed to `emit` in order.

        Returns the picture's sums and whether all output was finite. Raises DeviceMemoryError, PrecisionError.
        """
        spec = plan.spec
        whole = Box(x0=0, y0=0, x1=spec.padded_width, y1=spec.padded_height)
        network = cast("RRDBNet", self._backend.network(settings.precision))
        x = self._backend.upload([cut_window(rgb, whole)])
        stats, finite = PixelStats(), True
        with memory_errors(), torch.inference_mode():
            features = network.body(x)
            jobs = [_Job(tile=tile, plan=plan, need=_needed(tile, plan)) for tile in plan.tiles]
            tails = ((job, network.tail(features, whole, job.need)[0]) for job in jobs)
            made = (self._finish(tail, x[0], whole, job, settings, rgb.dtype) for job, tail in tails)
            for tile, result in zip(plan.tiles, _one_behind(self._start([one]) for one in made), strict=True):
                stats, finite = stats + result.stats, finite and result.finite
                emit(tile, result.pixels)
        return stats, finite

    def restore(self, rgb: Pixels, plan: PicturePlan, settings: Settings) -> Restored:
        """A whole picture, HWC, 3 channels, uint8 or uint16; the result has its dtype and the plan's output size."""
        pixels = np.empty((plan.spec.out_height, plan.spec.out_width, 3), dtype=rgb.dtype)

        def emit(tile: Tile, part: Pixels) -> None:
            pixels[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1] = part

        if plan.strategy is Strategy.BODY:
            stats, finite = self.restore_body(rgb, plan, settings, emit)
            return Restored(pixels=pixels, stats=stats, finite=finite)
        stats, finite = PixelStats(), True
        windows = [cut_window(rgb, tile.read) for tile in plan.tiles]
        jobs = [_Job(tile=tile, plan=plan, need=_needed(tile, plan)) for tile in plan.tiles]
        results = _one_behind(self._batches(windows, jobs, settings))
        for tile, result in zip(plan.tiles, results, strict=True):
            emit(tile, result.pixels)
            stats, finite = stats + result.stats, finite and result.finite
        return Restored(pixels=pixels, stats=stats, finite=finite)

    def _batches(self, windows: Sequence[Pixels], jobs: Sequence[_Job], settings: Settings) -> Iterator[_Started]:
        """Windows of one shape in batches; out of memory the batch is halved for all that follow."""
        first, batch = 0, settings.batch
        while first < len(jobs):
            part = slice(first, first + batch)
            try:
                started = self._start_batch(windows[part], jobs[part], batch, settings)
            except DeviceMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                continue
            first += batch
            yield started

    def _start_batch(self, windows: Sequence[Pixels], jobs: Sequence[_Job], batch: int, settings: Settings) -> _Started:
        """One forward pass of up to `batch` windows, and what follows it."""
        filled = list(windows)
        if self._backend.static_shapes:
            filled += [windows[-1]] * (batch - len(windows))
        x = self._backend.upload(filled)
        boxes = [_shift(job.need, job.tile.read) for job in jobs]
        # On a GPU bytes depend on shapes: there all of a window is computed, wherever what is kept of it lies.
        static = self._backend.static_shapes
        keep = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]) if static else _union(boxes)
        splittable = len(jobs) == 1 and jobs[0].plan.mode is Mode.EXACT
        made = self._run(x, keep, settings.precision, self.spec.halo_px if splittable else None)
        with memory_errors(), torch.inference_mode():
            finished = [
                self._finish(
                    _part(made[index], _shift(box, keep), self.spec.scale),
                    x[index],
                    job.tile.read,
                    job,
                    settings,
                    windows[0].dtype,
                )
                for index, (job, box) in enumerate(zip(jobs, boxes, strict=True))
            ]
        return self._start(finished)

    def _start(self, made: Sequence[_Made]) -> _Started:
        """Sends results on their way to main memory."""
        fetch = self._backend.fetch([tensor for one in made for tensor in (one.samples, one.sums)])
        return _Started(counts=tuple(one.count for one in made), fetch=fetch)

    def _run(self, x: Tensor, keep: Box, precision: str, halo_px: int | None) -> Tensor:
        """`Backend.run`; out of memory the kept part is halved, each half with its own halo, where one is given."""
        try:
            return self._backend.run(x, keep, precision)
        except DeviceMemoryError:
            if halo_px is None or max(keep.width, keep.height) < 2 * _SMALLEST_SPLIT_PX:
                raise
            halves, axis = _halves(keep, self.spec.align_px)
            reads = [_aligned(grow(half, halo_px, x.shape[3], x.shape[2]), self.spec.align_px) for half in halves]
            if max(read.area_px for read in reads) == x.shape[2] * x.shape[3]:
                raise
        parts = [
            self._run(x[..., read.y0 : read.y1, read.x0 : read.x1], _shift(half, read), precision, halo_px)
            for half, read in zip(halves, reads, strict=True)
        ]
        return torch.cat(parts, dim=axis)

    def _finish(self, made: Tensor, x: Tensor, area: Box, job: _Job, settings: Settings, dtype: np.dtype[Any]) -> _Made:
        """The network's output of `job.need` (h, w, 3) and its source x (3, H, W), which covers `area`: the result.

        Nothing here waits for the device.
        """
        # One NaN or infinity makes the sum NaN or infinite; finite samples are far too small to overflow it.
        finite = torch.isfinite(made.sum())
        made = made.clamp_(0, 1)
        kept = _part(made, _shift(job.tile.keep, job.need), self.spec.scale)
        keep = _shift(job.tile.keep, area)
        source = x[:, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        sums = torch.stack([*_sums(kept, source, self.spec.scale), finite.long()])
        if job.plan.spec.resampled:
            levels = self._resize(made.permute(2, 0, 1).unsqueeze(0), job, settings, dtype)
        else:
            levels = kept.permute(2, 0, 1).unsqueeze(0) * top_level(dtype)
        return _Made(samples=to_samples(levels, dtype)[0], sums=sums, count=source.numel())

    def _resize(self, planes: Tensor, job: _Job, settings: Settings, dtype: np.dtype[Any]) -> Tensor:
        """The levels of `job.tile.out` from the network's output of `job.need`, 0..1; both NCHW."""
        spec, scale = job.plan.spec, self.spec.scale
        sizes = (spec.width * scale, spec.height * scale, spec.out_width, spec.out_height)
        key = (*sizes, settings.resize, dtype)
        if key not in self._resamplers:
            if len(self._resamplers) >= _RESAMPLERS_KEPT:
                self._resamplers.clear()
            self._resamplers[key] = Resampler(*sizes, settings.resize, eight_bit=dtype == np.uint8)
        levels = to_levels(planes, dtype) if settings.resize == "official" else planes * top_level(dtype)
        return self._resamplers[key].apply(levels, (job.need.x0 * scale, job.need.y0 * scale), job.tile.out)


def _self_test(spec: ModelSpec, state: dict[str, Tensor]) -> None:
    """Raises WeightsError when the network answers a small gradient with anything but finite numbers."""
    side = 8
    like = torch.empty(0, dtype=torch.float32)
    ramp = torch.linspace(0, 1, 3 * side * side).view(1, side, side, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        made = ARCHS[spec.arch].make(spec, state, like, trimmed=False)(ramp, Box(x0=0, y0=0, x1=side, y1=side))
    if not torch.isfinite(made).all():
        raise WeightsError(f"weights: {spec.name}: the network gives NaN or infinity on a gradient; fetch them again")


def _needed(tile: Tile, plan: PicturePlan) -> Box:
    """Source pixels whose output the result needs: those kept, or all that are right where the output is resampled."""
    spec, read = plan.spec, tile.read
    if not spec.resampled:
        return tile.keep
    halo = spec.halo_px if plan.mode is Mode.EXACT else min(spec.halo_px, spec.bounded_halo_px)
    if plan.strategy is Strategy.BODY:
        halo = TAIL_HALO * spec.align_px
    halo = -(-halo // spec.align_px) * spec.align_px
    return Box(
        x0=read.x0 + halo if read.x0 > 0 else 0,
        y0=read.y0 + halo if read.y0 > 0 else 0,
        x1=read.x1 - halo if read.x1 < spec.padded_width else spec.width,
        y1=read.y1 - halo if read.y1 < spec.padded_height else spec.height,
    )


def _one_behind(batches: Iterator[_Started]) -> Iterator[WindowResult]:
    """Results in order, each waited for when the device has got the next batch: it works while they are used."""
    before: _Started | None = None
    for started in batches:
        if before is not None:
            yield from before.results()
        before = started
    if before is not None:
        yield from before.results()


def _sums(made: Tensor, source: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over (h, w, 3) source samples and the clamped output (h * scale, w * scale, 3) averaged over each.

    They are `sum_in`, `sum_out` and `sum_abs_diff` of PixelStats. Samples are added one after another, never by a
    reduction, whose order could depend on the shape.
    """
    rows = made[::scale].clone()
    for dy in range(1, scale):
        rows += made[dy::scale]
    cells = rows[:, ::scale].clone()
    for dx in range(1, scale):
        cells += rows[:, dx::scale]
    out = cells.mul_(255 / scale**2).round_().to(torch.int32)
    levels = (source * 255).round_().to(torch.int32)
    return levels.sum(), out.sum(), (out - levels).abs_().sum()


def _stats(count: int, sums: NDArray[np.int64]) -> PixelStats:
    """Stats of `count` samples from what `_sums` gave."""
    return PixelStats(samples=count, sum_in=int(sums[0]), sum_out=int(sums[1]), sum_abs_diff=int(sums[2]))


def _part(made: Tensor, box: Box, scale: int) -> Tensor:
    """What `box`, in source pixels, covers of an output (h, w, 3)."""
    return made[box.y0 * scale : box.y1 * scale, box.x0 * scale : box.x1 * scale]


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
