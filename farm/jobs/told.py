"""What is said of an output root and its job together, as values for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from farm.jobs.record import Job
from farm.status import Status


def told(root: str, status: Status | None, job: Job | None, dashboard: str) -> dict[str, Any]:
    """Fields of both, and what follows from them. `dashboard`: URL, empty where no cluster was asked."""
    said: dict[str, Any] = {**asdict(status), "eta_s": status.eta_s} if status else {"root": root}
    detached = {**asdict(job), "dashboard": dashboard} if job else None
    return {**said, "state": state_of(status, job), "job": detached}


def state_of(status: Status | None, job: Job | None) -> str:
    """What the ledger and the lock say; where they cannot tell, what the job is."""
    if status is None:
        return job.state if job else "idle"
    if job is not None and job.state == "pending":
        return "pending"
    if job is not None and status.state == "unclear":
        return "running" if job.is_active else "killed"
    return status.state
