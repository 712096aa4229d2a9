"""Who works: how many workers, on what, with how much memory each. Pure but for asking this machine what it has."""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from farm import access
from farm.config import WorkerConfig
from farm.errors import UsageError
from farm.gpus import compute_fault, fused_fault, say_once
from farm.records import Unit
from farm.slots import EngineConfig, Slot
from farm.tasks.memory import MEMORY_SHARE, WORKER_BYTES, memory_share
from sr_kernel import hardware

if TYPE_CHECKING:
    from farm.tasks.base import WorkerContext

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""so Ray takes 127.0.0.1 for the address of its node on every system, and all that it starts listens there alone"""
_DASHBOARD_PACKAGES = (
    "aiohttp",
    "aiohttp_cors",
    "grpc",
    "opencensus",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
)
"""of `ray[default]`: without them Ray has no dashboard, takes no jobs and serves no metrics"""
PATIENCE = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "150"}
"""Ray's own 60 s are not enough on a busy machine"""


def cluster_address(worker: WorkerConfig) -> str | None:
    """The cluster a run goes to, or None for an embedded one."""
    address = worker.address or os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address


def _is_elsewhere(worker: WorkerConfig) -> bool:
    """Whether workers may be on other machines: nobody else can join a head that listens on loopback alone."""
    address = cluster_address(worker)
    return address is not None and not access.listens_here_alone(address)


def wanted_gpus(worker: WorkerConfig) -> int:
    """GPUs to use; 0 means CPU actors. Raises UsageError when more are asked for than this machine has."""
    if worker.workers is not None or worker.gpus == 0:
        return 0
    address = cluster_address(worker)
    if address:
        if worker.gpu_ids:
            raise UsageError("--gpu-ids: names GPUs of this machine and cannot be used with a cluster")
        if worker.gpus is not None:
            return worker.gpus
        return _cluster_resource(worker, address, "GPU")
    there = hardware.visible_gpus()
    wanted = len(worker.gpu_ids) or (there if worker.gpus is None else worker.gpus)
    if there and wanted and (fault := compute_fault()):
        if worker.gpus is None and not worker.gpu_ids:
            say_once(f"the CPU works: {_cannot_compute(fault)}; --gpus 0 does not try")
            return 0
        raise UsageError(f"--gpus: {_cannot_compute(fault)}; use --gpus 0 for the CPU")
    if wanted > there or any(gpu >= there for gpu in worker.gpu_ids):
        raise UsageError(
            f"--gpus: {wanted} asked for but this machine shows {there}; "
            "use --gpus auto, --gpus 0 for the CPU, or --address for a cluster"
        )
    return wanted


def _cluster_resource(worker: WorkerConfig, address: str, name: str) -> int:
    """How much of a resource a cluster has, if it may be used. Raises as `farm.access.check_cluster`."""
    access.check_cluster(address, insecure=worker.insecure)
    from farm.session import cluster_resource

    return cluster_resource(address, name)


def _cannot_compute(fault: str) -> str:
    return f"the installed torch cannot compute on this machine's GPU ({fault}); `farm doctor` says what it has"


