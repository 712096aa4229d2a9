"""What is known of one detached run."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVE = ("pending", "running")
ROOT, MANIFEST = "farm_root", "farm_manifest"
"""names in a job's metadata"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A detached run, as Ray's Jobs API says."""

    id: str
    state: str
    """pending, running, succeeded, failed (exit code other than 0, or it could not be started) or stopped"""
    root: str
    """output root"""
    manifest: str
    message: str
    """why it could not be started, where it could not; else empty"""
    exit_code: int | None
    """of the command; None before its end, and where Ray ended it"""
    began_unix: float
    """when it was submitted"""
    ended_unix: float
    """0 before its end"""

    @property
    def is_active(self) -> bool:
        """Whether it waits or works."""
        return self.state in ACTIVE
