"""When a run stops taking work: told once by the wall clock, from then on by the clock of `farm.clock`. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from farm.config import StopConfig
from farm.errors import OutOfTimeError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The bounds of one run."""

    ends_s: float = math.inf
    """by `farm.clock`, when the run is to be over; infinite: when all is done"""
    name: str = ""
    """of the option that says so"""
    most_failed: int | None = None
    """rows that may fail in it"""
    most_failed_percent: float | None = None
    """of the manifest's rows"""

    def is_over(self, now_s: float) -> bool:
        """Whether no time is left."""
        return now_s >= self.ends_s

    def check(self, now_s: float, doing: str) -> None:
        """Raise OutOfTimeError when no time is left; `doing`: what takes so long."""
        if self.is_over(now_s):
            raise OutOfTimeError(f"{self.name}: the time was over while {doing}; give the same command more of it")

    def too_many(self, failed: int, rows: int) -> bool:
        """Whether `failed` rows of a manifest of `rows` are more than the run may go on with."""
        if self.most_failed is not None:
            return failed > self.most_failed
        return self.most_failed_percent is not None and failed * 100 > self.most_failed_percent * rows


def stop_of(config: StopConfig, wall: datetime, now_s: float) -> Stop:
    """The bounds of a run that begins at `wall`, aware of its zone, when `farm.clock` shows `now_s`.

    Raises UsageError for a day that is past.
    """
    ends = [(config.max_time_s, "--max-time")] if config.max_time_s is not None else []
    if config.until is not None:
        ends.append((_seconds_until(config, wall), "--until"))
    left_s, name = min(ends, default=(math.inf, ""))
    return Stop(
        ends_s=now_s + left_s,
        name=name,
        most_failed=config.max_failures,
        most_failed_percent=config.max_failures_percent,
    )


def _seconds_until(config: StopConfig, wall: datetime) -> float:
    """Real seconds: a night in which clocks are set has an hour more or less."""
    if isinstance(config.until, datetime):
        left_s = config.until.timestamp() - wall.timestamp()
        if left_s <= 0:
            raise UsageError(f"--until: {config.until:%Y-%m-%dT%H:%M:%S} is past; name a time to come")
        return left_s
    local = wall.replace(tzinfo=None)
    if config.until is None:
        return math.inf
    found = datetime.combine(local.date(), config.until)
    if found <= local:
        found += timedelta(days=1)
    return found.timestamp() - wall.timestamp()
