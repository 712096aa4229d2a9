"""What is kept of the jobs of a head when it is ended: Ray forgets them then. A file each, for this user alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from farm.errors import UsageError
from farm.jobs.head import state_folder
from farm.jobs.record import Job

if TYPE_CHECKING:
    from farm.jobs.client import JobsClient

_MOST = 50


def _folder() -> Path:
    return state_folder().with_name("jobs")


def keep(client: JobsClient) -> None:
    """Write down every job and what it has said; of all that are kept the latest 50 stay."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for job in client.jobs():
        _write(folder / f"{job.id}.json", json.dumps(asdict(job)))
        _write(folder / f"{job.id}.log", client.log(job.id))
    for old in sorted(folder.glob("farm-*.json"))[:-_MOST]:
        old.unlink()
        old.with_suffix(".log").unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def read_jobs() -> list[Job]:
    """The jobs that are kept, the latest first."""
    texts = (path.read_text("utf-8") for path in sorted(_folder().glob("farm-*.json"), reverse=True))
    return [job for job in map(_job, texts) if job is not None]


def read_log(job: str) -> str:
    """What a kept job has said. Raises UsageError where that is not there."""
    try:
        return (_folder() / f"{job}.log").read_text("utf-8", "replace")
    except FileNotFoundError:
        raise UsageError(f"{job}: what it said was not kept; its output root says what it did") from None


def _job(text: str) -> Job | None:
    """None for what another version of the farm has written."""
    try:
        return Job(**json.loads(text))
    except (ValueError, TypeError):
        return None
