"""What a run did, counted while it goes on and said at its end. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from farm.errors import BusyError, InterruptedRun, TooManyFailures

MAX_FAILURES = "--max-failures"
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

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 4 too many did, 75 something is left, 130 or 143 after a signal."""
        if self.signum:
            return InterruptedRun(self.signum).exit_code
        if self.failures_stopped:
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
