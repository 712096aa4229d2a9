"""FrameUpscaler: the frames of a film through a resident model, from planes to planes, on the device all the way.

Integers travel both ways. On the device a frame becomes RGB levels, its windows are cut from these, results are put
together to the whole output frame, which becomes planes: what comes back is a half of the RGB picture for 4:2:0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

from sr_kernel.backend import Fetch, memory_errors
from sr_kernel.colour import Planes, as_tensors, from_rgb, level_dtype, to_rgb
from sr_kernel.fidelity import FINITE, PixelStats, stats_of
from sr_kernel.job import Job, Made, Settings
from sr_kernel.layout import FrameLayout
from sr_kernel.tiles import Box, PicturePlan, PictureSpec, Strategy
from sr_kernel.upscale import Upscaler

_LIGHT_STEPS = 64
"""steps of a level of 0..255 in which light is compared: whole numbers, so that sums depend on no order"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredFrame:
    """One restored frame."""

    planes: Planes
    """as the target's layout says, without alpha"""
    stats: PixelStats
    """of the RGB pictures, as of an image; of several passes the last one's"""
    finite: bool
    """false when the network gave NaN or infinity; the frame is then not to be published"""
    change_in: float | None
    """mean absolute change of light, (R + 2 G + B) / 4 in levels of 0..255, from the source frame before; None for the
    first frame of a FrameUpscaler"""
    change_out: float | None
    """the same of the restored frame, averaged over each pixel that the last pass reads"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedFrames:
    """Frames that the device works on, or has brought, in order."""

    fetch: Fetch
    """all planes of all frames, then int64 [frames, n] of `_Finished.sums`"""
    count: int
    source_px: int
    """of a frame"""
    stats_px: int
    """of what the last pass reads of a frame; the source's where there is one pass"""
    windows: int
    """of a frame, through all passes"""
    first: bool
    """whether nothing came before the first of these frames"""

    def frames(self) -> list[RestoredFrame]:
        """Waits for the device, once; callable from any thread. Raises DeviceMemoryError."""
        if not self.count:
            return []
        *planes, sums = self.fetch.arrays()
        each = len(planes) // self.count
        frames: list[RestoredFrame] = []
        for index, row in enumerate(sums.tolist()):
            *figures, change_in, change_out = row
            alone = self.first and index == 0
            frames.append(
                RestoredFrame(
                    planes=tuple(planes[index * each : (index + 1) * each]),
                    stats=stats_of(3 * self.stats_px, figures),
                    finite=figures[FINITE] == self.windows,
                    change_in=None if alone else change_in / (_LIGHT_STEPS * self.source_px),
                    change_out=None if alone else change_out / (_LIGHT_STEPS * self.stats_px),
                )
            )
        return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class _Light:
    """Light of one frame, int16 [height, width] in steps, before and after restoration."""

    source: Tensor
    restored: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """A frame's result on the device."""

    planes: tuple[Tensor, ...]
    sums: Tensor
    """int64: what `stats_of` reads, of all windows; then changes of light in steps, 0 where nothing was before"""
    light: _Light


