"""What a sample has found, said on stderr or as JSON, and the question whether the whole follows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from farm.console import printable

if TYPE_CHECKING:
    from farm.canary import Planned
    from farm.summary import Canary, RunSummary


class Asker:
    """Asks at the terminal, if there is one: stdin and stderr. A `farm.canary.Answer`."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._is_told = False

    def __call__(self, canary: Canary, goes_on: bool | None) -> bool:
        """Say what was found, and ask where the options leave it open; without a terminal that is no."""
        if not self._quiet or not goes_on or canary.bad_percent:
            for line in sample_lines(canary):
                click.echo(printable(line), err=True)
        follows = _asked(f"go on with the other {canary.left} rows?") if goes_on is None else goes_on
        self._tell_machines(canary, goes_on=follows)
        return follows

    def end(self, summary: RunSummary) -> None:
        """Say what has not been said: of a sample after which there was nothing to ask."""
        canary = summary.canary
        if canary is None or self._is_told:
            return
        lines = sample_lines(canary) if canary.rows else ["no sample: no row is to do"]
        for line in () if self._quiet and not canary.bad_percent else lines:
            click.echo(printable(line), err=True)
        self._tell_machines(canary, goes_on=None)

    def _tell_machines(self, canary: Canary, *, goes_on: bool | None) -> None:
        self._is_told = True
        if self._as_json:
            click.echo(json.dumps({"event": "sample", **_figures(canary), "goes_on": goes_on}))
            sys.stdout.flush()


def _asked(question: str) -> bool:
    """A person's answer; no where there is none, or nobody."""
    while sys.stdin.isatty() and sys.stderr.isatty():
        click.echo(f"{question} [y/N] ", nl=False, err=True)
        line = sys.stdin.readline()
        said = line.strip().lower()
        if not line:
            click.echo(err=True)
        if said in ("", "n", "no"):
            return False
        if said in ("y", "yes"):
            return True
    return False


def _figures(canary: Canary) -> dict[str, Any]:
    more = {"bad_percent": canary.bad_percent, "refused_percent": canary.refused_percent}
    return asdict(canary) | more | {"hours": canary.hours, "left": canary.left}


def sample_lines(canary: Canary) -> list[str]:
    """What was found, for people."""
    from farm.progress import hours, pixel_rate, size

    ended = f"{canary.done} done, {canary.failed} failed, {canary.suspect} suspect ({canary.bad_percent:.3g} %)"
    before = "done before: " if canary.was_done else ""
    lines = [
        f"sample: {before}{canary.rows} of {canary.population} rows to do, of {canary.strata_drawn} of {canary.strata} "
        f"kinds, sizes and folders: {ended}"
    ]
    if canary.refused:
        share = f"{canary.refused_percent:.3g} % of the manifest"
        lines.append(f"  refused   {canary.refused} rows, of which no sample is taken ({share})")
    if canary.worker_seconds:
        rate = pixel_rate(canary.source_px / canary.worker_seconds)
        made = size(canary.output_bytes)
        spent = f"{canary.source_px / 1e6:.2f} MP in {hours(canary.worker_seconds)} of workers, {made}"
        lines.append(f"  measured  {spent}: {rate} a worker")
    if canary.whole is not None and canary.hours is not None and canary.device_hours is not None:
        who = f"{canary.gpus} GPUs" if canary.gpus else f"{canary.workers} CPU workers"
        kind = "GPU-hours" if canary.gpus else "worker-hours"
        whole = f"{canary.device_hours:.3g} {kind}, {hours(3600 * canary.hours)} on {who}"
        outputs = f"outputs {size(canary.whole.output_bytes)}"
        lines.append(f"  the whole about {canary.whole.source_px / 1e6:.2f} MP: {whole}; {outputs}")
    else:
        lines.append("  the whole unknown: nothing of the sample was restored")
    return [*lines, f"  report    {canary.page}"] if canary.page else lines


def planned_lines(planned: Planned) -> list[str]:
    """Which rows a sample would have."""
    drawn = f"{planned.pending} of {planned.population} rows to do"
    lines = [f"sample: {drawn}, of {planned.strata} kinds, sizes and folders"]
    return [*lines, *(f"  {source}" for source in planned.sources)]
