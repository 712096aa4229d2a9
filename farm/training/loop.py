"""The training itself, in one worker: batch, step, and now and then what is kept, scored and said."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch

from farm import storage
from farm.errors import FarmError, ModelError, StalledError
from farm.storage import OutputRoot, join
from farm.training.board import Board, open_board
from farm.training.config import TrainConfig
from farm.training.keep import Kept
from farm.training.pairs import Share, batches, open_sources
from farm.training.validate import Scores, Validator
from farm.training.weights import load_lpips, load_start
from sr_kernel.train.schedule import share_at
from sr_kernel.train.stage import Average, Batch, Losses, step
from sr_kernel.train.state import TrainState, make_state


class TrainingError(FarmError):
    """The training went wrong in a way that another try repeats: losses that are not finite, too little memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training as its workers see it."""

    config: TrainConfig
    out: str
    attempt: str
    """unique id of this run"""
    device: str = "cpu"
    threads: int = 0
    """of torch, a worker; 0: torch's own choice"""
    weights_dir: str | None = None
    onnx: bool = False
    resume_at: int = 0
    """iteration of the checkpoint to go on from; 0: begin"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training is."""

    iteration: int
    iterations: int
    per_s: float
    """iterations a second since the last report"""
    left_s: float
    waiting: float
    """share of the time in which the network waited for data, 0..1"""
    rate: float
    """learning rate"""
    losses: dict[str, float]
    """means since the last report"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a validation found."""

    iteration: int
    scores: Scores


Said = Callable[[Progress | Scored | str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a worker is told from outside."""

    share: Share
    said: Said
    stopping: Callable[[], bool]
    """whether to save and end after this iteration"""
    average: Average | None = None


def train(job: Job, around: Around) -> int:
    """Train to the end, or until it is to stop; the iteration reached comes back.

    Raises UsageError, ModelError, TrainingError, StalledError where a process that loads pairs dies, and what reading
    and writing raise.
    """
    try:
        return _train(job, around)
    except RuntimeError as error:
        if (found := explained(error)) is None:
            raise
        raise found from error


def explained(error: RuntimeError) -> FarmError | None:
    """What torch's error means to a person; None for those that mean a mistake of ours."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
        return TrainingError(
            "train: there is not enough memory; set data.batch or data.patch lower, recompute = true, or train with "
            "more workers"
        )
    if text.startswith("DataLoader worker"):
        return StalledError(
            f"train: a process that loads pairs is gone ({text.splitlines()[0].rstrip('. ')}); run the same command "
            "again to go on after the last checkpoint, with fewer data.loaders where memory is short"
        )
    return None


def _train(job: Job, around: Around) -> int:
    if job.threads:
        torch.set_num_threads(job.threads)
    config = job.config
    state = _begin(job)
    kept = Kept(OutputRoot(url=job.out, attempt=job.attempt), config, job.onnx)
    if job.resume_at:
        kept.resume(state, job.resume_at)
    first, last = state.iteration + 1, config.plan.schedule.iterations
    if first > last:
        return state.iteration
    sources = open_sources(config.data, config.seed)
    leads = around.share.rank == 0
    validates = bool(config.validation.pairs) and leads
    validator = _validator(job, around.said) if validates else None
    board = open_board(_board_folder(job) if leads else None)
    teller = _Teller(config, around.said, kept, board)
    feed = batches(sources, config, around.share, first, last)
    try:
        for losses in _steps(state, feed, around, teller):
            at, done = state.iteration, state.iteration == last
            asked = not done and around.stopping()
            keeps = done or asked or at % config.keep.every == 0
            if leads:
                teller.add(state, losses, now=keeps)
                # Who is to stop has seconds, and the same pictures are scored when the training goes on.
                if validator is not None and not asked and (done or at % config.validation.every == 0):
                    teller.scored(at, validator.run(state, kept))
                if keeps:
                    kept.save(state)
            if done or asked:
                break
    finally:
        board.close()
    return state.iteration


def _validator(job: Job, said: Said) -> Validator:
    config = job.config.validation
    return Validator(config, job.config.plan.network.scale, load_lpips(config.lpips, job.weights_dir, said))


def _begin(job: Job) -> TrainState:
    start = load_start(job.config, job.weights_dir, resumed=bool(job.resume_at))
    try:
        return make_state(job.config.plan, start, job.device, seed=job.config.seed)
    except ValueError as error:
        raise ModelError(f"train: {error}") from error


def _steps(state: TrainState, feed: Iterator[Batch], around: Around, teller: _Teller) -> Iterator[Losses]:
    while True:
        asked_s = time.monotonic()
        batch = next(feed, None)
        if batch is None:
            return
        teller.waited(time.monotonic() - asked_s)
        try:
            yield step(state, batch, around.average)
        except ValueError as error:
            raise TrainingError(f"train: iteration {state.iteration}: {error}") from error


def _board_folder(job: Job) -> str | None:
    local = storage.local_path(job.out)
    return None if local is None else join(str(local), "tensorboard")


class _Teller:
    """Sums losses up and says them every so often: to a person, the log and the board."""

    def __init__(self, config: TrainConfig, said: Said, kept: Kept, board: Board) -> None:
        self._plan = config.plan
        self._every = config.keep.log
        self._said, self._kept, self._board = said, kept, board
        self._sums: Losses = {}
        self._counts = Counter[str]()
        """not every loss is there in every iteration of stage gan"""
        self._count = 0
        self._waited_s = 0.0
        self._since_s = time.monotonic()

    def waited(self, seconds: float) -> None:
        self._waited_s += seconds

    def add(self, state: TrainState, losses: Losses, *, now: bool) -> None:
        """One iteration's losses; every so often, and `now`, their means are said."""
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss.clone()
            self._counts[name] += 1
        self._count += 1
        if not now and state.iteration % self._every:
            return
        means = {name: float(loss) / self._counts[name] for name, loss in self._sums.items()}
        taken_s = max(time.monotonic() - self._since_s, 1e-9)
        schedule = self._plan.schedule
        progress = Progress(
            iteration=state.iteration,
            iterations=schedule.iterations,
            per_s=self._count / taken_s,
            left_s=(schedule.iterations - state.iteration) * taken_s / self._count,
            waiting=min(1.0, self._waited_s / taken_s),
            rate=schedule.rate * share_at(schedule, state.iteration),
            losses=means,
        )
        self._kept.lines.append({"iteration": state.iteration, "rate": progress.rate, **means})
        self._board.figures(state.iteration, {f"loss/{name}": value for name, value in means.items()})
        self._board.figures(state.iteration, {"rate": progress.rate, "iterations a second": progress.per_s})
        self._said(progress)
        self._sums, self._counts, self._count, self._waited_s = {}, Counter(), 0, 0.0
        self._since_s = time.monotonic()

    def scored(self, at: int, scores: Scores) -> None:
        """What a validation found; the time that it took is nobody's."""
        figures = {f"validation/{name}": value for name, value in asdict(scores).items() if value is not None}
        self._board.figures(at, {name: value for name, value in figures.items() if math.isfinite(value)})
        self._kept.lines.append({"iteration": at, **asdict(scores)})
        self._said(Scored(iteration=at, scores=scores))
        self._since_s = time.monotonic()
