"""One training from its configuration to its end: lock, resume, workers, signals."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import dataclass, replace

from farm.config import WorkerConfig
from farm.errors import InterruptedRun, UsageError
from farm.fleet import cluster_address, prepare_ray
from farm.lock import RunLock
from farm.signals import stopped_by_signals
from farm.storage import OutputRoot, clear_staging
from farm.training.config import TrainConfig
from farm.training.keep import Guard, Kept
from farm.training.loop import Around, Job, Said, train
from farm.training.pairs import Share
from farm.training.weights import start_in_words

DEBUG_ITERATIONS = 8
_DEBUG_BATCH = 4
_OF_RAY_TRAIN = ("pandas", "tensorboardX")
"""what Ray Train imports and Ray does not bring"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `farm train` is asked."""

    config: TrainConfig
    out: str
    workers: int = 1
    device: str = "cpu"
    """cpu or cuda"""
    address: str | None = None
    """of a Ray cluster; None means RAY_ADDRESS, else this machine"""
    insecure: bool = False
    """use a cluster although it authenticates nobody and can be reached from elsewhere"""
    priority: int = 0
    """among the runs that share a cluster: those with a higher one get their workers first"""
    dashboard: bool = False
    """serve Ray's dashboard meanwhile, of a cluster say where it is; train on Ray even with one worker"""
    metrics_port: int | None = None
    """where a Ray of this command serves metrics; likewise"""
    threads: int = 0
    weights_dir: str | None = None
    onnx: bool = False
    anew: bool = False
    """remove first what a training has left in the output root"""


def debugged(config: TrainConfig, workers: int) -> TrainConfig:
    """A few iterations of few pairs end to end: each is said, the middle one and the last are kept and scored."""
    half = DEBUG_ITERATIONS // 2
    batch = min(config.data.batch, max(_DEBUG_BATCH // workers, 1) * workers)
    schedule = replace(config.plan.schedule, iterations=DEBUG_ITERATIONS, warmup=0)
    every = min(config.plan.discriminator_every, half)
    plan = replace(config.plan, schedule=schedule, discriminator_first=0, discriminator_every=every)
    return replace(
        config,
        plan=plan,
        data=replace(config.data, batch=batch),
        validation=replace(config.validation, every=half, most=2),
        keep=replace(config.keep, every=half, log=1),
    )


def run(request: Request, said: Said) -> int:
    """Train, or go on with what was trained into the same output root; the iteration reached comes back.

    Raises InterruptedRun after a signal, when all is saved; UsageError, ModelError, BusyError, LostLockError and what
    storage raises.
    """
    if request.config.data.batch % request.workers:
        raise UsageError(
            f"data.batch: {request.config.data.batch} is no multiple of the workers, {request.workers}; change either"
        )
    with RunLock(request.out) as lock:
        if lock.warning:
            said(lock.warning)
        clear_staging(request.out, keep=lock.run, is_dead=lock.is_dead)
        job = _job(request, lock.run)
        for note in job.config.notes:
            said(note)
        if job.resume_at:
            said(f"goes on after iteration {job.resume_at}")
        else:
            said(start_in_words(job.config))
        names = ("address", "insecure", "priority", "dashboard", "metrics_port")
        worker = WorkerConfig(**{name: getattr(request, name) for name in names})
        is_watched = worker.dashboard or worker.metrics_port is not None
        if request.workers == 1 and not cluster_address(worker) and not is_watched:
            return _here(job, lock, said)
        return _on_ray(worker, request.workers, job, lock, said)


def _job(request: Request, attempt: str) -> Job:
    kept = Kept(OutputRoot(url=request.out, attempt=attempt), request.config)
    if request.anew:
        kept.forget()
    resume_at = next(iter(kept.checkpoints()), 0)
    kept.forget_after(resume_at)
    return Job(
        config=request.config,
        out=request.out,
        attempt=attempt,
        device=request.device,
        threads=request.threads,
        weights_dir=request.weights_dir,
        onnx=request.onnx,
        resume_at=resume_at,
        host=socket.gethostname(),
    )


def _here(job: Job, lock: RunLock, said: Said) -> int:
    """In this process."""
    asked = list[bool]()

    def stopping(stuck: bool) -> bool:
        lock.check()
        return stuck or bool(asked)

    guard = Guard(lock.check, lock.confirm)
    with stopped_by_signals(lambda: asked.append(True)) as received:
        received.on_end = lock.abandon
        around = Around(share=Share(), said=said, stopping=stopping, hurried=lambda: bool(asked), guard=guard)
        reached = train(job, around)
    if received.signum is not None and reached < job.config.plan.schedule.iterations:
        raise InterruptedRun(received.signum)
    return reached


def _on_ray(worker: WorkerConfig, count: int, job: Job, lock: RunLock, said: Said) -> int:
    if lacking := [name for name in _OF_RAY_TRAIN if importlib.util.find_spec(name) is None]:
        raise UsageError(
            "train: several workers, a cluster, --dashboard and --metrics-port need Ray Train, for which "
            f"{', '.join(lacking)} is not installed; pip install 'sr-farm[train]', or train without these"
        )
    prepare_ray(worker)
    from farm.training.workers import train_on_ray

    return train_on_ray(job, count, worker, lock, said)
