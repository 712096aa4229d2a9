"""Several workers through Ray Train: it starts them, joins them in a process group and ends them; steps are ours."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any, cast

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from farm.config import WorkerConfig
from farm.errors import FarmError, InterruptedRun, StalledError
from farm.fleet import cluster_address
from farm.session import Session, first_line
from farm.signals import stopped_by_signals
from farm.storage import OutputRoot
from farm.training.keep import Kept
from farm.training.loop import Around, Job, Said, train
from farm.training.pairs import Share
from sr_kernel.train.parallel import average_gradients

_PAUSE_S = 0.5


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


def train_on_ray(job: Job, workers: int, address: str | None, said: Said) -> int:
    """Train with so many workers, on a cluster or on a Ray of this process; the iteration reached comes back.

    A worker that dies takes the group with it: all begin again after the last checkpoint. Raises StalledError where
    that brings nothing new, InterruptedRun after a signal, and what `train` raises.
    """
    gpus = workers if job.device == "cuda" else 0
    session = Session(cluster_address(WorkerConfig(address=address)), cpus=workers, gpus=gpus)
    with stopped_by_signals(session.break_off) as received:
        session.on_connected = received.arm
        session.connect()
        try:
            post = cast(Any, ray.remote(num_cpus=0)(Post)).remote()
            received.ask(lambda: post.stop.remote(), session.abandon)
            reached = _until_done(job, workers, post, said)
        finally:
            session.disconnect()
    if received.signum is not None and reached < job.config.plan.schedule.iterations:
        raise InterruptedRun(received.signum)
    return reached


def _until_done(job: Job, workers: int, post: Any, said: Said) -> int:
    kept = Kept(OutputRoot(url=job.out, attempt=job.attempt), job.config)
    while True:
        error = _fit(job, workers, post, said)
        if error is None:
            return _at(kept)
        if isinstance(error, FarmError):
            raise error
        reached = _at(kept)
        if reached <= job.resume_at:
            raise StalledError(
                f"train: workers die before a checkpoint is written ({first_line(error)}); "
                "use a smaller batch, or set keep.every lower"
            ) from error
        said(f"a worker died ({first_line(error)}); all go on after iteration {reached}")
        job = replace(job, resume_at=reached)


def _at(kept: Kept) -> int:
    return next(iter(kept.checkpoints()), 0)


def _fit(job: Job, workers: int, post: Any, said: Said) -> BaseException | None:
    """One group of workers from its start to its end, which is None or what the first of them to fail raised."""
    ended: list[BaseException | None] = []
    with tempfile.TemporaryDirectory(prefix="farm-train-") as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"job": job, "post": post},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=job.device == "cuda"),
            run_config=RunConfig(storage_path=folder, name=job.attempt),
        )
        thread = threading.Thread(target=lambda: ended.append(_failure(trainer)), name="train")
        thread.start()
        while thread.is_alive():
            thread.join(_PAUSE_S)
            for news in ray.get(post.collect.remote()):
                said(news)
    return ended[0]


def _failure(trainer: TorchTrainer) -> BaseException | None:
    try:
        trainer.fit()
    except WorkerGroupError as error:
        return next(iter(error.worker_failures.values()), error)
    except TrainingFailedError as error:
        return error
    return None


def _work(config: dict[str, Any]) -> None:
    """One worker of the group."""
    job: Job = config["job"]
    post = config["post"]
    context = ray.train.get_context()
    share = Share(rank=context.get_world_rank(), world=context.get_world_size())
    device = get_device() if job.device == "cuda" else torch.device("cpu")
    if device.type == "cpu" and not job.threads:
        job = replace(job, threads=1)
    asked = _Asked(post, leads=share.rank == 0, device=device)
    around = Around(
        share=share,
        said=partial(_say, post),
        stopping=asked,
        average=average_gradients,
    )
    train(replace(job, device=str(device)), around)


def _say(post: Any, news: object) -> None:
    ray.get(post.say.remote(news))


class _Asked:
    """Whether all are to stop: what the first worker hears, in the same iteration for all."""

    def __init__(self, post: Any, *, leads: bool, device: torch.device) -> None:
        self._post, self._leads = post, leads
        self._flag = torch.zeros(1, dtype=torch.int32, device=device)
        self._next_s = 0.0

    def __call__(self) -> bool:
        if self._leads and time.monotonic() >= self._next_s:
            self._flag.fill_(1 if ray.get(self._post.stopping.remote()) else 0)
            self._next_s = time.monotonic() + _PAUSE_S
        dist.broadcast(self._flag, 0)
        return bool(self._flag)
