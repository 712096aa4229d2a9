"""The training itself, in one worker: batch, step, and now and then what is kept, scored and said."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch

from farm import storage
from farm.errors import FarmError, ModelError
from farm.storage import OutputRoot, join
from farm.training.board import Board, open_board
from farm.training.config import TrainConfig
from farm.training.keep import Guard, Kept, onnx_of
from farm.training.pairs import Share, Waits, batches, loader_is_gone, loaders_of, open_sources
from farm.training.validate import Scores, Validator
from farm.training.weights import load_lpips, load_start
from sr_kernel import hardware
from sr_kernel.backend import is_out_of_memory
from sr_kernel.train.schedule import share_at
from sr_kernel.train.stage import Average, Batch, Losses, step
from sr_kernel.train.state import TrainState, keep_to_plan, make_state


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
    host: str = ""
    """on which the command runs; a disk's lock is seen there alone"""


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
    stopping: Callable[[bool], bool]
    """whether to save and end after this iteration; all workers ask, say whether they are stuck, and hear the same"""
    hurried: Callable[[], bool]
    """likewise, for the first worker to ask alone, in the middle of something long"""
    guard: Guard | None = None
    """whether the output root is still this training's; None: nobody else can be there"""
    average: Average | None = None
    """of gradients over all workers"""
    average_losses: Callable[[Losses], Losses] | None = None
    """likewise; all workers call it in the same iterations"""


def train(job: Job, around: Around) -> int:
    """Train to the end, or until it is to stop; the iteration reached comes back.

    Raises UsageError, ModelError, TrainingError, StalledError where a process that loads pairs dies, LostLockError
    where the output root is another's by now, and what reading and writing raise.
    """
    try:
        return _train(job, around)
    except (RuntimeError, MemoryError) as error:
        if (found := explained(error)) is None:
            raise
        raise found from error


def explained(error: RuntimeError | MemoryError) -> FarmError | None:
    """What torch's error means to a person; None for those that mean a mistake of ours."""
    text = str(error)
    if is_out_of_memory(error):
        return TrainingError(
            "train: there is not enough memory; set data.batch or data.patch lower, recompute = true, or train with "
            "more workers"
        )
    if text.startswith("DataLoader worker"):
        return loader_is_gone(text)
    return None


def _train(job: Job, around: Around) -> int:
    if job.threads:
        torch.set_num_threads(job.threads)
    config = job.config
    keep_to_plan(config.plan, torch.device(job.device))
    leads = around.share.rank == 0
    state = _begin(job, around.said if leads else None)
    sources = open_sources(config.data, config.seed)
    fingerprint = config.fingerprint([one.content for one in sources])
    root = OutputRoot(url=job.out, attempt=job.attempt)
    kept = Kept(root, config, fingerprint, onnx=job.onnx, guard=around.guard)
    if job.resume_at:
        _resume(state, job, kept, around)
    # What is kept and not scored was left so in a hurry, or by a process that died while it scored.
    owes = leads and bool(state.iteration) and _is_scored(config, state.iteration) and not kept.has_scores
    left = range(state.iteration + 1, config.plan.schedule.iterations + 1)
    if not left and not owes:
        return state.iteration
    if leads and job.onnx:
        onnx_of(state)  # what cannot be exported is said now, not at the first checkpoint
    has_board = leads and config.keep.tensorboard
    board = open_board(_board_folder(job) if has_board else None, left.start)
    try:
        device = state.device.type
        loaders = loaders_of(config.data, device, around.share, hardware.busy_cores(len(hardware.cores_here())))
        teller = _Teller(config, around, kept, board, Waits(loaders) if device == "cuda" else None)
        scorer = _Scorer(job, around, kept, teller) if leads and config.validation.pairs else None
        feed = batches(sources, config, around.share, left, loaders=loaders, pinned=device == "cuda")
        if owes and scorer is not None:
            scorer.score(state)
        _iterate(state, feed, around, _Desk(config, kept if leads else None, teller, scorer))
    finally:
        board.close()
    return state.iteration


def _resume(state: TrainState, job: Job, kept: Kept, around: Around) -> None:
    """From the newest checkpoint that is whole, as every worker finds it; the first one says what is wrong with others
    and removes the log of what is done again."""
    damaged = kept.resume(state, job.resume_at)
    if damaged and around.share.rank == 0:
        around.said(f"{'; '.join(damaged)}; goes on after iteration {state.iteration} instead")
        kept.forget_after(state.iteration)


class _Desk(NamedTuple):
    """Where iterations are noted down."""

    config: TrainConfig
    kept: Kept | None
    """None where another worker leads, as the next but one"""
    teller: _Teller
    scorer: _Scorer | None


