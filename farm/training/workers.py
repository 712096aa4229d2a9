"""Several workers through Ray Train: it starts them, joins them in a process group and ends them; steps are ours."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import ray
import ray.exceptions as rx
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.constants import RAY_TRAIN_ENABLE_STATE_TRACKING
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from farm import lock, storage
from farm.config import WorkerConfig
from farm.errors import FarmError, InterruptedRun, LostLockError, StalledError, UnreachableError
from farm.fleet import cluster_address
from farm.session import Session, first_line
from farm.signals import Received, stopped_by_signals
from farm.storage import OutputRoot
from farm.title import train_title
from farm.training.keep import Guard, Kept
from farm.training.loop import Around, Job, Said, train
from farm.training.metrics import Standing, TrainMetrics
from farm.training.pairs import Share
from farm.training.place import Joined, Place
from sr_kernel.train.parallel import average_gradients, average_losses

_PAUSE_S = 0.5
_PATIENCE_S = 6 * 3600
"""for which workers wait for the first of them, while it validates and writes"""
_STARTS = 15
"""times, each of a minute, that Ray Train looks for places for all workers"""
_DEATHS = 3
"""of workers one after the other, without a checkpoint between them, that end a training"""


class Post:
    """An actor through which the first worker speaks to the command, and hears whether to stop."""

    def __init__(self) -> None:
        self._news: list[object] = []
        self._stopping = False

    def say(self, news: object) -> None:
        self._news.append(news)

    def collect(self) -> list[object]:
        news, self._news = self._news, []
        return news

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping


def train_on_ray(job: Job, workers: int, where: WorkerConfig, held: lock.RunLock, said: Said) -> int:
    """Train with so many workers, on a cluster or, where none is named, on a Ray of this process; the iteration reached
    comes back.

    On a cluster it waits for its turn among the runs that share it. A worker that dies takes the group with it: all
    begin again after the last checkpoint. Raises StalledError where they die again and again before the next one, or
    where the cluster is lost, UnreachableError where it has no place for all workers, LostLockError where the output
    root's lock `held` is another's, InterruptedRun after a signal, what `train` raises.
    """
    gpus = workers if job.device == "cuda" else 0
    session = Session(
        cluster_address(where),
        cpus=workers,
        gpus=gpus,
        metrics_port=where.metrics_port,
        dashboard=where.dashboard,
    )
    if where.dashboard:
        os.environ.setdefault(RAY_TRAIN_ENABLE_STATE_TRACKING, "1")  # else its page of trainings is empty
    with stopped_by_signals(session.break_off) as received:

        def connected() -> None:
            received.arm()
            if where.dashboard and session.dashboard:
                said(session.dashboard_words())

        session.on_connected = connected
        session.on_terminated = lambda: received.handle(signal.SIGTERM, None)
        received.on_end = partial(_abandon, session, held)
        session.connect()
        try:
            # Else the actor starts a Ray where one was broken off.
            received.ask(session.break_off, partial(_abandon, session, held))
            resource = "GPU" if gpus else "CPU"
            with Place(session, job.attempt, where.priority, workers, resource, _STARTS * 60.0) as place:
                place.wait(said, partial(_is_over, held, received))
                if received.signum is not None:
                    raise InterruptedRun(received.signum)
                reached = _trained(job, workers, session, place, said, received, held)
        finally:
            session.disconnect()
    if received.signum is not None and reached < job.config.plan.schedule.iterations:
        raise InterruptedRun(received.signum)
    return reached


def _is_over(held: lock.RunLock, received: Received) -> bool:
    """Whether a training that waits need wait no more. Raises LostLockError."""
    held.check()
    return received.signum is not None


def _trained(
    job: Job, workers: int, session: Session, place: Place, said: Said, received: Received, held: lock.RunLock
) -> int:
    """Train where there are places for all; the iteration reached comes back."""
    with tempfile.TemporaryDirectory(prefix="farm-train-", dir=session.folder, ignore_cleanup_errors=True) as folder:
        title = train_title(job.config.plan.stage, job.config.name)
        named = cast(Any, ray.remote(num_cpus=0)(Post)).options(name=title, namespace=f"farm-{job.attempt}")
        post = named.remote()
        received.ask(lambda: post.stop.remote(), partial(_abandon, session, held, folder))
        metrics = TrainMetrics(job.attempt, Standing(workers, job.resume_at))
        reached = _until_done(job, workers, _News(session, held, post, said, metrics, place), folder)
        metrics.tell(last=True)
        return reached


def _abandon(session: Session, held: lock.RunLock, folder: str | None = None) -> None:
    """When the process is to end in the middle of things, as while Ray Train starts workers; the lock is free then."""
    try:
        session.abandon()
    finally:
        held.abandon()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


class _News:
    """What the workers have to say, for as long as their cluster is there."""

    def __init__(
        self, session: Session, held: lock.RunLock, post: Any, said: Said, metrics: TrainMetrics, place: Place
    ) -> None:
        self._held = held
        self._session, self.post, self.said, self._metrics, self._place = session, post, said, metrics, place
        self._asked: Any = None

    def hand_on(self) -> None:
        """Say what there is, waiting a little for it. Raises StalledError where the cluster is lost, LostLockError
        where the output root is another's."""
        self._held.check()
        self._metrics.tell()
        if self._session.head and self._session.head.is_lost:
            raise self._session.head.error()
        self._asked = self._asked or self.post.collect.remote()
        try:
            news: list[Any] = ray.get(self._asked, timeout=_PAUSE_S)
        except rx.GetTimeoutError:
            return
        except rx.RayError as error:
            raise StalledError(
                f"train: the cluster has lost the node that workers speak through ({first_line(error)}); "
                "run the same command again to go on after the last checkpoint"
            ) from error
        self._asked = None
        for one in news:
            if isinstance(one, Joined):
                self._place.join(one)
                continue
            self._metrics.standing.hear(one)
            self.said(one)

    def go_on(self, error: BaseException, iteration: int) -> None:
        """A worker died, and all begin again behind an iteration."""
        self._metrics.standing.go_on(iteration)
        self.said(f"a worker died ({first_line(error)}); all go on after iteration {iteration}")


