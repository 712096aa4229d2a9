"""A run as one page and one sheet: totals, throughput, stages, failures, fidelity, and pictures before and after.

account.py spread.py   results as figures, shard by shard       sample.py   which rows are shown
excerpt.py             a report on some rows alone
shown.py               the same place of source and output      embed.py    crops as data of a page
page.py chart.py dress.py words.py   the page                   sheet.py    the contact sheet
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from farm import ledger, manifest, storage
from farm.errors import UsageError
from farm.ledger import RESULTS
from farm.report.account import COLUMNS, FIGURES, Account, Table
from farm.report.excerpt import Excerpt
from farm.report.page import page_of
from farm.report.sample import Sample
from farm.report.sheet import sheet_of
from farm.report.shown import iter_shown
from farm.status import read_status
from farm.storage import faults

__all__ = ["MOST_SHOWN", "Excerpt", "Report", "ReportConfig", "report"]

MOST_SHOWN = 100
"""rows that a page shows: their crops are in memory together, about 1 MB each"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Which run, and what is made of it."""

    run: str
    """an output root, or its results.parquet"""
    page: str | None = "report.html"
    """path or URL of the page; None: none"""
    sheet: str | None = None
    """path or URL of the contact sheet, a PNG; None: none"""
    sample: int = 12
    """rows that are shown before and after, 0..MOST_SHOWN"""
    seed: int = 0
    """another one draws other rows"""
    excerpt: Excerpt | None = None
    """only these rows, and what they say of others; None: all"""

    def __post_init__(self) -> None:
        if not 0 <= self.sample <= MOST_SHOWN:
            raise UsageError(f"--sample: {self.sample} is not in 0..{MOST_SHOWN}")
        if self.sheet is not None and not self.sheet.lower().endswith(".png"):
            raise UsageError(f"--contact-sheet: {self.sheet} is no .png file")
        if self.sheet is not None and not self.sample:
            raise UsageError("--contact-sheet: contradicts --sample 0; show some rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written."""

    page: str | None
    sheet: str | None
    done: int
    failed: int
    suspect: int
    shown: int
    """rows with both pictures"""
    notices: tuple[str, ...]
    """why others of the sample have none"""


def report(config: ReportConfig) -> Report:
    """Write page and sheet. Nothing of the run is changed, and a run at work is not disturbed.

    Raises UsageError where there is no ledger, and what farm.storage raises.
    """
    root = manifest.canonical(config.run)
    if storage.name(root) == RESULTS:
        root = storage.parent(root)
    status = read_status(root)
    notes = ledger.read_notes(root)
    account, sample = ledger.reread(lambda: _read(root, config))
    shown = list(iter_shown(root, sample.rows()))
    attempt = uuid.uuid4().hex
    page = sheet = None
    if config.page is not None:
        page = _publish(config.page, page_of(status, notes, account, shown, time.time(), config.excerpt), attempt)
    if config.sheet is not None:
        sheet = _publish(config.sheet, sheet_of(storage.name(root) or root, shown), attempt)
    return Report(
        page=page,
        sheet=sheet,
        done=account.done,
        failed=account.failed,
        suspect=account.suspect,
        shown=sum(one.pair is not None for one in shown),
        notices=tuple(one.notice for one in shown if one.pair is None),
    )


def _read(root: str, config: ReportConfig) -> tuple[Account, Sample]:
    account, sample = Account(), Sample(config.sample, config.seed, FIGURES)
    for table in _tables(root, config.excerpt):
        account.add(table)
        sample.add(table)
    return account, sample


def _tables(root: str, excerpt: Excerpt | None) -> Iterator[Table]:
    if excerpt is None:
        yield from ledger.iter_results(root, COLUMNS)
        return
    for table in ledger.iter_results(root, [*COLUMNS, "key"], excerpt.shards):
        yield table.filter([key in excerpt.keys for key in table["key"].to_pylist()]).select(COLUMNS)


def _publish(place: str, data: bytes, attempt: str) -> str:
    url = manifest.canonical(place)
    with faults.run_level(url):
        storage.publish(url, data, attempt=attempt)
    return url