def _iterate(state: TrainState, feed: Iterator[Batch], around: Around, desk: _Desk) -> None:
    """To the last iteration, or to the one after which all are to stop. Raises what a batch could not be made for."""
    config, last = desk.config, desk.config.plan.schedule.iterations
    batch = _fetched(feed, desk.teller)
    while isinstance(batch, Batch):
        losses = _stepped(state, batch, around)
        at, done = state.iteration, state.iteration == last
        batch = _fetched(feed, desk.teller)
        asked = not done and around.stopping(isinstance(batch, FarmError))
        keeps, scores = done or asked or at % config.keep.every == 0, _is_scored(config, at)
        desk.teller.add(state, losses, now=keeps or scores)
        if desk.kept and keeps:
            desk.kept.save(state)
        if scores and not asked:
            if desk.scorer:
                desk.scorer.score(state)
            asked = not done and around.stopping(False)
        if desk.kept and asked:
            desk.kept.save(state)
        if asked:
            around.stopping(False)  # nobody leaves, or fails, before the first worker has saved
        if done or asked:
            break
    if isinstance(batch, FarmError):
        raise batch


def _is_scored(config: TrainConfig, at: int) -> bool:
    """Whether a validation belongs to an iteration."""
    validation, last = config.validation, config.plan.schedule.iterations
    return bool(validation.pairs) and (at == last or at % validation.every == 0)


class _Scorer:
    """Validates now and then, unless there is a hurry: then when the training goes on."""

    def __init__(self, job: Job, around: Around, kept: Kept, teller: _Teller) -> None:
        """Looks at the pairs. Raises UsageError, ModelError and the storage's errors."""
        config = job.config.validation
        lpips = load_lpips(config.lpips, job.weights_dir, around.said)
        self._validator = Validator(config, job.config.plan.network.scale, lpips)
        self._last, self._around = job.config.plan.schedule.iterations, around
        self._kept, self._teller = kept, teller

    def score(self, state: TrainState) -> None:
        """The last one is not broken off: without it the training is not whole, and nothing else is left to do."""
        stopping = _never if state.iteration >= self._last else self._around.hurried
        try:
            scores = self._validator.run(state, self._kept, stopping)
        except (FarmError, RuntimeError):
            self._kept.save(state)
            raise
        if scores is not None:
            self._teller.scored(state.iteration, scores)


def _never() -> bool:
    return False


def _begin(job: Job, said: Said | None) -> TrainState:
    start = load_start(job.config, job.weights_dir, resumed=bool(job.resume_at), said=said)
    try:
        return make_state(job.config.plan, start, job.device, seed=job.config.seed)
    except ValueError as error:
        raise ModelError(f"train: {error}") from error


def _fetched(feed: Iterator[Batch], teller: _Teller) -> Batch | FarmError | None:
    """The next batch; None after the last one. An error is a value: what is trained is kept before it ends all."""
    asked_s = time.monotonic()
    try:
        return next(feed, None)
    except FarmError as error:
        return error
    except (RuntimeError, MemoryError) as error:
        if (found := explained(error)) is None:
            raise
        found.__cause__ = error
        return found
    finally:
        teller.waited(time.monotonic() - asked_s)


def _stepped(state: TrainState, batch: Batch, around: Around) -> Losses:
    try:
        return step(state, batch, around.average)
    except ValueError as error:
        raise TrainingError(f"train: iteration {state.iteration}: {error}") from error


def _board_folder(job: Job) -> str | None:
    local = storage.local_path(job.out)
    return None if local is None else join(str(local), "tensorboard")


class _Teller:
    """Sums losses up and has the first worker say them every so often: to a person, the log and the board."""

    def __init__(
        self, config: TrainConfig, around: Around, kept: Kept, board: Board, waits: Waits | None = None
    ) -> None:
        """`waits`: of a network that should never wait for data."""
        self._waits = waits
        self._plan = config.plan
        self._every = config.keep.log
        self._around, self._kept, self._board = around, kept, board
        self._sums: Losses = {}
        self._counts = Counter[str]()
        """not every loss is there in every iteration of stage gan"""
        self._count = 0
        self._waited_s = 0.0
        self._since_s = time.monotonic()

    def waited(self, seconds: float) -> None:
        self._waited_s += seconds

    def add(self, state: TrainState, losses: Losses, *, now: bool) -> None:
        """One iteration's losses; every so often, and `now`, the first worker says their means over all workers."""
        for name, loss in losses.items():
            self._sums[name] = self._sums[name] + loss if name in self._sums else loss.clone()
            self._counts[name] += 1
        self._count += 1
        if not now and state.iteration % self._every:
            return
        sums = self._around.average_losses(self._sums) if self._around.average_losses else self._sums
        if self._around.share.rank == 0:
            self._say(state, {name: float(loss) / self._counts[name] for name, loss in sums.items()})
        self._sums, self._counts, self._count, self._waited_s = {}, Counter(), 0, 0.0
        self._since_s = time.monotonic()

    def _say(self, state: TrainState, means: dict[str, float]) -> None:
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
        self._around.said(progress)
        if self._waits is not None and (words := self._waits.words(progress.waiting)):
            self._around.said(words)

    def scored(self, at: int, scores: Scores) -> None:
        """What a validation found; the time that it took is nobody's."""
        figures = {f"validation/{name}": value for name, value in asdict(scores).items() if value is not None}
        self._board.figures(at, {name: value for name, value in figures.items() if math.isfinite(value)})
        self._kept.add_scores(at, {"iteration": at, **asdict(scores)})
        self._around.said(Scored(iteration=at, scores=scores))
        self._since_s = time.monotonic()
