"""Frames of one segment through the lane: decode, infer and encode overlap, a few batches are in memory at any time.

The caller's thread decodes the next frames while the lane restores the last ones and, on a GPU, while their planes
travel back. Frames come out in the order in which they went in.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.media.video import Frame
from farm.params import restored_as_pictures
from farm.records import WorkItem
from farm.tasks.chain import Plans, restore_chain, whole_links
from farm.tasks.lane import model_of
from farm.tasks.restore import settings_of
from farm.tasks.station import Clock, Station
from sr_kernel.backend import DeviceMemoryError
from sr_kernel.colour import Planes, frame_to_rgb, rgb_to_frame
from sr_kernel.fidelity import PixelStats, is_black
from sr_kernel.frames import FrameUpscaler, RestoredFrame, StartedFrames
from sr_kernel.passes import Passes
from sr_kernel.tiles import PicturePlan, Strategy
from sr_kernel.upscale import Settings, Upscaler

BATCHES_AHEAD = 2
"""batches that wait for the lane or for the device while the next is decoded"""
_MOST_BATCHES = 10
"""forward passes of frames that are given to a GPU at once"""
_ENOUGH = 0.95
"""of how full the fullest passes could be, for which no more frames are taken together"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """A restored frame, ready to be encoded."""

    index: int
    """output frame of the film"""
    planes: Planes
    stats: PixelStats
    change_in: float | None
    """mean absolute change against the frame before, in levels of 0..255; None for the first of a segment"""
    change_out: float | None
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Frames on their way: those that are new to the network, and what of them each shown frame is."""

    frames: tuple[Frame, ...]
    fresh: tuple[int, ...]
    """position in `frames` of every frame that is restored; others repeat the frame before them"""
    started: Future[list[StartedFrames]]


