"""Whether a sample of the rows goes first, and who says that the others follow. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from farm.checks import at_least
from farm.errors import UsageError

MOST_SAMPLE = 10_000
"""rows: a sample is held in memory"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryConfig:
    """A sample before the whole. It decides no bytes: what it restores is done for every later run."""

    sample: int | None = None
    """restore at most so many of the rows that are to do, some of every kind, size and folder, and say what the whole
    would take before it goes on; None: no sample"""
    yes: bool = False
    """go on without asking"""
    yes_if_suspect_below: float | None = None
    """go on without asking if less than this percentage of the sample is suspect or has failed, and of the manifest is
    refused before anything is restored: above 0, up to 100"""

    def __post_init__(self) -> None:
        limit = self.yes_if_suspect_below
        if self.sample is None:
            for flag, is_given in (("--yes", self.yes), ("--yes-if-suspect-below", limit is not None)):
                if is_given:
                    raise UsageError(f"{flag}: answers the question that --sample N asks; give that too, or neither")
            return
        at_least("sample", self.sample, 1)
        if self.sample > MOST_SAMPLE:
            raise UsageError(f"--sample: {self.sample} is above {MOST_SAMPLE}; --limit takes the first rows")
        if self.yes and limit is not None:
            raise UsageError("--yes: contradicts --yes-if-suspect-below; give one of them")
        if limit is not None and not 0 < limit <= 100:
            raise UsageError(f"--yes-if-suspect-below: {limit:g}% is not above 0% and up to 100%")

    def check_unattended(self) -> None:
        """Raise UsageError where somebody would have to be asked; for who sends the run away from its terminal."""
        if self.sample is not None and not self.yes and self.yes_if_suspect_below is None:
            raise UsageError(
                "--detach: nobody can be asked there after --sample; add --yes or --yes-if-suspect-below 2%, or do the "
                "sample here first"
            )
