"""Upscaler: a resident model. Windows in, restored windows out; a whole picture in, a whole picture out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sr_kernel.archs import ARCHS
from sr_kernel.archs.foreign import ForeignError
from sr_kernel.backend import Backend, Fetch
from sr_kernel.fidelity import FINITE, PixelStats, stats_of
from sr_kernel.forward import Forward
from sr_kernel.job import Job, Made, Settings
from sr_kernel.mixed import mixed_state
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.pixels import Pixels, cut_window
from sr_kernel.tiles import Box, PicturePlan, Strategy, Tile
from sr_kernel.weights import WeightsError, load_state

__all__ = ["Restored", "Settings", "Upscaler", "WindowResult"]


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
class _Started:
    """Results that the device works on, or has brought, in order."""

    counts: tuple[int, ...]
    fetch: Fetch

    def results(self) -> list[WindowResult]:
        """Waits for the device, once."""
        arrays = self.fetch.arrays()
        return [
            WindowResult(pixels=pixels, stats=stats_of(count, sums.tolist()), finite=bool(sums[FINITE]))
            for count, pixels, sums in zip(self.counts, arrays[::2], arrays[1::2], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class StartedWindows:
    """Windows that the device works on, or has brought, in order."""

    _parts: tuple[_Started, ...]
    smaller: bool = False
    """whether memory did not hold the batch, or the windows, but smaller ones: on a GPU bytes may depend on that"""

    def results(self) -> list[WindowResult]:
        """Waits for the device. Raises DeviceMemoryError for what it found on the way."""
        return [result for part in self._parts for result in part.results()]


class Upscaler:
    """A model whose weights stay on one device. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self.backend = backend
        self.forward = Forward(spec, backend)

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        path: str | Path,
        *,
        device: str = "cpu",
        denoise: float = 1.0,
        partner_path: str | Path | None = None,
        mixed: Path | None = None,
        kernel: str = "plain",
    ) -> Upscaler:
        """Verified weights on a device, tried out once.

        `denoise` below 1 mixes in the weights of `partner_path`, see `sr_kernel.weights.mix`; what was mixed is kept in
        the folder `mixed`. `kernel` as Backend has it. Raises WeightsError, also when the network answers a gradient
        with NaN or infinity, KernelError and DeviceMemoryError.
        """
        if denoise == 1:
            state = load_state(path, spec)
        elif partner_path is None:
            raise WeightsError(f"weights: {spec.name}: a denoise strength of {denoise} needs the partner's file")
        else:
            partner = MODELS[spec.partner] if spec.partner else None
            state = mixed_state((spec, Path(path)), (partner, Path(partner_path)), denoise, mixed)
        _self_test(spec, state)
        return cls(spec, Backend(spec, state, device, kernel))

    @property
    def device(self) -> str:
        return str(self.backend.device)

    @property
    def works_beside(self) -> bool:
        """Whether what is started runs on while the caller does something else."""
        return self.backend.static_shapes

    @property
    def held_bytes(self) -> int:
        """What the model's weights occupy, in all precisions that it has been asked for."""
        return self.backend.held_bytes

    def release(self) -> None:
        """Gives back what is kept from call to call beside the weights: another model is asked for now."""
        self.forward.forget()
        self.backend.release()

    def close(self) -> None:
        """Gives the model's memory back; the object is of no use afterwards."""
        self.backend.close()
        self.forward.close()

    def restore_windows(
        self, windows: Sequence[Pixels], tiles: Sequence[Tile], plans: Sequence[PicturePlan], settings: Settings
    ) -> list[WindowResult]:
        """The results of `start_windows`."""
        return self.start_windows(windows, tiles, plans, settings).results()

    def start_windows(
        self, windows: Sequence[Pixels], tiles: Sequence[Tile], plans: Sequence[PicturePlan], settings: Settings
    ) -> StartedWindows:
        """Gives the device windows, which go through the whole network; a GPU is not waited for.

        Each window is HWC, 3 channels, uint8 or uint16, what its tile reads (`sr_kernel.pixels.cut_window`). All have
        one dtype and one shape; they may belong to different pictures. Out of memory, the batch is halved, then, where
        the plan is exact, the window; bytes stay the same on a CPU. Raises DeviceMemoryError when nothing smaller is
        left, PrecisionError.
        """
        for window, tile in zip(windows, tiles, strict=True):
            if window.shape != (tile.read.height, tile.read.width, 3) or window.dtype != windows[0].dtype:
                raise ValueError(f"a window of {window.shape} {window.dtype} is not what {tile.read} reads")
        jobs = [
            Job(tile=tile, plan=plan, dtype=window.dtype)
            for window, tile, plan in zip(windows, tiles, plans, strict=True)
        ]
        before = self.forward.smaller
        parts = tuple(self._batches(windows, jobs, settings))
        return StartedWindows(parts, smaller=self.forward.smaller > before)

    def start_body(self, rgb: Pixels, plan: PicturePlan, settings: Settings) -> StartedWindows:
        """As `restore_body`, all tiles at once; a GPU is not waited for, and holds all output in the picture's depth.

        Raises DeviceMemoryError, PrecisionError.
        """
        return StartedWindows(tuple(self._body(rgb, plan, settings)))

    def restore_body(
        self, rgb: Pixels, plan: PicturePlan, settings: Settings, emit: Callable[[Tile, Pixels], None]
    ) -> tuple[PixelStats, bool]:
        """A picture whose body runs whole (`Strategy.BODY`): every tile of the tail is handed to `emit` in order.

        Returns the picture's sums and whether all output was finite. Raises DeviceMemoryError, PrecisionError.
        """
        stats, finite = PixelStats(), True
        for tile, result in zip(plan.tiles, _one_behind(self._body(rgb, plan, settings)), strict=True):
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
        jobs = [Job(tile=tile, plan=plan, dtype=rgb.dtype) for tile in plan.tiles]
        results = _one_behind(self._batches(windows, jobs, settings))
        for tile, result in zip(plan.tiles, results, strict=True):
            emit(tile, result.pixels)
            stats, finite = stats + result.stats, finite and result.finite
        return Restored(pixels=pixels, stats=stats, finite=finite)

    def _body(self, rgb: Pixels, plan: PicturePlan, settings: Settings) -> Iterator[_Started]:
        """The tiles of a body that runs whole, each given to the device when it is asked for."""
        whole = Box(x0=0, y0=0, x1=plan.spec.padded_width, y1=plan.spec.padded_height)
        windows, once = [cut_window(rgb, whole)], self.forward.released_once
        levels = once(partial(self.backend.upload, windows))
        for made in self.forward.body(levels, plan, rgb.dtype, settings):
            yield once(partial(self._start, [made]))

    def _batches(self, windows: Sequence[Pixels], jobs: Sequence[Job], settings: Settings) -> Iterator[_Started]:
        """Windows of one shape in batches."""

        def cut(places: Sequence[int]) -> Tensor:
            return self.backend.upload([windows[place] for place in places])

        return self.forward.batches(cut, jobs, settings, self._start)

    def _start(self, made: Sequence[Made]) -> _Started:
        """Sends results on their way to main memory."""
        fetch = self.backend.fetch([tensor for one in made for tensor in (one.samples, one.sums)])
        return _Started(counts=tuple(one.count for one in made), fetch=fetch)


def _self_test(spec: ModelSpec, state: dict[str, Tensor]) -> None:
    """Raises WeightsError when the network answers a small gradient with anything but finite numbers."""
    side = 8
    like = torch.empty(0, dtype=torch.float32)
    ramp = torch.linspace(0, 1, 3 * side * side).view(1, side, side, 3).permute(0, 3, 1, 2)
    try:
        with torch.inference_mode():
            made = ARCHS[spec.arch].make(spec, state, like, trimmed=False)(ramp, Box(x0=0, y0=0, x1=side, y1=side))
    except ForeignError as error:
        raise WeightsError(f"weights: {spec.name}: {error}") from error
    if not torch.isfinite(made).all():
        raise WeightsError(f"weights: {spec.name}: the network gives NaN or infinity on a gradient; fetch them again")


def _one_behind(batches: Iterator[_Started]) -> Iterator[WindowResult]:
    """Results in order, each waited for when the device has got the next batch: it works while they are used."""
    before: _Started | None = None
    for started in batches:
        if before is not None:
            yield from before.results()
        before = started
    if before is not None:
        yield from before.results()