class FramePipeline:
    """One per segment: remembers the frame before, so that changes between frames are known."""

    def __init__(
        self, station: Station, item: WorkItem, film: FilmPlan, plans: Plans, batch_limit: int | None, clock: Clock
    ) -> None:
        params = item.upscale
        self._station = station
        self._item = item
        self._film = film
        self._plans = plans
        self._clock = clock
        self._batch_limit = batch_limit
        self._model = model_of(params)
        self.precision = params.precision if film.source.depth == 8 else params.precision_16bit
        self.precisions: set[str] = set()
        """in which frames were restored so far"""
        self._settings = settings_of(params, self.precision, batch_limit)
        self.smaller = self._settings.batch < params.batch and any(plan.strategy is not Strategy.BODY for plan in plans)
        """whether batches or windows were smaller than planned, since memory held no others"""
        self.frames_a_batch = self._frames_a_batch(plans[-1])
        self._resident: tuple[Upscaler, FrameUpscaler] | None = None
        self._last: ShownFrame | None = None
        self._last_planes: object = None

    def _frames_a_batch(self, plan: PicturePlan) -> int:
        tiles, batch = len(plan.tiles), self._settings.batch
        filled_up = self._station.context.device != "cpu" and plan.strategy is not Strategy.BODY
        return frames_that_fill(tiles, batch) if filled_up else max(1, batch // tiles)

    @property
    def frames_held(self) -> int:
        """Frames that are in memory at once, source and restored."""
        return self.frames_a_batch * (BATCHES_AHEAD + 2)

    def run(self, frames: Iterator[Frame]) -> Iterator[ShownFrame]:
        """Restored frames, in order. Raises ItemError (nonfinite_output, suspect_output), MemoryError, LaneStopped."""
        if restored_as_pictures(self._film, self._item.upscale):
            yield from map(self._as_picture, self._decoded(frames))
            return
        waiting: deque[_Batch] = deque()
        decoded = self._decoded(frames)
        while batch := self._next_batch(decoded):
            waiting.append(batch)
            if len(waiting) > BATCHES_AHEAD:
                yield from self._finished(waiting.popleft())
        while waiting:
            yield from self._finished(waiting.popleft())

    def _decoded(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        while True:
            with self._clock.stage("decode"):
                failpoints.hit("decode", self._item.row.source_url)
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _next_batch(self, decoded: Iterator[Frame]) -> _Batch | None:
        """The next frames, sent to the lane. What a film repeats is restored once."""
        frames: list[Frame] = []
        fresh: list[int] = []
        for frame in decoded:
            if frame.planes is not self._last_planes:
                fresh.append(len(frames))
                self._last_planes = frame.planes
            frames.append(frame)
            if len(fresh) >= self.frames_a_batch:
                break
        if not frames:
            return None
        planes = [frames[at].planes for at in fresh]
        started = self._station.lane.call(lambda: self._start(planes))
        return _Batch(frames=tuple(frames), fresh=tuple(fresh), started=started)

    def _start(self, planes: Sequence[Planes]) -> list[StartedFrames]:
        """In the lane. Another film's model may have been resident in between."""
        upscaler = self._station.resident.get(self._model)
        started_s = time.monotonic()
        failpoints.hit("infer", self._item.row.source_url)
        if self._resident is None or self._resident[0] is not upscaler:
            self._resident = upscaler, self._made(upscaler, self._settings)
        frames, passes = self._resident[1], self._station.passes
        started = self._noting(upscaler, lambda: _in_parts(frames, planes, passes))
        self._clock.add("infer", time.monotonic() - started_s)
        return started

    def _again(self, planes: Planes, settings: Settings) -> StartedFrames:
        """In the lane: one frame by itself."""
        upscaler = self._station.resident.get(self._model)
        frames = self._made(upscaler, settings)
        return self._noting(upscaler, lambda: frames.start([planes]))

    def _noting(self, upscaler: Upscaler, start: Callable[[], T]) -> T:
        """`start()`, and whether it took smaller batches or windows."""
        before = upscaler.forward.smaller
        started = start()
        self.smaller = self.smaller or upscaler.forward.smaller > before
        return started

    def _made(self, upscaler: Upscaler, settings: Settings) -> FrameUpscaler:
        *before, last = self._plans
        return FrameUpscaler(upscaler, last, self._film.source, self._film.target, settings, before=before)

    def _finished(self, batch: _Batch) -> Iterator[ShownFrame]:
        with self._clock.stage("wait"):
            started = batch.started.result()
        failpoints.hit("assemble", self._item.output_url)
        with self._clock.stage("infer"):
            restored = [frame for some in started for frame in some.frames()]
        made = dict(zip(batch.fresh, restored, strict=True))
        for at, frame in enumerate(batch.frames):
            if at in made:
                self._last = self._shown(frame, self._finite(frame, made[at]))
            else:
                self._last = _repeated(self._last, frame)
            yield self._last

    def _finite(self, frame: Frame, made: RestoredFrame) -> RestoredFrame:
        """Half precision that overflows, or turns black, is tried once more in full; what is still not finite is never
        published."""
        black = is_black(made.stats)
        believable = made.finite and not black
        self.precisions.add(self._settings.precision if believable else "fp32")
        if believable:
            return made
        if self._settings.precision != "fp32":
            settings = replace(self._settings, precision="fp32")
            again = self._station.lane.call(lambda: self._again(frame.planes, settings)).result().frames()[0]
            if again.finite:
                return replace(again, change_in=made.change_in)
        if made.finite:
            return made
        raise ItemError(
            ErrorKind.NONFINITE_OUTPUT,
            self._item.row.source_url,
            f"the network's output of frame {frame.index} holds NaN or infinity even in fp32",
            "check the model's weights with `farm models verify`",
        )

    def _shown(self, frame: Frame, made: RestoredFrame) -> ShownFrame:
        self._station.check_believable(made.stats, self._item, f"restored frame {frame.index}")
        return ShownFrame(
            index=frame.index,
            planes=made.planes,
            stats=made.stats,
            change_in=made.change_in,
            change_out=made.change_out,
            damaged=frame.damaged,
        )

    def _as_picture(self, frame: Frame) -> ShownFrame:
        """As a picture is restored: alpha by itself, faces by their own model. No score."""
        if frame.planes is self._last_planes:
            self._last = _repeated(self._last, frame)
            return self._last
        item, film = self._item, self._film
        pixels = self._station.lane.call(lambda: frame_to_rgb(frame.planes, film.source)).result()
        links, restorer, restored, stats = whole_links(self._plans), self._station.restorer, pixels, PixelStats()
        for made in restore_chain(restorer, pixels, links, item.upscale, item.row.source_url, self._batch_limit):
            self.precisions.add(made.precision)
            self.smaller = self.smaller or made.verdict.smaller
            self._clock.add("wait", made.verdict.wait_s)
            self._clock.add("infer", made.verdict.infer_s)
            self._station.check_believable(made.verdict.stats, item, f"restored frame {frame.index}")
            restored, stats = made.pixels, made.verdict.stats
        faces = self._station.faces.restore(pixels, restored, item.upscale.face, item.row.source_url, film.rotation)
        self._clock.add("infer", faces.infer_s if faces else 0.0)
        self._last_planes = frame.planes
        self._last = ShownFrame(
            index=frame.index,
            planes=self._station.lane.call(lambda: rgb_to_frame(restored, film.target)).result(),
            stats=stats,
            change_in=None,
            change_out=None,
            damaged=frame.damaged,
        )
        return self._last


def frames_that_fill(tiles: int, batch: int) -> int:
    """How many frames of so many windows are given to a device that fills short batches up: as few as leave few of
    their slots to copies."""
    counts = range(1, max(1, min(batch, _MOST_BATCHES * batch // tiles)) + 1)
    filled = {count: count * tiles / (-(-count * tiles // batch) * batch) for count in counts}
    return next(count for count in counts if filled[count] >= _ENOUGH * max(filled.values()))


def _repeated(last: ShownFrame | None, frame: Frame) -> ShownFrame:
    """The frame before once more, where a rate or damage asks for it."""
    if last is None:
        raise ValueError("a segment cannot begin with a repeated frame")
    return replace(last, index=frame.index, damaged=frame.damaged, change_in=None, change_out=None)


def _in_parts(frames: FrameUpscaler, planes: Sequence[Planes], passes: Passes) -> list[StartedFrames]:
    """All frames at once; out of memory, one half and then the other. Raises DeviceMemoryError for a single one."""
    try:
        return [frames.start(planes)]
    except DeviceMemoryError:
        if len(planes) == 1:
            raise
    passes.no_memory()
    half = len(planes) // 2
    return [*_in_parts(frames, planes[:half], passes), *_in_parts(frames, planes[half:], passes)]
