"""A run as Python sees it: how it ended, how it stands, and its results, row by row. Loads what it needs when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.status import Status
    from farm.summary import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the result manifest; fields as the columns of results.parquet."""

    row: int
    """position in the manifest, from 0"""
    status: str
    """done, skipped or failed"""
    error: str
    """class of a failure (`farm.errors.ErrorKind`), else empty"""
    message: str
    source: str
    output: str
    sha256: str
    bytes: int
    width: int
    height: int
    source_px: int
    model: str
    model_sha256: str
    scale: str
    """what was asked for, 3.5 or 3840x2160"""
    mode: str
    """exact or bounded"""
    precision: str
    fidelity: float
    consistency: float | None
    """this and the next six: figures of docs/fidelity.md; None for what has none"""
    colour: float | None
    off: float | None
    stripes: float | None
    lattice: float | None
    seam: float | None
    niqe: float | None
    suspect: str
    """names of the figures that are beyond belief, with spaces between"""
    frames: int
    """of a film; 0 for pictures"""
    flicker: float | None
    """None of a film whose changes were not measured: one with alpha or faces"""
    worst_seconds: str
    attempts: int
    infer_s: float
    total_s: float
    node: str
    worker: str
    finished_unix: float
    run: str
    """attempt that settled the row"""


class Run:
    """The runs of one output root, whoever started them, at work or over.

    Args:
        out: the output root, a path or a URL.
        summary: what this process' own run did, where there was one.
    """

    def __init__(self, out: str, summary: RunSummary | None = None) -> None:
        self.out = out
        self.summary = summary

    def status(self) -> Status:
        """How it stands now: what `farm status` says. Raises UsageError where there is no ledger."""
        from farm.status import read_status

        return read_status(self.out)

    def results(self) -> Iterator[Result]:
        """Every row that has ended so far, in the manifest's order, one shard in memory at a time.

        Also while a run works; a shard that is closed meanwhile may raise DiskError: ask again.
        """
        from farm import ledger, manifest

        names = list(Result.__slots__)
        for table in ledger.iter_results(manifest.canonical(self.out), names):
            for batch in table.to_batches(max_chunksize=1024):
                for row in batch.to_pylist():
                    yield Result(**row)
