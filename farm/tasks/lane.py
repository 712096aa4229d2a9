"""The lane: the one thread of a worker that calls torch.

Pictures come in whole from several input/output threads; the lane takes their windows in order of arrival, puts windows
of equal shape into one batch even when they belong to different pictures, and hands each result to the thread that
waits for its picture, which puts it in its place. A GPU gets the next batch before the results of the last are waited
for: it never waits for the lane, unless nothing is there to be done.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from farm import failpoints
from farm.params import UpscaleParams
from sr_kernel.fidelity import PixelStats
from sr_kernel.pixels import cut_window
from sr_kernel.tiles import PicturePlan, Strategy, Tile
from sr_kernel.upscale import Settings, StartedWindows, Upscaler, WindowResult

Pixels = NDArray[Any]
Emit = Callable[[Tile, Pixels], None]


class LaneStopped(Exception):
    """The worker was told to stop before this picture was finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What the lane says of a picture whose pixels it has handed out."""

    stats: PixelStats
    finite: bool
    wait_s: float
    infer_s: float
    smaller: bool = False
    """whether batches or windows were smaller than asked for, since memory held no others"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which resident model a picture needs."""

    model: str
    sha256: str
    denoise: float
    kernel: str = "plain"


def model_of(params: UpscaleParams) -> ModelRef:
    """The resident model that an item's parameters ask for."""
    return ModelRef(model=params.model, sha256=params.model_sha256, denoise=params.denoise, kernel=params.kernel)


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A picture, or some rows of one, on its way through the network."""

    model: ModelRef
    rgb: Pixels
    """HWC3; its first row is row `y0` of the picture"""
    y0: int
    plan: PicturePlan
    tiles: tuple[Tile, ...]
    settings: Settings
    emit: Emit
    """called by `wait` for each tile"""
    future: Future[Restored] = field(default_factory=Future[Restored])
    submitted_s: float = field(default_factory=time.monotonic)
    started_s: float = 0.0
    infer_s: float = 0.0
    stats: PixelStats = field(default_factory=PixelStats)
    finite: bool = True
    smaller: bool = False
    next_tile: int = 0
    tiles_left: int = 0
    arrived: queue.SimpleQueue[tuple[Tile, Pixels] | None] = field(
        default_factory=queue.SimpleQueue[tuple[Tile, Pixels] | None]
    )
    """results that nobody has put in their place; None: nothing more comes"""

    def wait(self) -> Restored:
        """Put results in their place until all are there. Raises what the job failed with."""
        while (found := self.arrived.get()) is not None:
            self.emit(*found)
        return self.future.result()

    def finish(self, restored: Restored | None = None, error: BaseException | None = None) -> None:
        """Let go who waits, with one of the two."""
        if error is not None:
            self.future.set_exception(error)
        elif restored is not None:
            self.future.set_result(restored)
        self.arrived.put(None)

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Windows with equal keys can share a forward pass."""
        box = self.tiles[0].read
        return (self.model, box.height, box.width, self.rgb.dtype.str, self.settings)