@dataclass(slots=True)
class Deaths:
    """Whether workers die so often that going on brings nothing: of one node that is gone, or of one task that the
    kernel ended, nobody should have to begin again by hand."""

    at: int
    """iteration of the last checkpoint"""
    count: int = 0
    """since then"""

    def are_too_many(self, at: int) -> bool:
        """Count one more, where the last checkpoint is of the iteration `at`."""
        self.count = self.count + 1 if at <= self.at else 1
        self.at = at
        return self.count >= _DEATHS


def _until_done(job: Job, workers: int, news: _News, folder: str) -> int:
    deaths = Deaths(job.resume_at)
    kept = Kept(OutputRoot(url=job.out, attempt=job.attempt), job.config)
    while True:
        error = _fit(job, workers, news, tempfile.mkdtemp(dir=folder))
        if error is None:
            return _at(kept)
        if isinstance(error, FarmError) and not isinstance(error, StalledError):
            raise error
        reached = _at(kept)
        if deaths.are_too_many(reached):
            raise StalledError(
                f"train: workers have died {_DEATHS} times before a checkpoint was written ({first_line(error)}); use "
                "a smaller batch, or set keep.every lower"
            ) from error
        news.go_on(error, reached)
        job = replace(job, resume_at=reached)


def _at(kept: Kept) -> int:
    return next(iter(kept.checkpoints()), 0)


