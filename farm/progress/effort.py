"""Who has made something, and how long it took: what progress takes from a worker's answer. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from farm.records import Done, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Of one part."""

    worker: str = ""
    seconds: float | None = None
    """that its stages took, without the waiting between them; None: as long as its worker has been away"""
    network_s: float = 0.0


NOBODY = Effort()
"""as if there were one worker, that works all the time"""


def effort_of(outcome: Outcome) -> Effort:
    """Of a part that has ended; what only came to be cut, or to nothing, took no stage."""
    if not isinstance(outcome, Done):
        return Effort(worker=outcome.worker, seconds=0.0)
    took = outcome.seconds
    return Effort(worker=outcome.worker, seconds=sum(asdict(took).values()) - took.wait, network_s=took.infer)
