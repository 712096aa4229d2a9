"""The end of detached runs: one is cancelled, or the head of this machine goes with all of them."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm import lock, manifest, storage
from farm.config import WorkerConfig
from farm.errors import FarmError, UnreachableError, UsageError
from farm.jobs import head, kept
from farm.jobs.known import find, is_job_id, known_to, reach, reach_head
from farm.jobs.record import Job
from farm.status import read_status

if TYPE_CHECKING:
    from farm.jobs.client import JobsClient

_STOP_LIMIT_S = 40.0
"""for a run that was told to end: it takes ten seconds, a busy machine more"""
_POLL_S, _STORE_POLL_S = 0.1, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What was told to end, and has."""

    root: str
    job: str = ""
    """id; empty for an attached run"""
    run: str = ""
    """id of an attached run"""

    @property
    def is_nothing(self) -> bool:
        """Whether nobody worked there."""
        return not (self.job or self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of the head of this machine."""

    was_there: bool
    processes: int
    """that were ended"""
    jobs: tuple[str, ...]
    """that worked or waited, and were cancelled before"""
    warning: str = ""
    """what could not be kept of them"""


def cancel(what: str, worker: WorkerConfig) -> Cancelled:
    """End the run in an output root, or a job, by SIGTERM, and wait until it has ended: what it has done stays, and the
    same command goes on with the rest.

    Raises UsageError for what is not known or works on another machine, UnreachableError where it does not end. A
    cluster that cannot be asked, and was not named, keeps no run of this machine from being ended.
    """
    try:
        client = reach(worker)
        jobs = known_to(client, worker)
    except FarmError:
        if is_job_id(what) or worker.address is not None or lock.current_holder(manifest.canonical(what)) is None:
            raise
        return _cancel_attached(what)
    job = find(what, jobs) if is_job_id(what) else jobs.of(manifest.canonical(what))
    if client is not None and job is not None and job.is_active and job.id not in jobs.kept:
        client.stop(job.id, _STOP_LIMIT_S)
        return Cancelled(root=job.root, job=job.id)
    return Cancelled(root=job.root) if is_job_id(what) and job is not None else _cancel_attached(what)


def _cancel_attached(what: str) -> Cancelled:
    """A run of this machine that was not detached, or whose cluster cannot be asked."""
    root = manifest.canonical(what)
    holder = lock.current_holder(root)
    if holder is None:
        status = read_status(root)
        if status.state == "unclear":
            raise UsageError(
                f"{root}: whether its run works nobody can be asked where nothing locks; end process {status.pid} on "
                f"{status.host} by SIGTERM, if it is still there"
            )
        return Cancelled(root=root)
    if holder.host != socket.gethostname():
        raise UsageError(f"{root}: run {holder.run} works on {holder.host}; cancel it there")
    if not lock.is_process_of(root, holder):
        raise UsageError(f"{root}: process {holder.pid} is not the run {holder.run} here; cancel it in its container")
    os.kill(holder.pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_LIMIT_S
    while (now := lock.current_holder(root)) is not None and now.run == holder.run:
        if time.monotonic() > until:
            raise UnreachableError(f"{root}: process {holder.pid} has not ended within {_STOP_LIMIT_S:.0f} s")
        time.sleep(_POLL_S if storage.local_path(root) else _STORE_POLL_S)
    return Cancelled(root=root, run=holder.run)


def down() -> Ended:
    """Cancel what works on the head of this machine, keep what its jobs said, and end its processes by their ids.

    Raises UnreachableError for processes that do not end.
    """
    jobs, warning = tuple[str, ...](), ""
    try:
        client = reach_head(head.read_head())
        if client is not None:
            jobs = tuple(job.id for job in _cancel_all(client))
            kept.keep(client)
    except UnreachableError as error:  # the head is to go all the same; its runs can be resumed
        warning = str(error)
    was, processes = head.end_head()
    return Ended(was_there=was is not None, processes=processes, jobs=jobs, warning=warning)


def _cancel_all(client: JobsClient) -> list[Job]:
    """Those that wait first, so that none begins meanwhile."""
    active = [job for job in client.jobs() if job.is_active]
    for job in sorted(active, key=lambda job: job.state != "pending"):
        client.stop(job.id, _STOP_LIMIT_S)
    return active