def _fit(job: Job, workers: int, news: _News, folder: str) -> BaseException | None:
    """One group of workers from its start to its end, which is None or why they ended; `folder` is for Ray Train."""
    ended: list[BaseException | None] = []
    title = train_title(job.config.plan.stage, job.config.name)
    failures = FailureConfig(max_failures=0, controller_failure_limit=_STARTS - 1, max_preemption_failures=0)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "post": news.post},
        torch_config=TorchConfig(timeout_s=_PATIENCE_S),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=job.device == "cuda"),
        run_config=RunConfig(storage_path=folder, name=f"{title}-{job.attempt}", failure_config=failures),
    )
    thread = threading.Thread(target=lambda: ended.append(_failure(trainer, workers)), name="train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_PAUSE_S)
        news.hand_on()
    news.hand_on()
    return ended[0]


def _failure(trainer: TorchTrainer, workers: int) -> BaseException | None:
    try:
        trainer.fit()
    except (TrainingFailedError, rx.RayError) as error:
        return _cause(error, workers)
    return None


def _cause(error: BaseException, workers: int) -> BaseException:
    """Why a group has ended: what a worker says itself comes before how the others took its end."""
    if isinstance(error, WorkerGroupError):
        failures = [failure for _, failure in sorted(error.worker_failures.items())]
        return next((one for one in failures if isinstance(one, FarmError)), failures[0] if failures else error)
    if isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
        return UnreachableError(
            f"train: {workers} workers find no place beside each other within {_STARTS} minutes; ask for fewer, "
            "or look with `ray status` what the cluster has free"
        )
    return error


def _work(config: dict[str, Any]) -> None:
    """One worker of the group."""
    job: Job = config["job"]
    post = config["post"]
    context = ray.train.get_context()
    share = Share(rank=context.get_world_rank(), world=context.get_world_size(), beside=context.get_local_world_size())
    _say(post, Joined(rank=share.rank, node=ray.get_runtime_context().get_node_id()))
    device = get_device() if job.device == "cuda" else torch.device("cpu")
    if device.type == "cpu" and not job.threads:
        job = replace(job, threads=1)
    asked = _Asked(post, leads=share.rank == 0, device=device)
    around = Around(
        share=share,
        said=partial(_say, post),
        stopping=asked,
        hurried=asked.peek,
        guard=guard_of(job),
        average=average_gradients,
        average_losses=average_losses,
    )
    train(replace(job, device=str(device)), around)


def guard_of(job: Job) -> Guard | None:
    """What a worker asks before it writes: it may be the last to hear that its command has ended, or is cut off. On a
    store `check` tells what was some seconds ago; None on a disk for a worker of another host than the command's,
    which cannot see the lock."""
    if not storage.is_remote(job.out) and job.host != socket.gethostname():
        return None
    return Guard(partial(_check, job), partial(_check, job, now=True))


def _check(job: Job, *, now: bool = False) -> None:
    """Raise LostLockError where the command does not hold its output root any more."""
    if not lock.holds(job.out, job.attempt, now=now):
        raise LostLockError(
            f"{job.out}: the command of this training does not hold it any more; nothing more is written, run the "
            "same command again"
        )


def _say(post: Any, news: object) -> None:
    ray.get(post.say.remote(news))


class _Asked:
    """Whether all are to stop, in the same iteration: where the first worker hears so, or one of them is stuck."""

    def __init__(self, post: Any, *, leads: bool, device: torch.device) -> None:
        self._post, self._leads = post, leads
        self._flag = torch.zeros(1, dtype=torch.int32, device=device)
        self._heard = False
        self._next_s = 0.0

    def __call__(self, stuck: bool) -> bool:
        self._flag.fill_(1 if stuck or (self._leads and self.peek()) else 0)
        dist.all_reduce(self._flag, dist.ReduceOp.MAX)
        return bool(self._flag)

    def peek(self) -> bool:
        """What the first worker has heard, for itself alone."""
        if time.monotonic() >= self._next_s:
            self._heard = self._heard or cast(bool, ray.get(self._post.stopping.remote()))
            self._next_s = time.monotonic() + _PAUSE_S
        return self._heard
