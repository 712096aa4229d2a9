"""A command becomes a job: the same words, in the same folder, on a cluster or on a head of this user's own."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm import access, fetch, lock, manifest
from farm.config import RunConfig, WorkerConfig
from farm.errors import BusyError, CredentialsError, UnreachableError, UsageError, without_credentials
from farm.fleet import check_dashboard, cluster_address, wanted_gpus
from farm.jobs import head, settings
from farm.jobs.known import reach, reach_head
from farm.storage import urls
from sr_kernel import hardware

if TYPE_CHECKING:
    from farm.jobs.client import JobsClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """A run that has been handed over."""

    job: str
    root: str
    dashboard: str
    """URL"""
    token: str | None
    """file with the token that the dashboard asks for; None on somebody's cluster, whose token the user has"""


def detach(config: RunConfig, words: Sequence[str]) -> Detached:
    """Hand `farm submit WORDS` over, whose configuration is `config`; it does not end with this process.

    Raises UsageError for what cannot be meant, ManifestError and ModelError for what this machine can tell not to be
    there, BusyError where another run works in the output root, UnreachableError, and as `farm.access.check_cluster`.
    """
    check_dashboard("--detach")
    root = manifest.output_root(config.manifest, config.output.out)
    address = cluster_address(config.worker)
    if address is not None and config.worker.metrics_port is not None:
        raise UsageError(
            f"--metrics-port {config.worker.metrics_port}: is of a Ray on this machine; the nodes of {address} have "
            "their own, given to `ray start --metrics-export-port`"
        )
    is_here = address is None or access.is_here(address)
    if is_here:
        _check_names(config)
    else:
        _check_paths(config, str(address))
    entrypoint, variables = _entrypoint(words, is_here=is_here), settings.variables(is_here=is_here)
    _check_free(root)
    client = _client(config.worker)
    if (other := next((job for job in client.jobs() if job.is_active and job.root == root), None)) is not None:
        raise BusyError(f"{root}: job {other.id} is {other.state} there; wait until it ends, or `farm cancel` it")
    job = f"farm-{lock.new_run_id()}"
    client.submit(job, entrypoint, variables, root=root, manifest=manifest.canonical(config.manifest))
    token = str(head.token_file()) if address is None else None
    return Detached(job=job, root=root, dashboard=client.dashboard, token=token)


def _client(worker: WorkerConfig) -> JobsClient:
    """Of the cluster that is named, else of the head here, which is started if there is none."""
    client = reach(worker) if cluster_address(worker) else reach_head(_head(worker))
    assert client is not None, "it is named, or there"
    return client


def _head(worker: WorkerConfig) -> head.Head:
    """One that is large enough for what is asked for."""
    if worker.gpu_ids:
        raise UsageError("--gpu-ids: a detached run takes GPUs as they are free; say how many by --gpus")
    gpus = wanted_gpus(worker)
    cpus, port = max(len(hardware.cores_here()), worker.workers or 0), worker.metrics_port
    found = head.start_head(cpus, wanted_gpus(WorkerConfig()), port)
    if port not in (None, found.metrics_port):
        raise UsageError(
            f"--metrics-port: the head on this machine serves metrics at {found.metrics_port or 'a port of its own'}; "
            "`farm down` ends it, and the next --detach starts another"
        )
    for option, asked, there in (("workers", worker.workers or 0, found.cpus), ("gpus", gpus, found.gpus)):
        if asked > there:
            raise UsageError(
                f"--{option}: {asked} asked for, but the head on this machine was started with {there}; "
                "`farm down` ends it, and the next --detach starts another"
            )
    return found


def _check_free(root: str) -> None:
    """A run that works there already is told of now, not by a job that fails."""
    holder = None
    with suppress(CredentialsError, UnreachableError):  # it may be the head alone that reaches the store
        holder = lock.current_holder(root)
    if holder is not None:
        raise BusyError(lock.busy(root, holder))


def _entrypoint(words: Sequence[str], *, is_here: bool) -> str:
    """The command for a shell. Raises UsageError for one with a credential in it: Ray shows it to many."""
    if is_here:
        script = Path(sysconfig.get_path("scripts")) / "farm"
        program = [str(script)] if script.is_file() else [sys.executable, "-m", "farm"]
        line = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join([*program, 'submit', *words])}"
    else:
        line = f"exec {shlex.join(['farm', 'submit', *words])}"
    if without_credentials(line) != line:
        raise UsageError(
            "--detach: the command holds a credential, which Ray would show in its dashboard; keys belong into the "
            "files of the AWS tools, where the head finds them"
        )
    try:
        line.encode()
    except UnicodeEncodeError:
        raise UsageError("--detach: the command holds a name that is not UTF-8; rename it") from None
    return line


def _check_names(config: RunConfig) -> None:
    """What is misspelt is told of now, not by a job that fails. Raises ManifestError, ModelError and UsageError."""
    for model in config.model.asked:
        if not urls.scheme(model):
            fetch.resolve(model, config.model.weights_dir)
    rows = manifest.read_manifest(config.manifest, root=config.root, out=config.output.out, limit=1)
    with suppress(CredentialsError):  # keys may be those of the environment that the head was started in
        next(rows, None)


def _check_paths(config: RunConfig, address: str) -> None:
    """On another machine a path of this folder means nothing. Raises UsageError."""
    model = config.model
    files = [name for name in (model.model, *model.models) if os.path.exists(name)]
    named = (config.manifest, config.output.out, config.root, model.weights_dir, *files)
    for path in filter(None, named):
        if urls.scheme(path) is None and not os.path.isabs(path):
            raise UsageError(
                f"{path}: is a path of this folder, which the head of {address} does not know; write an absolute path "
                "that is the same there, or a URL"
            )
