"""The tables of bench/gpu.py, as far as they are: text for people, values to be kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gpu_checks import CheckError, Subject  # beside this file
from limits import Limit
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import Figures

T = TypeVar("T")
Check = Callable[[Subject, str], "str | list[str]"]
SPEED_COLUMNS = ("strategy", "frames/s", "Mpx/s", "% of matmul", "network s", "network % of matmul")
MEMORY_COLUMNS = ("MiB, square", "MiB, full")
LEADING = ("model", "weights", "kernel", "precision")


@dataclass
class Report:
    """The tables so far."""

    heading: list[str]
    checks: tuple[str, ...]
    job_columns: tuple[str, ...]
    until_s: float
    """on the clock of time.perf_counter: nothing is begun later"""
    holds: list[list[str]] = field(default_factory=list)
    costs: list[list[str]] = field(default_factory=list)
    jobs: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)

    def cells(self, where: str, checks: Mapping[str, Check], subject: Subject | str, precision: str) -> list[str]:
        """One cell a check; what fails is a cell too. `subject` is text where the model could not be loaded."""
        made: list[str] = []
        for name, check in checks.items():

            def call(check: Check = check) -> list[str]:
                if isinstance(subject, str):
                    raise CheckError(subject)
                cell = check(subject, precision)
                return [cell] if isinstance(cell, str) else cell

            found = self.trying(f"{where}, {name}", call)
            made += [found] * (len(SPEED_COLUMNS) if name == "speed" else 1) if isinstance(found, str) else found
        return made

    def trying(self, where: str, call: Callable[[], T]) -> T | str:
        """What a call gives, or a cell that says which failure it is."""
        try:
            if time.perf_counter() > self.until_s:
                raise CheckError("not begun: the time is over (--budget-s)")
            return call()
        except Exception as error:  # whatever a device raises belongs into the table
            text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")[:300]
            self.failures.append(f"{where}: {text}")
            return f"FAILED [{len(self.failures)}]"

    def text(self) -> str:
        holds = _table([*LEADING, *self.checks], self.holds)
        costs = _table([*LEADING, *MEMORY_COLUMNS, *SPEED_COLUMNS], self.costs)
        jobs = _table(self.job_columns, [[_cell(row.get(name, "")) for name in self.job_columns] for row in self.jobs])
        failures = [f"{index}. {text}" for index, text in enumerate(self.failures, 1)] or ["None."]
        sections = ["", "## What must hold", "", *holds, "", "## What it costs", "", *costs]
        if self.jobs:
            sections += ["", "## Jobs, files to files", "", *jobs]
        if self.limits:
            sections += ["", "## Limits", "", shown_limits(self.limits)]
        return "\n".join([*self.heading, *sections, "", "## Failures", "", *failures, ""])

    def figures(self) -> Figures:
        """The same as values, as they are kept."""
        holds = [dict(zip([*LEADING, *self.checks], row, strict=True)) for row in self.holds]
        names = [*LEADING, *MEMORY_COLUMNS, *SPEED_COLUMNS]
        costs = [dict(zip(names, map(_value, row), strict=True)) for row in self.costs]
        return {
            "holds": holds,
            "costs": costs,
            "jobs": self.jobs,
            "failures": self.failures,
            "limits": kept_limits(self.limits),
        }


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(columns)
    return [_row(columns), _row(["---"] * len(columns)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
