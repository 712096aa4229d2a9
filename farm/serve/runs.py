"""What each request does. Blocks: a cluster is asked, a head may be started. Of HTTP it knows statuses alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from farm import manifest
from farm.config import RunConfig, WorkerConfig
from farm.errors import UsageError, without_credentials
from farm.fleet import cluster_address
from farm.jobs import Detached, Found, Job, cancel, detach, find_jobs, read_log, told
from farm.serve.answer import CancelledRun, ModelList, ModelRow, RunList, RunLog, Started
from farm.serve.faults import RefusedRequest
from farm.serve.fields import MODEL_NAMES
from farm.serve.request import RunRequest
from farm.serve.roots import Roots
from farm.status import find_status
from sr_kernel import hardware
from sr_kernel.models import ALIASES, MODELS

HandOver = Callable[[RunConfig, Sequence[str]], Detached]
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
_LINE_CHARS = 10_000
"""of one line of a log; what is longer is cut"""


class Runs:
    """The runs below some roots, on the cluster of `worker` or on this user's head."""

    def __init__(self, roots: Roots, worker: WorkerConfig, hand_over: HandOver = detach) -> None:
        self._roots = roots
        self._worker = worker
        self._hand_over = hand_over
        self._one_at_a_time = threading.Lock()
        """a handover looks whether a root is free, and then takes it"""

    def start(self, asked: RunRequest) -> Started:
        """Hand a run over. Raises RefusedRequest for places outside the roots, and as `farm.jobs.detach`."""
        source, out = self._roots.admit("manifest", asked.manifest), self._roots.admit("out", asked.out)
        manifest.form_of(source)  # raises ManifestError for what is nothing that could be restored
        config = asked.config(source, out)
        config = replace(config, worker=replace(config.worker, address=self._worker.address))
        self._check_size(config.worker)
        with self._one_at_a_time:
            made = self._hand_over(config, asked.words(source, out))
        return Started(id=made.job, root=made.root, state="pending")

    def latest(self, limit: int) -> RunList:
        """The latest `limit` runs. Raises as `farm.jobs.find_jobs`."""
        found = [job for job in find_jobs(self._worker).jobs if self._roots.hold(job.root)]
        return RunList(runs=found[:limit], left_out=max(0, len(found) - limit))

    def status(self, run: str) -> dict[str, Any]:
        """As `farm status --json`, of the job that was asked for even where a later one works in the same root."""
        found, job = self._find(run)
        return told(job.root, find_status(job.root), job, found.dashboard)

    def log(self, run: str, lines: int) -> RunLog:
        """The last lines of what a run has said."""
        _, job = self._find(run)
        try:
            _, text = read_log(run, self._worker)
        except UsageError as error:  # it was not kept
            raise RefusedRequest(404, str(error)) from error
        said = text.splitlines()
        shown = [without_credentials(line[:_LINE_CHARS]) for line in said[-lines:]]
        return RunLog(id=job.id, state=job.state, lines=shown, left_out=len(said) - len(shown))

    def cancel(self, run: str) -> CancelledRun:
        """End a run in order and wait until it has ended. Raises as `farm.jobs.cancel`."""
        self._find(run)
        return CancelledRun(**asdict(cancel(run, self._worker)))

    def _find(self, run: str) -> tuple[Found, Job]:
        """A run by its id. Raises RefusedRequest where there is none below the roots."""
        found = find_jobs(self._worker)
        job = next((job for job in found.jobs if job.id == run and self._roots.hold(job.root)), None)
        if job is None:
            raise RefusedRequest(404, f"{run}: no run of that id is known; GET /v1/runs names those that are")
        return found, job

    def _check_size(self, worker: WorkerConfig) -> None:
        """A head is made as large as its first run asks for, so that nobody may ask for more than there is."""
        most = len(hardware.cores_here())
        if self._worker.address is None and (worker.workers or 0) > most:
            raise UsageError(f"workers: {worker.workers} asked for, but this machine has {most} cores; ask for fewer")


def worker_of_environment() -> WorkerConfig:
    """The cluster of RAY_ADDRESS, if there is one, which from now on stands in no environment: Ray's client would take
    it for the address of what it is told to ask, and threads ask at once."""
    worker = WorkerConfig(address=cluster_address(WorkerConfig()))
    for name in _OVERRIDES:
        os.environ.pop(name, None)
    return worker


def model_list() -> ModelList:
    """Every model that may be asked for."""
    also = {name: [alias.name for alias in ALIASES.values() if alias.model == name] for name in MODELS}
    rows = [
        ModelRow(
            name=row.name,
            official=row.official,
            scale=row.scale,
            network=row.network or row.arch,
            licence=row.licence,
            sha256=row.sha256,
            also=also[row.name],
        )
        for row in MODELS.values()
        if row.name in MODEL_NAMES
    ]
    return ModelList(models=rows)