class FrameUpscaler:
    """Restores frames of one film in order. Not thread-safe: the thread that calls the Upscaler calls `start`.

    `plan` is that of a picture of the source's size. Where a frame goes through the network more than once, `before`
    holds the plans of the passes that come first, and `plan` is of the size that the last of them makes. The pixels are
    those that `Upscaler.restore` gives for `frame_to_rgb` of each frame, in 8 bits for sources of 8 bits and in 16 for
    all others, whatever the batch on a CPU.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        plan: PicturePlan,
        source: FrameLayout,
        target: FrameLayout,
        settings: Settings,
        *,
        before: Sequence[PicturePlan] = (),
    ) -> None:
        plans = (*before, plan)
        first, last = plans[0].spec, plan.spec
        for layout, size in ((source, (first.width, first.height)), (target, (last.out_width, last.out_height))):
            if (layout.width, layout.height) != size:
                raise ValueError(f"the plan has {size[0]}x{size[1]} pixels where this frame is: {layout}")
        for one, then in pairwise(plans):
            if (one.spec.out_width, one.spec.out_height) != (then.spec.width, then.spec.height):
                raise ValueError(f"a pass makes {one.spec}, the next one reads {then.spec}")
        self._upscaler = upscaler
        self._plans = plans
        self._source = source
        self._target = target
        self._settings = settings
        self._dtype = np.dtype(np.uint8 if source.depth == 8 else np.uint16)
        self._last: _Light | None = None

    def start(self, frames: Sequence[Planes]) -> StartedFrames:
        """Gives the device the next frames, colour planes only; on a GPU nothing here waits for it.

        Windows of several frames share a forward pass, `settings.batch` each. Out of memory batches and windows are
        halved as for pictures, and a frame by itself is tried once more without what is kept of other shapes.
        DeviceMemoryError says that this was not enough, and changes nothing here: fewer frames can be tried. Raises
        ValueError for planes that are not the source's, PrecisionError.
        """
        if len(frames) > 1:
            return self._start(frames)
        return self._upscaler.forward.released_once(lambda: self._start(frames))

    def _start(self, frames: Sequence[Planes]) -> StartedFrames:
        backend, last = self._upscaler.backend, self._last
        sources = [self._upload(planes) for planes in frames]
        lights = [self._source_light(source) for source in sources]
        finite: list[list[Tensor]] = [[] for _ in sources]
        for plan, then in pairwise(self._plans):
            sources = self._passed(plan, then, sources, finite)
        made = self._windows(self._plans[-1], sources)
        finished: list[_Finished] = []
        for source, light, before in zip(sources, lights, finite, strict=True):
            one = self._finish(source, islice(made, len(self._plans[-1].tiles)), light, before, last)
            finished.append(one)
            last = one.light
        tensors = [plane for one in finished for plane in one.planes]
        if finished:
            with memory_errors(), torch.inference_mode():
                tensors.append(torch.stack([one.sums for one in finished]))
        started = StartedFrames(
            fetch=backend.fetch(tensors),
            count=len(finished),
            source_px=self._plans[0].spec.area_px,
            stats_px=self._plans[-1].spec.area_px,
            windows=sum(len(plan.tiles) for plan in self._plans),
            first=self._last is None,
        )
        self._last = last
        return started

    def _upload(self, planes: Planes) -> Tensor:
        """The levels (H, W, 3) of a frame on the device, extended as `cut_window` does to what windows read."""
        spec, layout = self._plans[0].spec, self._source
        send = self._upscaler.backend.send
        sent = [send(plane) for plane in as_tensors(planes, layout.colour_sizes, layout)]
        with memory_errors(), torch.inference_mode():
            shape = (spec.padded_height, spec.padded_width, 3)
            levels = torch.empty(shape, dtype=level_dtype(layout), device=self._upscaler.backend.device)
            to_rgb(sent, layout, levels[: spec.height, : spec.width])
            _extend(levels, spec)
        return levels

    def _source_light(self, source: Tensor) -> Tensor:
        """`_Light.source` of a frame's levels."""
        spec = self._plans[0].spec
        with memory_errors(), torch.inference_mode():
            return _light(source[: spec.height, : spec.width], torch.iinfo(source.dtype).max)

    def _passed(
        self, plan: PicturePlan, then: PicturePlan, sources: Sequence[Tensor], finite: Sequence[list[Tensor]]
    ) -> list[Tensor]:
        """What a pass that is not the last makes of frames, extended for the next; notes in `finite` how it went."""
        made, spec = self._windows(plan, sources), then.spec
        levels: list[Tensor] = []
        for source, notes in zip(sources, finite, strict=True):
            with memory_errors(), torch.inference_mode():
                shape = (spec.padded_height, spec.padded_width, 3)
                canvas = torch.empty(shape, dtype=source.dtype, device=source.device)
            for tile, one in zip(plan.tiles, islice(made, len(plan.tiles)), strict=True):
                with memory_errors(), torch.inference_mode():
                    _part(canvas, tile.out).copy_(one.samples)
                    notes.append(one.sums[FINITE])
            with memory_errors(), torch.inference_mode():
                _extend(canvas, spec)
            levels.append(canvas)
        return levels

    def _windows(self, plan: PicturePlan, sources: Sequence[Tensor]) -> Iterator[Made]:
        """Results of all windows of all frames in one pass, in order."""
        forward, tiles = self._upscaler.forward, plan.tiles
        if plan.strategy is Strategy.BODY:
            for source in sources:
                yield from forward.body(_inputs([source]), plan, self._dtype, self._settings)
            return

        def cut(places: Sequence[int]) -> Tensor:
            return _inputs([_part(sources[place // len(tiles)], tiles[place % len(tiles)].read) for place in places])

        jobs = [Job(tile=tile, plan=plan, dtype=self._dtype) for tile in tiles] * len(sources)
        for batch in forward.batches(cut, jobs, self._settings, list):
            yield from batch

    def _finish(
        self,
        source: Tensor,
        windows: Iterator[Made],
        source_light: Tensor,
        finite: Sequence[Tensor],
        last: _Light | None,
    ) -> _Finished:
        """A frame from the levels that its last pass reads and the results of its windows, and how far it is from the
        one before; `finite` is of the windows of earlier passes."""
        plan, device = self._plans[-1], source.device
        spec = plan.spec
        with memory_errors(), torch.inference_mode():
            canvas = torch.empty((spec.out_height, spec.out_width, 3), dtype=source.dtype, device=device)
            restored = torch.empty((spec.height, spec.width), dtype=torch.int16, device=device)
        sums: list[Tensor] = []
        for tile, made in zip(plan.tiles, windows, strict=True):
            with memory_errors(), torch.inference_mode():
                _part(canvas, tile.out).copy_(made.samples)
                _part(restored, tile.keep).copy_(_light(made.means, 255))
                sums.append(made.sums)
        with memory_errors(), torch.inference_mode():
            light = _Light(source=source_light, restored=restored)
            total = torch.stack(sums).sum(0)
            if finite:
                total[FINITE] += torch.stack(list(finite)).sum()
            total = torch.cat([total, torch.stack([*_changes(last, light)])])
            return _Finished(planes=from_rgb(canvas, self._target), sums=total, light=light)


def _extend(levels: Tensor, spec: PictureSpec) -> None:
    """Fills what lies to the right of and below a picture by reflection, as `cut_window` does."""
    for x, mirrored in _reflected(spec.width, spec.padded_width):
        levels[: spec.height, x].copy_(levels[: spec.height, mirrored])
    for y, mirrored in _reflected(spec.height, spec.padded_height):
        levels[y].copy_(levels[mirrored])


def _reflected(length: int, padded: int) -> list[tuple[int, int]]:
    """Positions from `length` to `padded`, and where in the picture each has its sample from."""
    mirrored = np.pad(np.arange(length), (0, padded - length), mode="reflect")
    return [(position, int(mirrored[position])) for position in range(length, padded)]


def _inputs(windows: Sequence[Tensor]) -> Tensor:
    """Levels (h, w, 3) of one shape as `Backend.upload` gives windows."""
    with memory_errors(), torch.inference_mode():
        return torch.stack(list(windows))


def _part(picture: Tensor, box: Box) -> Tensor:
    return picture[box.y0 : box.y1, box.x0 : box.x1]


def _light(rgb: Tensor, top: int) -> Tensor:
    """(R + 2 G + B) / 4 of (h, w, 3) levels 0..top in steps, int16."""
    red, green, blue = (rgb[:, :, channel].to(torch.float32) for channel in range(3))
    total = (green * 2).add_(red).add_(blue)
    return total.mul_(255 * _LIGHT_STEPS / (4 * top)).round_().to(torch.int16)


def _changes(last: _Light | None, light: _Light) -> tuple[Tensor, Tensor]:
    """Sums of absolute changes in steps, before and after restoration, int64; integers, so in no order."""
    if last is None:
        nothing = torch.zeros((), dtype=torch.int64, device=light.source.device)
        return nothing, nothing
    pairs = ((light.source, last.source), (light.restored, last.restored))
    before, after = ((new - old).abs_().sum(dtype=torch.int64) for new, old in pairs)
    return before, after
