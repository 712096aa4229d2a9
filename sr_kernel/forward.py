"""Forward: windows on a device through a network to their results, on the device. Nothing here waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from sr_kernel.archs import RRDBNet
from sr_kernel.archs.layer import grow
from sr_kernel.archs.output import Output, WholeOutput, part_of
from sr_kernel.backend import Backend, DeviceMemoryError, memory_errors
from sr_kernel.boxes import aligned, halves, moved, shifted, union
from sr_kernel.counted import Counted
from sr_kernel.job import Job, Made, Settings
from sr_kernel.models import ModelSpec
from sr_kernel.passes import Passes
from sr_kernel.pixels import to_unit
from sr_kernel.steps import Steps, made_of
from sr_kernel.tiles import Box, Mode, PicturePlan
from sr_kernel.tta import TURNS, canvas_of, mean_of_turns

_SMALLEST_SPLIT_PX = 8
"""kept sides are not halved below this when memory is out: the halo would be nearly all of the work"""

_SLOW_S = 2.0
_REMEMBERED = 512
"""sorts of windows of which it is known that memory does not hold the batch that is asked for"""

T = TypeVar("T")


class Forward:
    """A model on its device. Not thread-safe: one thread calls it."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self._spec = spec
        self._backend = backend
        self._steps = Steps(spec)
        self._counted = Counted(spec, backend)
        self.passes = Passes()
        """counts what is run; whoever holds several models gives them one"""
        self._fitting: dict[Hashable, int] = {}
        """the batch that memory held, of windows for which it did not hold what was asked for; the oldest first"""
        self._used: set[Hashable] = set()
        """sorts of work that were done before"""
        self.smaller = 0
        """passes so far of which memory held neither the batch nor the windows that were asked for, but smaller ones"""

    def close(self) -> None:
        self._steps.close()

    def forget(self) -> None:
        """Batches are tried as large as they are asked for again: other models come and go, and memory with them."""
        self._fitting.clear()

    def batches(
        self,
        cut: Callable[[Sequence[int]], Tensor],
        jobs: Sequence[Job],
        settings: Settings,
        then: Callable[[Sequence[Made]], T],
    ) -> Iterator[T]:
        """Windows of one shape through the whole network in batches: what `then` makes of each batch's results.

        `cut` gives the windows of some jobs, named by their place, as `Backend.upload` does. On a GPU what `then` gets
        holds until it returns. Out of memory, also in `cut` and `then`, the batch is halved for all that follow, then,
        where the plan is exact, the window. Raises DeviceMemoryError when nothing smaller is left, PrecisionError.
        """
        if not jobs:
            return
        alike = _alike(jobs[0], settings)
        first, batch, released = 0, min(settings.batch, self._fitting.get(alike, settings.batch)), False
        while first < len(jobs):
            places = range(first, min(first + batch, len(jobs)))
            try:
                # On a GPU bytes depend on the batch's shape: there a short one is filled up.
                fill = [places[-1]] * (batch - len(places)) if self._backend.static_shapes else []
                with memory_errors(), torch.inference_mode():
                    levels = cut([*places, *fill])
                # On a GPU halving windows may change bytes, too: only once nothing is left that could be let go.
                may_split = released or not self._backend.static_shapes
                own = [jobs[place] for place in places]
                run = partial(self._batch, levels, own, settings, may_split=may_split)
                done = then(self._told(("windows", settings.precision), run))
            except DeviceMemoryError:
                self.passes.no_memory()
                if released and batch == 1:
                    raise
            else:
                self.passes.batch(len(places), settings.batch)
                if batch < settings.batch:
                    self._remember(alike, batch)
                first += batch
                yield done
                continue
            # Only here, where the error has gone and with it what it held.
            if not released:  # before bytes could change by a smaller batch: without what is kept of other shapes
                self._backend.release()
                released = True
            else:
                batch //= 2

    def _remember(self, alike: Hashable, batch: int) -> None:
        """So many windows went through, and fewer than asked for: the next like them begin with as many, and do not run
        out of memory first."""
        self.smaller += 1
        self._fitting.pop(alike, None)
        self._fitting[alike] = batch
        if len(self._fitting) > _REMEMBERED:
            self._fitting.pop(next(iter(self._fitting)))

    def body(self, levels: Tensor, plan: PicturePlan, dtype: np.dtype[Any], settings: Settings) -> Iterator[Made]:
        """A picture (1, H, W, 3) whose body runs whole (`Strategy.BODY`): the result of every tile of the tail.

        With turns or kept colours the whole output is held in fp32 meanwhile: 12 bytes for each of its pixels. On a GPU
        a result holds until the next one is asked for. Raises DeviceMemoryError, PrecisionError.
        """
        jobs = [Job(tile=tile, plan=plan, dtype=dtype) for tile in plan.tiles]
        _, height, width, _ = levels.shape
        counts = self._counted.does(jobs[0], settings)
        if counts and not settings.tta and self._backend.records(height * width):
            run = partial(self._recorded_body, levels, jobs, settings)
            yield from self.released_once(lambda: self._told(("recorded", settings.precision), run))
            return
        whole = Box(x0=0, y0=0, x1=width, y1=height)

        def begun() -> tuple[Tensor, Callable[[Box], Tensor]]:
            network = cast("RRDBNet", self._backend.network(settings.precision))
            x = to_unit(levels, torch.float32)
            return x, self._body_output(network, x, plan, settings)

        def finished(job: Job, x: Tensor, output_of: Callable[[Box], Tensor]) -> Made:
            keep = job.tile.keep
            if not counts:
                output = WholeOutput(output_of(job.need)[None], self._spec.scale)
                return made_of([self._steps.finish(partial(output.part, 0), x[0], whole, job, settings)])[0]
            table = self._counted.tables([shifted(keep, keep)])
            found = self._counted.look(output_of(keep)[None], _planes(x, keep), table)
            return self._counted.results(found, [job])[0]

        x, output_of = self.released_once(lambda: self._told(("body", settings.precision), begun))
        for job in jobs:
            tail = partial(finished, job, x, output_of)
            yield self.released_once(partial(self._told, ("tail", settings.precision), tail))

    def _told(self, sort: Hashable, call: Callable[[], T]) -> T:
        """`call()`. On a GPU, which is not waited for, the first of a sort takes long where kernels are compiled: then
        it is counted, for people to be told."""
        if sort in self._used or not self._backend.static_shapes:
            return call()
        begun = time.perf_counter()
        made = call()
        self._used.add(sort)
        if (taken := time.perf_counter() - begun) > _SLOW_S:
            self.passes.slow(taken)
        return made

    def released_once(self, call: Callable[[], T]) -> T:
        """`call()`; out of memory once more, without what is kept of other shapes. Raises DeviceMemoryError."""
        try:
            with memory_errors(), torch.inference_mode():
                return call()
        except DeviceMemoryError:
            self.passes.no_memory()
        self._backend.release()  # only here, where the error has gone and with it what it held
        with memory_errors(), torch.inference_mode():
            return call()

    def _body_output(
        self, network: RRDBNet, x: Tensor, plan: PicturePlan, settings: Settings
    ) -> Callable[[Box], Tensor]:
        """What gives the output (h, w, 3) of a box in source pixels, for the caller to work on."""
        if settings.tta or settings.keep_colour:
            turns = TURNS if settings.tta else TURNS[:1]
            canvas = canvas_of(network, x, [tile.keep for tile in plan.tiles], turns)
            return lambda need: part_of(canvas, need, self._spec.scale).clone()  # what tiles need overlaps
        whole, features = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]), network.body(x)
        return lambda need: network.tail(features, whole, need)[0]

    def _recorded_body(self, levels: Tensor, jobs: Sequence[Job], settings: Settings) -> list[Made]:
        """As `body`, all tiles in one piece of work."""
        network = cast("RRDBNet", self._backend.network(settings.precision))
        keeps = tuple(job.tile.keep for job in jobs)
        whole = Box(x0=0, y0=0, x1=levels.shape[2], y1=levels.shape[1])

        def work(levels: Tensor, tables: Tensor) -> list[Tensor]:
            x, found = to_unit(levels, torch.float32), list[Tensor]()
            features = network.body(x)
            for index, keep in enumerate(keeps):
                made = network.tail(features, whole, keep)
                found += self._counted.look(made, _planes(x, keep), tables[index : index + 1])
            return found

        key = ("body", settings.precision, tuple(levels.shape), keeps)
        tables = self._counted.tables([shifted(keep, keep) for keep in keeps])
        found = self._backend.recorded(key, work, [levels, tables], network)
        each = (found[at : at + 3] for at in range(0, len(found), 3))
        return [self._counted.results(one, [job])[0] for job, one in zip(jobs, each, strict=True)]

    def _batch(self, levels: Tensor, jobs: Sequence[Job], settings: Settings, *, may_split: bool) -> list[Made]:
        """One forward pass, and what follows it; there may be more windows (N, H, W, 3) than jobs."""
        splittable = may_split and len(jobs) == 1 and jobs[0].plan.mode is Mode.EXACT
        if self._counted.does(jobs[0], settings):
            try:
                return self._counted_batch(levels, jobs, settings)
            except DeviceMemoryError:
                if not splittable:
                    raise
        with memory_errors(), torch.inference_mode():
            x = to_unit(levels, torch.float32)
        boxes = [shifted(job.need, job.tile.read) for job in jobs]
        # On a GPU bytes depend on shapes: there all of a window is computed, wherever what is kept of it lies.
        static = self._backend.static_shapes
        keep = Box(x0=0, y0=0, x1=x.shape[3], y1=x.shape[2]) if static else union(boxes)
        halo_px = self._spec.halo_px if splittable else None
        # Turns, colours and resizing look at all of a window, so memory may run out over that here.
        whole = settings.tta or settings.keep_colour or jobs[0].plan.spec.resampled
        run = partial(self._run, precision=settings.precision, halo_px=halo_px, whole=whole)

        def turned(window: Tensor, part: Box) -> Tensor:
            return run(window, part).whole()

        with memory_errors(), torch.inference_mode():
            output = WholeOutput(mean_of_turns(turned, x, keep), self._spec.scale) if settings.tta else run(x, keep)
            return made_of(
                [
                    self._steps.finish(_from(output, index, shifted(box, keep)), x[index], job.tile.read, job, settings)
                    for index, (job, box) in enumerate(zip(jobs, boxes, strict=True))
                ]
            )

    def _counted_batch(self, levels: Tensor, jobs: Sequence[Job], settings: Settings) -> list[Made]:
        """As `_batch`."""
        network = self._backend.network(settings.precision)
        count, height, width, _ = levels.shape
        whole = Box(x0=0, y0=0, x1=width, y1=height)

        def work(levels: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x = to_unit(levels, torch.float32)
            made = mean_of_turns(network, x, whole) if settings.tta else network(x, whole)
            return self._counted.look(made, x, table)

        keeps = [shifted(job.tile.keep, job.tile.read) for job in jobs]
        with memory_errors(), torch.inference_mode():
            table = self._counted.table([*keeps, *[keeps[-1]] * (count - len(jobs))])
            if settings.tta or not self._backend.records(count * height * width):
                return self._counted.results(work(levels, table), jobs)
            key = ("windows", settings.precision, tuple(levels.shape))
            return self._counted.results(self._backend.recorded(key, work, [levels, table], network), jobs)

    def _run(self, x: Tensor, keep: Box, precision: str, halo_px: int | None, *, whole: bool) -> Output:
        """`Backend.output`, or where it is looked at `whole` `Backend.run`; out of memory the kept part is halved, each
        half with its own halo, where one is given."""
        scale = self._spec.scale
        try:
            if whole:
                return WholeOutput(self._backend.run(x, keep, precision), scale)
            return self._backend.output(x, keep, precision)
        except DeviceMemoryError:
            if halo_px is None or max(keep.width, keep.height) < 2 * _SMALLEST_SPLIT_PX:
                raise
            parts, axis = halves(keep, self._spec.align_px)
            reads = [aligned(grow(half, halo_px, x.shape[3], x.shape[2]), self._spec.align_px) for half in parts]
            if max(read.area_px for read in reads) == x.shape[2] * x.shape[3]:
                raise
            self.passes.no_memory()
            self.smaller += 1
        made = [
            self._run(
                x[..., read.y0 : read.y1, read.x0 : read.x1], shifted(half, read), precision, halo_px, whole=True
            ).whole()
            for half, read in zip(parts, reads, strict=True)
        ]
        return WholeOutput(torch.cat(made, dim=axis), scale)


def _from(output: Output, index: int, origin: Box) -> Callable[[Box], Tensor]:
    """What gives parts of one window's output whose boxes count from the corner of `origin`."""
    return lambda box: output.part(index, moved(box, origin))


def _alike(job: Job, settings: Settings) -> Hashable:
    """Equal for windows that take the same memory."""
    read = job.tile.read
    return (read.width, read.height, job.dtype, job.plan.spec.resampled, replace(settings, batch=1))


def _planes(x: Tensor, box: Box) -> Tensor:
    """What `box` covers of pictures (N, C, H, W)."""
    return x[:, :, box.y0 : box.y1, box.x0 : box.x1]