class _Call:
    """Something else that needs torch."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.future: Future[Any] = Future()

    def run(self) -> None:
        try:
            self.future.set_result(self._function())
        except BaseException as error:
            self.finish(error=error)

    def finish(self, *, error: BaseException) -> None:
        self.future.set_exception(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """Windows that the device works on."""

    model: ModelRef
    taken: tuple[tuple[Job, Tile], ...]
    started: StartedWindows
    started_s: float


class Lane:
    """Starts its thread when made; `submit` from any thread; `stop` ends it at the next forward pass.

    `resident` gives the upscaler of a model; it is called in the lane, so that loading happens there too.
    """

    def __init__(self, resident: Callable[[ModelRef], Upscaler]) -> None:
        self._resident = resident
        self._inbox: queue.Queue[Job | _Call | None] = queue.Queue()
        self._jobs: deque[Job] = deque()
        self._calls: deque[_Call] = deque()
        self._begun: _Begun | None = None
        self._settled_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lane", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[Restored]:
        if not job.tiles:
            raise ValueError("a job needs at least one tile")
        job.tiles_left = len(job.tiles)
        self._inbox.put(job)
        if self._stopped.is_set():
            self._drain()
        return job.future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run something that needs torch in the lane, between two forward passes."""
        call = _Call(function)
        self._inbox.put(call)
        if self._stopped.is_set():
            self._drain()
        return call.future

    def stop(self) -> None:
        self._stopped.set()
        self._inbox.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it is still inside a forward pass."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- inside the thread -------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._stopped.is_set():
                self._receive(block=not (self._jobs or self._calls))
                if self._calls and not self._stopped.is_set():
                    self._calls.popleft().run()  # one at a time: frames of a film must not keep pictures waiting
                if self._jobs and not self._stopped.is_set():
                    self._step()
        finally:  # nobody may wait for a lane that is no more
            self._stopped.set()
            self._drain()

    def _receive(self, *, block: bool) -> None:
        while True:
            try:
                received = self._inbox.get(block=block)
            except queue.Empty:
                return
            block = False
            if isinstance(received, Job):
                self._jobs.append(received)
            elif received is not None:
                self._calls.append(received)

    def _step(self) -> None:
        """One forward pass: the windows of the oldest picture, filled up from younger ones of the same shape."""
        head = next((job for job in self._jobs if job.next_tile < len(job.tiles)), None)
        if head is None or (self._begun is not None and self._begun.model != head.model):
            self._settle()  # nothing else to begin, or a model that may have to go
            return
        try:
            upscaler = self._resident(head.model)
            begun = self._begin(head, upscaler)
        except BaseException as error:
            self._settle()
            self._fail(head, error)
            return
        if begun is None:
            return
        if self._settle():  # else all that was not settled is begun again
            self._begun = begun
            if not upscaler.works_beside:
                self._settle()

    def _begin(self, head: Job, upscaler: Upscaler) -> _Begun | None:
        """Gives the device its next work; None where that is done already."""
        started_s = time.monotonic()
        failpoints.hit("infer")
        if head.plan.strategy is not Strategy.BODY:
            taken = self._take(head)
            started = upscaler.start_windows(
                [cut_window(job.rgb, tile.read, job.y0) for job, tile in taken],
                [tile for _, tile in taken],
                [job.plan for job, _ in taken],
                head.settings,
            )
        elif upscaler.works_beside:
            head.next_tile = len(head.tiles)
            taken, started = (
                [(head, tile) for tile in head.tiles],
                upscaler.start_body(head.rgb, head.plan, head.settings),
            )
        else:
            self._run_body(head, upscaler)
            return None
        return _Begun(model=head.model, taken=tuple(taken), started=started, started_s=started_s)

    def _settle(self) -> bool:
        """Hands out the results of what was begun; False where they did not come."""
        begun, self._begun = self._begun, None
        if begun is None:
            return True
        try:
            self._hand_out(begun, begun.started.results())
        except BaseException as error:
            self._fail(begun.taken[0][0], error)
            return False
        return True

    def _hand_out(self, begun: _Begun, results: list[WindowResult]) -> None:
        now = time.monotonic()
        seconds = (now - max(begun.started_s, self._settled_s)) / len(begun.taken)
        self._settled_s = now
        for (job, tile), result in zip(begun.taken, results, strict=True):
            job.started_s = job.started_s or begun.started_s
            job.infer_s += seconds
            job.stats = job.stats + result.stats
            job.finite = job.finite and result.finite
            job.smaller = job.smaller or begun.started.smaller
            job.tiles_left -= 1
            job.arrived.put((tile, result.pixels))
            if not job.tiles_left:
                self._finish(job)

    def _take(self, head: Job) -> list[tuple[Job, Tile]]:
        """Windows of one batch, in order, without touching pictures that wait for another model."""
        taken: list[tuple[Job, Tile]] = []
        key = head.batch_key
        for job in self._jobs:
            if job.plan.strategy is Strategy.BODY or job.batch_key != key:
                continue
            room = head.settings.batch - len(taken)
            fresh = job.tiles[job.next_tile : job.next_tile + room]
            taken.extend((job, tile) for tile in fresh)
            job.next_tile += len(fresh)
            if len(taken) >= head.settings.batch:
                break
        return taken

    def _run_body(self, job: Job, upscaler: Upscaler) -> None:
        """A picture whose body runs whole, on a device that is waited for."""
        job.started_s = time.monotonic()
        job.stats, job.finite = upscaler.restore_body(
            job.rgb, job.plan, job.settings, lambda tile, pixels: job.arrived.put((tile, pixels))
        )
        job.infer_s = time.monotonic() - job.started_s
        self._finish(job)

    def _finish(self, job: Job) -> None:
        self._jobs.remove(job)
        job.finish(
            Restored(
                stats=job.stats,
                finite=job.finite,
                wait_s=max(0.0, job.started_s - job.submitted_s),
                infer_s=job.infer_s,
                smaller=job.smaller,
            )
        )

    def _fail(self, job: Job, error: BaseException) -> None:
        """Fail one picture; the windows of others that were begun are begun again. Nothing may be under way."""
        if job in self._jobs:
            self._jobs.remove(job)
        for other in self._jobs:
            other.next_tile = len(other.tiles) - other.tiles_left
        if not job.future.done():
            job.finish(error=error)

    def _drain(self) -> None:
        """Let everybody go who still waits; called from any thread once the lane is stopped."""
        while True:
            try:
                received = self._inbox.get_nowait()
            except queue.Empty:
                break
            if received is not None:
                received.finish(error=LaneStopped())
        if threading.current_thread() is self._thread:
            for waiting in (self._jobs, self._calls):
                while waiting:
                    waiting.popleft().finish(error=LaneStopped())
