"""Which cluster is asked, which of its jobs is meant, and what that one has said."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm import manifest
from farm.config import WorkerConfig
from farm.errors import UsageError
from farm.fleet import check_dashboard, cluster_address, prepare_ray
from farm.jobs import diary, head, kept
from farm.jobs.record import Job

if TYPE_CHECKING:
    from farm.jobs.client import JobsClient

_ID = re.compile(r"farm-\d{8}T\d{6}Z-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The jobs that can be asked for."""

    jobs: list[Job]
    """of a cluster; where none is named, of the head here and of those that have been ended. The latest first"""
    dashboard: str = ""
    """URL; empty where no cluster was asked"""
    kept: frozenset[str] = frozenset()
    """ids of those that no cluster knows any more"""

    def of(self, root: str) -> Job | None:
        """The latest that works in an output root, as `farm.manifest.canonical` has it; one that works goes first."""
        there = [job for job in self.jobs if job.root == root]
        return next(filter(lambda job: job.is_active, there), there[0] if there else None)


def is_job_id(text: str) -> bool:
    """Whether this names a job, and no output root."""
    return _ID.fullmatch(text) is not None


def reach(worker: WorkerConfig) -> JobsClient | None:
    """The jobs of the cluster that is named, else of this user's head on this machine; None where there is neither.

    Raises UsageError without Ray's dashboard, UnreachableError, and as `farm.access.check_cluster`.
    """
    if cluster_address(worker) is None:
        return reach_head(head.read_head())
    check_dashboard("--address")
    prepare_ray(worker)
    from farm.jobs.client import connect  # imports ray

    return connect(str(cluster_address(worker)))


def reach_head(found: head.Head | None) -> JobsClient | None:
    """The jobs of a head on this machine. Raises UnreachableError."""
    if found is None:
        return None
    head.as_client()
    from farm.jobs.client import JobsClient  # imports ray

    return JobsClient(found.dashboard)


def find_jobs(worker: WorkerConfig) -> Found:
    """All jobs that can be asked for now. Raises as reach()."""
    return known_to(reach(worker), worker)


def known_to(client: JobsClient | None, worker: WorkerConfig) -> Found:
    """What reach() gave for this `worker` is asked."""
    live = client.jobs() if client else []
    ids = {job.id for job in live}
    ended = [job for job in kept.read_jobs() if job.id not in ids] if cluster_address(worker) is None else []
    return Found(
        jobs=[*live, *ended],
        dashboard=client.dashboard if client else "",
        kept=frozenset(job.id for job in ended),
    )


def find(what: str, found: Found) -> Job:
    """The job of that id, or the latest of an output root. Raises UsageError where there is none."""
    if is_job_id(what):
        job = next((job for job in found.jobs if job.id == what), None)
    else:
        job = found.of(manifest.canonical(what))
    if job is None:
        asked = f"the cluster at {found.dashboard}" if found.dashboard else "this machine"
        raise UsageError(
            f"{what}: {asked} knows no detached run of that name, and it is no output root of a run; "
            "`farm list` names those"
        )
    return job


def read_log(what: str, worker: WorkerConfig) -> tuple[Job | None, str]:
    """A job and all that it has said so far; of an output root whose latest run is none, what its ledger tells, and no
    job. Raises as find() and reach()."""
    client = reach(worker)
    found = known_to(client, worker)
    job = _meant(what, found)
    if job is None:
        return None, diary.read(manifest.canonical(what))
    return job, kept.read_log(job.id) if client is None or job.id in found.kept else client.log(job.id)


def follow_log(what: str, worker: WorkerConfig, show: Callable[[str], None]) -> Job | None:
    """Show what a job has said and says until it ends, or what an attached run does; returns what became of the job.
    Raises as read_log()."""
    client = reach(worker)
    found = known_to(client, worker)
    job = _meant(what, found)
    if job is None:
        diary.follow(manifest.canonical(what), show)
        return None
    if client is None or job.id in found.kept:
        show(kept.read_log(job.id))
        return job
    client.follow(job.id, show)
    return client.settled(job)


def _meant(what: str, found: Found) -> Job | None:
    """The job that find() gives; None for an output root in which a run has begun since, or without any."""
    if not is_job_id(what):
        root = manifest.canonical(what)
        job = found.of(root)
        if not (job and job.is_active) and diary.began_unix(root) > (job.ended_unix if job else 0.0):
            return None
    return find(what, found)
