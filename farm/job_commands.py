"""The commands of detached runs, and what `farm submit --detach` says: parse, call, print, exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from farm.config import RunConfig
from farm.console import explained, printable, printable_lines
from farm.flags import cluster_config, cluster_options

_WORDS = "farm.words"


class RememberingCommand(click.Command):
    """A command that keeps the words it was given, so that it can be given again elsewhere."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


def words_without(*flags: str, valued: str) -> list[str]:
    """The words of the command that is under way, but for these flags, and for the one that has a value."""
    words: Sequence[str] = click.get_current_context().meta[_WORDS]
    end = words.index("--") if "--" in words else len(words)
    before = ("", *words[: end - 1]) if end else ()
    kept = [
        word
        for word, last in zip(words[:end], before, strict=True)
        if word not in (*flags, valued) and last != valued and not word.startswith(f"{valued}=")
    ]
    return [*kept, *words[end:]]


def submit_detached(config: RunConfig, words: Sequence[str], *, as_json: bool) -> None:
    """Hand the command over and say where it is to be looked at."""
    from farm.jobs import detach

    made = detach(config, words)
    if as_json:
        click.echo(json.dumps(asdict(made)))
        return
    click.echo(made.job)
    if config.quiet:
        return
    token = f" (it asks for a token: cat {made.token})" if made.token else ""
    click.echo(printable(f"dashboard: {made.dashboard}{token}"), err=True)
    click.echo(printable(f"output: {made.root}"), err=True)
    click.echo(f"farm logs {made.job} --follow shows what it says; farm cancel {made.job} ends it", err=True)


@click.command(short_help="What a run has said, or done.")
@click.argument("run", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until it ends.")
@click.option("--json", "as_json", is_flag=True, help="Objects of JSON: one, or with --follow a line each.")
@cluster_options
@explained
def logs(run: str | None, follow: bool, as_json: bool, address: str | None, insecure: bool) -> None:
    """Show what the detached run RUN has said: a job's id, or an output root, whose latest is taken; without one, that
    of this folder or its farm-out/. Of an attached run its ledger tells what it has done.
    """
    from farm.jobs import follow_log, read_log
    from farm.status import here

    worker = cluster_config(address, insecure=insecure)
    what = run if run is not None else here()
    if follow:
        job = follow_log(what, worker, _show_json if as_json else _show)
        if as_json:
            click.echo(json.dumps({"job": job and asdict(job)}))
        return
    job, text = read_log(what, worker)
    if as_json:
        click.echo(json.dumps({"job": job and asdict(job), "log": text}))
    else:
        _show(text)


def _show(text: str) -> None:
    click.echo(printable_lines(text.expandtabs()), nl=False)


def _show_json(text: str) -> None:
    click.echo(json.dumps({"log": text}))


@click.command(short_help="End a run in order; the same command finishes it.")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@cluster_options
@explained
def cancel(run: str, as_json: bool, address: str | None, insecure: bool) -> None:
    """End the run in the output root RUN, or the job of that id, and wait until it has ended: within some ten seconds.

    What is done stays done, and the same `farm submit` goes on with the rest.
    """
    from farm.jobs import cancel as end

    ended = end(run, cluster_config(address, insecure=insecure))
    if as_json:
        click.echo(json.dumps(asdict(ended)))
    elif ended.is_nothing:
        click.echo(printable(f"{ended.root}: nobody works there"), err=True)
    else:
        who = f"job {ended.job}" if ended.job else f"run {ended.run}"
        click.echo(printable(f"{ended.root}: {who} has ended; the same command does what is left"), err=True)


@click.command(short_help="End the head that --detach has started on this machine.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@explained
def down(as_json: bool) -> None:
    """Cancel what works on the head of this user on this machine, keep what its jobs have said, and end its processes:
    those that it has started, and no others. Other Rays stay.
    """
    from farm.jobs import down as end

    ended = end()
    if as_json:
        click.echo(json.dumps(asdict(ended)))
        return
    if ended.warning:
        click.echo(f"farm: {printable(ended.warning)}", err=True)
    if not ended.was_there:
        click.echo("no head of yours is on this machine", err=True)
        return
    for job in ended.jobs:
        click.echo(f"cancelled {job}; the same command does what is left", err=True)
    click.echo(f"the head has ended ({ended.processes} processes)", err=True)


JOB_COMMANDS: tuple[Any, ...] = (logs, cancel, down)
