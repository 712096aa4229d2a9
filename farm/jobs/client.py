"""Ray's Jobs API, as far as detached runs need it. The only room that speaks to it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from farm import access
from farm.errors import UnreachableError
from farm.jobs.record import MANIFEST, ROOT, Job
from farm.session import dashboard_of, first_line

_POLL_S = 0.2
_SETTLE_S = 10.0
_AGENT_LIMIT_S = 120.0
_NO_AGENT = "No available agent"
"""what Ray says for ten seconds in which the head's own agent has not come up"""
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""what the SDK takes instead of the address that it is given"""
_NO_ENTRYPOINT = "JOB_ENTRYPOINT_COMMAND_ERROR"
"""Ray's word for a command that ended with another code than 0: that message repeats the end of its log"""
logging.getLogger("ray.dashboard").setLevel(logging.CRITICAL)  # what matters is said in our own words


class JobsClient:
    """The Jobs API of one cluster. `dashboard`: URL of its dashboard. Raises UnreachableError."""

    def __init__(self, dashboard: str) -> None:
        self.dashboard = dashboard
        with self._explained(), _without(_OVERRIDES):
            self._client = JobSubmissionClient(dashboard)
        for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def submit(self, job: str, entrypoint: str, variables: Mapping[str, str], *, root: str, manifest: str) -> None:
        """Hand a command over under the id `job`. Nothing that is given may hold a secret: Ray shows all of it.

        Raises UnreachableError, also where the head does not take jobs for two minutes, as a new one does at first.
        """
        given: dict[str, Any] = {
            "entrypoint": entrypoint,
            "submission_id": job,
            "runtime_env": {"env_vars": dict(variables)},
            "metadata": {ROOT: root, MANIFEST: manifest},
        }
        until = time.monotonic() + _AGENT_LIMIT_S
        with self._explained():
            while True:
                try:
                    self._client.submit_job(**given)
                    return
                except RuntimeError as error:
                    if _NO_AGENT not in str(error):
                        raise
                    if time.monotonic() > until:
                        raise UnreachableError(
                            f"the head at {self.dashboard} takes no jobs: its agent does not run; another Ray may have "
                            "its port (ray start --dashboard-agent-listen-port)"
                        ) from error
                time.sleep(_POLL_S)

    def jobs(self) -> list[Job]:
        """All detached runs that the cluster remembers, the latest first."""
        with self._explained():
            found = self._client.list_jobs()
        ours = [_job(one) for one in found if one.submission_id and ROOT in (one.metadata or {})]
        return sorted(ours, key=lambda job: (job.began_unix, job.id), reverse=True)

    def job(self, job: str) -> Job | None:
        """One of them; None where there is none of that id."""
        return next((one for one in self.jobs() if one.id == job), None)

    def log(self, job: str) -> str:
        """All that a job has said so far."""
        with self._explained():
            return self._client.get_job_logs(job)

    def follow(self, job: str, show: Callable[[str], None]) -> None:
        """Show what a job has said and says, until it ends."""

        async def show_all() -> None:
            async for text in self._client.tail_job_logs(job):
                show(text)

        with self._explained():
            asyncio.run(show_all())

    def settled(self, job: Job) -> Job:
        """A job whose log has ended, as it then is: Ray says so a moment later."""
        until = time.monotonic() + _SETTLE_S
        while job.is_active and time.monotonic() < until:
            job = self.job(job.id) or job
            time.sleep(_POLL_S)
        return job

    def stop(self, job: str, limit_s: float) -> None:
        """Have a job ended by SIGTERM and wait for its end. Raises UnreachableError where it does not end."""
        with self._explained():
            self._client.stop_job(job)
        until = time.monotonic() + limit_s
        while (found := self.job(job)) is not None and found.is_active:
            if time.monotonic() > until:
                raise UnreachableError(f"job {job} has not ended within {limit_s:.0f} s; look at {self.dashboard}")
            time.sleep(_POLL_S)

    @contextmanager
    def _explained(self) -> Generator[None]:
        """What goes wrong between us and the dashboard is an UnreachableError."""
        try:
            yield
        except (OSError, RayError, RuntimeError, ValueError) as error:  # requests' errors are OSErrors
            raise UnreachableError(
                f"the jobs at {self.dashboard} cannot be asked for ({first_line(error)}); check that it "
                "can be reached from here, and that the token is the cluster's"
            ) from error


def _job(found: Any) -> Job:
    said: Mapping[str, str] = found.metadata
    state = str(found.status.value).lower()
    is_our_exit = found.error_type is None or _NO_ENTRYPOINT in str(found.error_type)
    return Job(
        id=found.submission_id,
        state=state,
        root=said[ROOT],
        manifest=said.get(MANIFEST, ""),
        message="" if state != "failed" or is_our_exit else str(found.message or ""),
        exit_code=found.driver_exit_code,
        began_unix=(found.start_time or 0) / 1000,
        ended_unix=(found.end_time or 0) / 1000,
    )


@contextmanager
def _without(names: tuple[str, ...]) -> Generator[None]:
    """Inside the block these are not in the environment."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def connect(address: str) -> JobsClient:
    """The jobs of somebody's cluster, which may be used. Raises UnreachableError.

    Heads serve their dashboard on loopback as a rule; from another machine that would be some other's.
    """
    url = dashboard_of(address)
    host, _ = access.split_address(url)
    if access.is_loopback(host) and not access.is_here(address):
        raise UnreachableError(
            f"the dashboard of cluster {address} listens on its own machine alone ({url}); run this command there"
        )
    return JobsClient(url)