def prepare_ray(worker: WorkerConfig) -> None:
    """Settings that Ray reads when it is imported, and whether a cluster may be used at all.

    No usage statistics. An embedded Ray listens on the loopback interface alone and asks for a token, which is made
    for this process, lives in its environment and on no disk (Ray itself would write one that everybody may read; who
    asks for the dashboard finds it in a file of `farm.session.Session.write_token`).
    Whoever has imported ray before us has settled these questions already.

    Raises as `farm.access.check_cluster`, and UsageError for a metrics port that cannot be had.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = cluster_address(worker)
    if worker.metrics_port is not None:
        _check_metrics_port(worker.metrics_port, address)
    if address:
        access.check_cluster(address, insecure=worker.insecure)
    elif "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ.update(LOOPBACK)
    if worker.dashboard:
        check_dashboard("--dashboard")
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)


def check_dashboard(asked_by: str) -> None:
    """Raises UsageError where Ray is installed without its dashboard, which also takes jobs and serves metrics."""
    missing = [name for name in _DASHBOARD_PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{asked_by}: Ray's dashboard is not installed ({', '.join(missing)} missing); "
            "pip install 'sr-farm[dashboard]'"
        )


def _check_metrics_port(port: int, address: str | None) -> None:
    """Raises UsageError where no metrics could be served there: Ray itself would go on and say nothing."""
    flag = f"--metrics-port {port}"
    if address:
        raise UsageError(
            f"{flag}: is of a Ray inside this command; the nodes of {address} have their own, given to "
            "`ray start --metrics-export-port`"
        )
    check_dashboard(flag)
    access.check_port(port, flag)


def exposed_token(worker: WorkerConfig) -> str | None:
    """What a person should know of the token of the cluster that is used; None where all is well."""
    return access.exposed_token() if cluster_address(worker) else None


def device_class(worker: WorkerConfig) -> str:
    """cuda or cpu; identity of bytes is promised within one class."""
    return "cuda" if wanted_gpus(worker) else "cpu"


def runs_fused(worker: WorkerConfig, kernel: str) -> bool:
    """Whether networks run in fused kernels on GPUs, `kernel` being asked for: auto means on those of this machine,
    where every one of them can and where they work.

    Of the GPUs of other machines nothing is known when work is planned: there fused kernels are asked for by name.
    Raises UsageError where they are asked for by name and this machine's GPUs cannot.
    """
    if kernel == "plain" or _is_elsewhere(worker):
        return kernel == "fused"
    found = hardware.driver_gpus()
    if not found:
        return kernel == "fused"
    others = [name for name, capability in found if capability[0] != hardware.FUSED_CAPABILITY]
    if others and kernel == "auto":
        return False
    fault = f"{others[0]} is none of capability {hardware.FUSED_CAPABILITY}" if others else fused_fault()
    if fault and kernel == "fused":
        raise UsageError(f"--kernel: the fused kernels do not work on this machine's GPU ({fault}); use auto or plain")
    if fault:
        say_once(
            f"networks run in plain kernels, three to four times slower: the fused ones do not work on this machine's "
            f"GPU ({fault}); --kernel plain does not try"
        )
    return not fault


def plan_fleet(
    worker: WorkerConfig,
    context: WorkerContext,
    deadline_s: Callable[[Unit], float],
    body_bytes: int,
    ends_s: float = math.inf,
) -> tuple[list[Slot], EngineConfig]:
    """One slot an actor. `context` is the template that each worker's own is made from; a number ends its name.

    `body_bytes`: what the largest picture that a model takes whole through its body needs; 0 where none does.
    `ends_s`: by `farm.clock`, when the run is to be over.
    """
    gpus, count = worker_count(worker, body_bytes)
    cores = hardware.cores_here()
    if worker.gpu_ids and gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in worker.gpu_ids)
    slots = _gpu_slots(worker, context, count) if gpus else _cpu_slots(worker, context, count, cores)
    config = EngineConfig(
        address=cluster_address(worker),
        embedded_cpus=max(count, len(cores)),
        embedded_gpus=gpus,
        wait_s=worker.wait_gpus_s,
        priority=worker.priority,
        dashboard=worker.dashboard,
        min_workers=worker.min_gpus * worker.actors_per_gpu if gpus else 0,
        deadline_s=deadline_s,
        ends_s=ends_s,
        metrics_port=worker.metrics_port,
    )
    return slots, config


def worker_count(worker: WorkerConfig, body_bytes: int) -> tuple[int, int]:
    """GPUs, and workers on them or on CPUs; `body_bytes` as of plan_fleet."""
    gpus = wanted_gpus(worker)
    return gpus, gpus * worker.actors_per_gpu if gpus else (worker.workers or _default_workers(worker, body_bytes))


def _told_bytes(worker: WorkerConfig, count: int) -> int:
    """What each of so many workers is told of its memory: nothing on a cluster, where each asks its own machine."""
    return 0 if cluster_address(worker) else memory_share(count)


def _default_workers(worker: WorkerConfig, body_bytes: int) -> int:
    """One a core, but here no more than a quota keeps busy, and the memory feeds."""
    address = cluster_address(worker)
    cores = max(1, _cluster_resource(worker, address, "CPU")) if address else len(hardware.cores_here())
    if _is_elsewhere(worker):
        return cores
    return workers_that_fit(hardware.busy_cores(cores), body_bytes, hardware.memory_bytes())


def workers_that_fit(cores: int, body_bytes: int, memory_bytes: int) -> int:
    """One a core, fewer where each must hold `body_bytes` of the share of memory that pictures get, or where what they
    leave does not hold so many without any."""
    most = int((1 - MEMORY_SHARE) * memory_bytes) // WORKER_BYTES
    if body_bytes:
        most = min(most, int(MEMORY_SHARE * memory_bytes) // body_bytes)
    return max(1, min(cores, most))


def _cpu_slots(worker: WorkerConfig, context: WorkerContext, count: int, cores: tuple[int, ...]) -> list[Slot]:
    # Fewer workers than cores float: two runs side by side must not sit on the same core. So do those that may not use
    # all of their cores' time: somebody else will.
    fills = count == len(cores) <= hardware.core_quota() and not cluster_address(worker)
    pin = fills if worker.pin_cores is None else worker.pin_cores
    memory_bytes = _told_bytes(worker, count)
    return [
        Slot(
            context=replace(
                context,
                name=f"{context.name}-{index}",
                device="cpu",
                memory_bytes=memory_bytes,
                core=cores[index % len(cores)] if pin else None,
            ),
            num_cpus=1,
            num_gpus=0,
        )
        for index in range(count)
    ]


def _gpu_slots(worker: WorkerConfig, context: WorkerContext, count: int) -> list[Slot]:
    from farm.worker import io_threads_for

    memory_bytes, threads = _told_bytes(worker, count), context.io_threads
    if not threads and not _is_elsewhere(worker):
        threads = io_threads_for("cuda", hardware.busy_cores(len(hardware.cores_here())) // count)
    context = replace(context, device="cuda:0", memory_bytes=memory_bytes, io_threads=threads)
    return [
        Slot(
            context=replace(context, name=f"{context.name}-{index}"),
            num_cpus=1,
            num_gpus=1 / worker.actors_per_gpu,
        )
        for index in range(count)
    ]
