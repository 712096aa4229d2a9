"""What a run did, counted while it goes on and said at its end. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from farm.errors import BusyError, InterruptedRun, TooManyFailures

MAX_FAILURES = "--max-failures"
SAMPLE = "--sample"
SUSPECT_LIMIT = "--yes-if-suspect-below"
SHOWN = 5
"""outputs and failures that a summary names"""


class RowState(str, Enum):
    """What is to be done for a row."""

    PENDING = "pending"
    REUSED = "reused"
    """finished by an earlier run, its output is there"""
    SETTLED = "settled"
    """failed in an earlier run for a reason that its content decides"""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What all rows that were to do when a sample was drawn would take, as if none of them failed."""

    source_px: float
    worker_seconds: float
    """as those of a sample"""
    output_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What a sample of the rows that were to do has come to, and what that says of all of them."""

    asked: int
    """rows that the sample may have"""
    rows: int
    """that it has; 0 where nothing was to do"""
    population: int
    """rows that were to do, those of the sample among them"""
    manifest: int
    """rows of the manifest"""
    refused: int
    """of these, by a rule and before any worker saw them: no sample has such rows"""
    strata: int
    """kinds, sizes and folders that these rows have"""
    strata_drawn: int
    """those that the sample has rows of"""
    was_done: bool
    """whether an earlier run has done all of it"""
    done: int
    failed: int
    suspect: int
    """of the done ones"""
    source_px: int
    """of the done ones, as the next two"""
    worker_seconds: float
    """of workers on GPUs while they infer, several on one GPU each for itself; of CPU workers with reading, decoding
    and encoding"""
    output_bytes: int
    gpus: int
    """that the run uses; 0: CPU workers"""
    workers: int
    whole: Whole | None
    """None where nothing of the sample was restored"""
    page: str
    """URL of its report; empty where there is none"""

    @property
    def bad_percent(self) -> float:
        """Suspect or failed ones, of the sample."""
        return 100 * (self.suspect + self.failed) / self.rows if self.rows else 0.0

    @property
    def refused_percent(self) -> float:
        """Refused ones, of the manifest."""
        return 100 * self.refused / self.manifest if self.manifest else 0.0

    @property
    def hours(self) -> float | None:
        """The whole on all workers, if they are busy all the time."""
        return self.whole.worker_seconds / 3600 / self.workers if self.whole else None

    @property
    def device_hours(self) -> float | None:
        """The same of GPUs, whose workers share them, or of CPU workers."""
        return None if self.hours is None else self.hours * (self.gpus or self.workers)

    @property
    def left(self) -> int:
        """Rows that are to do when the sample has ended."""
        return self.population - self.done - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run did. Rows = done + reused + skipped + failed + left."""

    out: str
    results: str
    rows: int
    done: int
    reused: int
    skipped: int
    failed: int
    left: int
    """not reached, because the run was stopped or the manifest changed under it"""
    source_px: int
    frames: int
    """of films"""
    seconds: float
    outputs: tuple[str, ...]
    """the first few outputs, for a person to open"""
    failures: tuple[str, ...]
    """the first few messages"""
    signum: int | None = None
    stopped: str = ""
    """the option that ended it before all was done, or by which too much has failed"""
    warned: int = 0
    """done, but with something that a person should know"""
    warnings: tuple[str, ...] = ()
    """the first few of these"""
    warning: str | None = None
    """what a person should know although nothing failed"""
    canary: Canary | None = None
    """of a run that began with a sample"""

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 4 too many did, or too much of a sample was suspect, 75 something is left, 129,
        130 or 143 after a signal."""
        if self.signum:
            return InterruptedRun(self.signum).exit_code
        if self.failures_stopped or self.stopped == SUSPECT_LIMIT:
            return TooManyFailures.exit_code
        if self.left:
            return BusyError.exit_code
        return 3 if self.failed else 0

    @property
    def failures_stopped(self) -> bool:
        """Whether more rows failed than were allowed."""
        return self.stopped == MAX_FAILURES


@dataclass(slots=True)
class Tally:
    """Counts of one pass over the manifest, and of what ended in it."""

    states: Counter[RowState] = field(default_factory=Counter[RowState])
    """of the rows that the pass has seen"""
    done: int = 0
    failed: int = 0
    """in workers; rows that the plan refused are in `states`"""
    source_px: int = 0
    frames: int = 0
    outputs: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])
    warned: int = 0
    warnings: list[str] = field(default_factory=list[str])

    def note_output(self, url: str) -> None:
        if len(self.outputs) < SHOWN:
            self.outputs.append(url)

    def note_warning(self, source: str, message: str) -> None:
        self.warned += 1
        if len(self.warnings) < SHOWN:
            self.warnings.append(f"{source}: {message}")

    def note_failure(self, message: str) -> None:
        if len(self.failures) < SHOWN:
            self.failures.append(message)

    def summary(self, out: str, results: str, *, rows: int, seconds: float, signum: int | None) -> RunSummary:
        """`rows`: of the whole manifest; those that the pass did not reach are left."""
        seen = sum(self.states.values())
        rows = max(rows, seen)
        return RunSummary(
            out=out,
            results=results,
            rows=rows,
            done=self.done,
            reused=self.states[RowState.REUSED],
            skipped=0,
            failed=self.failed + self.states[RowState.SETTLED] + self.states[RowState.REFUSED],
            left=rows - seen + self.states[RowState.PENDING] - self.done - self.failed,
            source_px=self.source_px,
            frames=self.frames,
            seconds=seconds,
            outputs=tuple(self.outputs),
            failures=tuple(self.failures),
            warned=self.warned,
            warnings=tuple(self.warnings),
            signum=signum,
        )
