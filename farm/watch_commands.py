"""The commands that look on or look back: parse, call, print, exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from farm.console import explained, printable
from farm.errors import FarmError
from farm.flags import cluster_config, cluster_options

if TYPE_CHECKING:
    from farm.forecast import Forecast, Rates
    from farm.jobs import Found, Job
    from farm.status import Status


@click.command(short_help="A run as one page: figures, failures, pictures before and after.")
@click.argument("run")
@click.option("-o", "--output", default="report.html", show_default=True, help="Page to write, on a disk or a store.")
@click.option("--sample", type=int, default=12, show_default=True, help="Rows shown before and after, 0 to 100.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one draws other rows.")
@click.option("--contact-sheet", metavar="PNG", help="Write the sample as one picture too.")
@explained
def report(run: str, output: str, sample: int, seed: int, contact_sheet: str | None) -> None:
    """Write a page about RUN, an output root or its results.parquet. It needs nothing beside it and no network.

    Suspect outputs are shown first, then some of every kind, model, size and folder, drawn by seed.
    """
    from farm.report import ReportConfig
    from farm.report import report as make

    made = make(ReportConfig(run=run, page=output, sheet=contact_sheet, sample=sample, seed=seed))
    for notice in made.notices:
        click.echo(f"  not shown: {printable(notice)}", err=True)
    click.echo(f"{made.done} done, {made.failed} failed, {made.suspect} suspect; {made.shown} shown", err=True)
    for place in filter(None, (made.page, made.sheet)):
        click.echo(printable(place))


@click.command(short_help="What an output root holds, who works there, and how long it takes.")
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@cluster_options
@explained
def status(run: str | None, as_json: bool, address: str | None, insecure: bool) -> None:
    """Look at RUN, an output root or the id of a detached run; without one, at this folder or its farm-out/. Starts and
    changes nothing.
    """
    from farm import jobs, manifest
    from farm.status import find_status, here, read_status

    what, known = run if run is not None else here(), _jobs(address, insecure=insecure)
    root = jobs.find(what, known).root if jobs.is_job_id(what) else manifest.canonical(what)
    job = known.of(root)
    found = find_status(root) if job is not None else read_status(root)  # a job may not have begun yet
    if as_json:
        click.echo(json.dumps(jobs.told(root, found, job, known.dashboard)))
        return
    for line in _said(root, found, job, known.dashboard):
        click.echo(printable(line))


@click.command("list", short_help="Every output root below a folder, a line each.")
@click.argument("folder", default=".")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
@cluster_options
@explained
def list_roots(folder: str, as_json: bool, address: str | None, insecure: bool) -> None:
    """Look for output roots at and below FOLDER, a path or a prefix of a store, four folders deep; and for those in
    which a detached run has yet to begin.
    """
    from farm import jobs

    known = _jobs(address, insecure=insecure)
    for root, found, job in _iter_known(folder, known):
        if as_json:
            click.echo(json.dumps(jobs.told(root, found, job, known.dashboard)))
        else:
            counts = f"{', '.join(_counts(found))}  {_ago(found)}" if found else "nothing yet"
            whose = f"  {job.id}" if job else ""
            click.echo(printable(f"{jobs.state_of(found, job):8}  {counts}  {root}{whose}"))


def _iter_known(folder: str, known: Found) -> Iterator[tuple[str, Status | None, Job | None]]:
    """Every output root below a folder with what its ledger and its job say, and those that only a job knows of."""
    from farm import manifest
    from farm.status import CLOSED, find_status, iter_roots

    seen: set[str] = set()
    for root in iter_roots(folder, _left_out):
        try:
            found = find_status(root)
        except CLOSED as error:
            _left_out(error)
            continue
        if found is not None:
            seen.add(root)
            yield root, found, known.of(root)
    base = manifest.canonical(folder)
    for root in sorted({job.root for job in known.jobs if job.is_active} - seen):
        if root == base or root.startswith(f"{base.rstrip('/')}/"):
            yield root, None, known.of(root)


def _left_out(error: FarmError) -> None:
    click.echo(f"farm: left out: {printable(str(error))}", err=True)


def _jobs(address: str | None, *, insecure: bool) -> Found:
    """The detached runs that can be asked for; none where their cluster does not answer, which is said."""
    from farm import jobs

    try:
        return jobs.find_jobs(cluster_config(address, insecure=insecure))
    except FarmError as error:
        if address is not None:
            raise
        click.echo(f"farm: detached runs are left out: {printable(str(error))}", err=True)
        return jobs.Found(jobs=[], dashboard="")


def print_rates(rates: Rates) -> None:
    """A line a model."""
    from farm.progress import pixel_rate

    for one in rates.models:
        timed = f"{one.side_px} x {one.side_px} px in {one.seconds:.2f} s, {one.precision}"
        click.echo(printable(f"{one.model}: {pixel_rate(one.px_s)} a worker ({timed}; {rates.machine})"), err=True)


def print_forecast(found: Forecast, *, as_json: bool) -> None:
    """For people, or for machines."""
    if as_json:
        more = {"worker_hours": found.worker_hours, "hours": found.hours, "fits": found.fits}
        click.echo(json.dumps({**asdict(found), **more}))
        return
    for line in _forecast_lines(found):
        click.echo(printable(line))


def _forecast_lines(found: Forecast) -> list[str]:
    from farm.progress import hours, pixel_rate, size

    before = f"{found.reused} done before, {found.settled} failed before"
    lines = [f"{found.rows} rows: {found.pending} to do, {before}, {found.refused} refused"]
    looked = (
        f"sizes from the manifest and from a look into {found.looked}" if found.looked else "sizes from the manifest"
    )
    films = f", {found.films} films of {found.frames:.0f} frames" if found.films else ""
    lines.append(f"  source    {found.pictures} pictures{films}: {found.source_px / 1e6:.2f} MP ({looked})")
    lines += [f"  {name}: {rows} rows, whose time and bytes are not estimated" for name, rows in found.others.items()]
    lines += [
        f"  {one.model}: {one.work_px / 1e6:.2f} MP to go through it, at {pixel_rate(one.px_s)} a worker "
        f"in {one.precision} ({found.rates.machine})"
        for one in found.models
    ]
    who = f"{found.gpus} GPUs" if found.gpus else f"{found.workers} CPU workers"
    kind = "GPU-hours" if found.gpus else "worker-hours"
    lines.append(f"  time      {found.worker_hours:.3g} {kind}: {hours(3600 * found.hours)} on {who}")
    made = f"{found.output_px / 1e6:.2f} MP, about {size(found.output_bytes)}"
    lines.append(f"  outputs   {made} (typical bytes a pixel of their formats; pictures differ by a factor of two)")
    lines.append(f"  memory    {_memory(found)}")
    lines += [f"  refused   {name} {number}" for name, number in found.refusals.items()]
    failing = f"  failing   {found.unreadable} of the {found.looked} that were looked into would fail"
    lines += [failing] if found.unreadable else []
    lines += [f"    {message}" for message in found.examples]
    return [*lines, f"output: {found.out}"]


def _memory(found: Forecast) -> str:
    from farm.progress import size

    needs = f"the largest picture that is restored whole takes {size(found.body_bytes)}"
    if found.worker_bytes is None:
        return f"{needs} of a worker there" if found.body_bytes else "pictures are restored in windows"
    has = f"{size(found.worker_bytes)} for the pictures of each worker"
    if found.largest_bytes > found.worker_bytes:
        return f"{has}, and {found.largest} needs {size(found.largest_bytes)}: {_LESS_MEMORY}"
    if not found.body_bytes:
        largest = f"; the largest that was found takes {size(found.largest_bytes)}" if found.largest_bytes else ""
        return f"{has}{largest or '; pictures are restored in windows'}"
    return f"{has}; {needs}" + ("" if found.fits else f": {_LESS_MEMORY}")


_LESS_MEMORY = "lower --exact-px, --band-px or the number of workers"


def _said(root: str, status: Status | None, job: Job | None, dashboard: str) -> Iterator[str]:
    """The lines of a root, and of its job."""
    from farm import jobs

    now = time.time()
    if status is None:
        yield f"{root}: {'no row begun yet' if job and job.is_active else 'no row begun'}"
    else:
        yield from _lines(replace(status, state=jobs.state_of(status, job)), now)
    if job is not None:
        where = f", {dashboard}" if dashboard else ""
        yield f"  job       {job.id}: {_job_words(job, now)}{where}"
        if job.message:
            yield f"            {job.message.strip().splitlines()[-1]}"


def _job_words(job: Job, now: float) -> str:
    if job.is_active:
        return f"{job.state}, handed over {_before(now, job.began_unix)}"
    code = f" with exit code {job.exit_code}" if job.exit_code is not None else ""
    return f"{job.state}{code} {_before(now, job.ended_unix)}"


def _lines(status: Status, now: float) -> list[str]:
    from farm.progress import duration, pixel_rate, size

    lines = [f"{status.root}: {_state(status, now)}"]
    if status.manifest:
        lines.append(f"  manifest  {status.manifest} ({', '.join(status.models)})")
    if status.waiting:
        lines.append(f"  workers   {status.waiting}")
    total = f"{status.rows} of the manifest: " if status.rows is not None else ""
    lines.append(f"  rows      {total}{', '.join(_counts(status))}")
    frames = f", {status.frames} frames" if status.frames else ""
    pieces = f", {status.pieces} pieces wait for their join" if status.pieces else ""
    made = f"outputs {size(status.output_bytes)}"
    lines.append(f"  restored  {status.source_px / 1e6:.2f} MP{frames}, {made}{pieces}")
    if status.pace is not None:
        pace = status.pace
        left = f"; {duration(status.eta_s)} left" if status.eta_s is not None else ""
        rate = f"{pixel_rate(pace.source_px / pace.seconds)}, {60 * pace.rows / pace.seconds:.1f} rows a minute"
        lines.append(f"  rate      {rate} in the last {duration(pace.seconds)}{left}")
    if status.failures:
        lines.append(f"  failures  {', '.join(f'{name} {number}' for name, number in status.failures.items())}")
    return lines


def _state(status: Status, now: float) -> str:
    from farm.progress import duration

    ended_unix = status.ended_unix or status.last_unix
    ran = f"began {_before(now, status.started_unix)}" if status.started_unix else "no row begun yet"
    took = duration(max(0.0, ended_unix - status.started_unix))
    words = {
        "running": f"at work (run {status.run}, process {status.pid} on {status.host}), {ran}",
        "finished": f"finished {_before(now, ended_unix)}, after {took}",
        "stopped": f"stopped {_before(now, status.ended_unix)}; the same command does what is left",
        "killed": f"killed (run {status.run}, {ran}, no end is noted); the same command does what is left",
        "unclear": f"at work or killed: {ran}, no end is noted, and where nothing locks nobody can be asked",
        "idle": "nobody works there",
        "pending": "the next run waits for its turn",
    }
    return words[status.state]


def _before(now: float, unix: float) -> str:
    from farm.progress import duration

    return f"{duration(max(0.0, now - unix))} ago"


def _ago(status: Status) -> str:
    return _before(time.time(), status.last_unix) if status.last_unix else "nothing yet"


def _counts(status: Status) -> list[str]:
    counts = [f"{status.done} done", f"{status.failed} failed"]
    counts += [f"{status.left} left"] if status.left else []
    counts += [f"{status.suspect} suspect"] if status.suspect else []
    return counts
