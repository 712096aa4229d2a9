"""The command line: parse, call, print, exit code. No logic, and nothing heavy imported before it is needed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from typing import Any

import click

from farm import __version__
from farm.ask import Asker, planned_lines
from farm.canary_flags import CANARY_FIELDS, canary_config, canary_options
from farm.config import (
    ALPHAS,
    AUDIOS,
    CODECS,
    DECODERS,
    ENCODERS,
    FILM_CONTAINERS,
    FORMATS,
    PAGES,
    PRECISIONS,
    RESIZES,
    LimitConfig,
    ModelConfig,
    OutputConfig,
    PrepareConfig,
    RunConfig,
    VideoConfig,
)
from farm.console import explained, leave, printable, printable_lines, without_pandas
from farm.errors import UsageError
from farm.flags import Rate, Share, worker_config, worker_options
from farm.job_commands import JOB_COMMANDS, RememberingCommand, submit_detached, words_without
from farm.manifest_commands import manifest_group, scan
from farm.model_commands import models_group
from farm.preparation_commands import (
    crop_options,
    degrade,
    degrade_options_of,
    pair_options,
    prepare_group,
    preview,
    subimages_options_of,
)
from farm.restore_flags import face_config, fidelity_config, restore_fields, restore_options
from farm.serve_commands import serve
from farm.stop_flags import stop_config, stop_options
from farm.training_commands import train
from farm.watch_commands import list_roots, print_forecast, print_rates, report, status

_MODEL, _OUTPUT, _VIDEO, _LIMITS = ModelConfig(), OutputConfig(), VideoConfig(), LimitConfig()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="farm")
def main() -> None:
    """Batch super-resolution: a manifest of pictures and films in, restored ones and a result manifest out."""


@main.command(cls=RememberingCommand, short_help="Restore a manifest, a folder, a glob, one picture or one film.")
@click.argument("manifest")
@click.option(
    "-m",
    "--model",
    default=_MODEL.model,
    show_default=True,
    help="A name of `farm models`, or a weight file, also s3://BUCKET/NAME.pth#sha256=HEX.",
)
@click.option("-o", "--out", help="Output root. Default: farm-out/ beside the manifest.")
@click.option("-s", "--outscale", type=float, help="Final scale, 0.25 to 16, such as 3.5. Default: the model's own.")
@worker_options
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="same", show_default=True, help="Output format."
)
@click.option("--quality", type=int, default=95, show_default=True, help="1 to 100, for jpg, webp and avif.")
@click.option(
    "--name", default=_OUTPUT.name, show_default=True, help="Output name: {stem} {model} {scale} {ext} {row}."
)
@click.option("--suffix", help="Short for --name '{stem}_SUFFIX.{ext}'.")
@click.option("--no-stamp", is_flag=True, help="Do not write model and parameters into the outputs (XMP).")
@click.option(
    "--denoise", type=float, help="0 to 1; below 1 keeps more grain (general-x4v3). Default: the model's, 0.5 there."
)
@click.option("--alpha", type=click.Choice(ALPHAS), default="model", show_default=True, help="What restores alpha.")
@click.option(
    "--resize", type=click.Choice(RESIZES), default="lanczos", show_default=True, help="How --outscale is reached."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True, help="Arithmetic of the network."
)
@click.option(
    "--tile-px",
    type=int,
    default=_MODEL.tile_px,
    show_default=True,
    help="Largest tile, in source pixels; 0 means 512 for compact models on a GPU, else 256.",
)
@click.option(
    "--exact-px",
    type=int,
    default=_MODEL.exact_px,
    show_default=True,
    help="RRDB pictures above this: bounded tiles.",
)
@click.option(
    "--band-px",
    type=int,
    default=_MODEL.band_px,
    show_default=True,
    help="Pictures above this go to several workers.",
)
@click.option(
    "--batch", type=int, default=0, show_default=True, help="Tiles a forward pass; 0 means 8 on GPU, 1 on CPU."
)
@restore_options
@click.option("--weights-dir", help="Folder with weight files. Also: FARM_WEIGHTS_DIR.")
@click.option("--root", help="What relative paths of the manifest start from. Default: its own folder.")
@click.option("--limit", type=int, help="Take only the first rows.")
@click.option(
    "--pages", type=click.Choice(PAGES), default="refuse", show_default=True, help="Sources of several pages or frames."
)
@click.option("--codec", type=click.Choice(CODECS), default="auto", show_default=True, help="Films: codec.")
@click.option("--crf", type=int, help="Films: quality, lower is better. Default: the codec's own.")
@click.option("--preset", help="Films: the encoder's preset, such as slow.")
@click.option("--pix-fmt", default="auto", show_default=True, help="Films: pixel format; auto keeps depth and chroma.")
@click.option("--fps", type=Rate(), help="Films: another rate, such as 25 or 24000/1001. Default: times stay.")
@click.option(
    "--container", type=click.Choice(FILM_CONTAINERS), default="same", show_default=True, help="Films: container."
)
@click.option(
    "--segment-frames", type=int, default=_VIDEO.segment_frames, show_default=True, help="Films: frames of a segment."
)
@click.option("--audio", type=click.Choice(AUDIOS), default="copy", show_default=True, help="Films: sound.")
@click.option("--deinterlace", is_flag=True, help="Films: deinterlace (bwdif); interlaced films are refused without.")
@click.option("--salvage", is_flag=True, help="Publish what a cut film or picture still holds, with a mark.")
@click.option("--allow-damaged", is_flag=True, help="Films: go on over damaged frames and list them.")
@click.option("--tag-colours", is_flag=True, help="Films: name the colour matrix that was assumed if none was named.")
@click.option("--encoder", type=click.Choice(ENCODERS), default="software", show_default=True, help="Films: encoder.")
@click.option("--decoder", type=click.Choice(DECODERS), default="software", show_default=True, help="Films: decoder.")
@click.option(
    "--max-pixels", type=int, default=_LIMITS.max_pixels_in, show_default=True, help="Larger sources are refused."
)
@click.option(
    "--max-pixels-out",
    type=int,
    default=_LIMITS.max_pixels_out,
    show_default=True,
    help="Larger outputs are refused.",
)
@click.option("--verify-inputs", is_flag=True, help="Read every source that is done; redo those that changed.")
@click.option("--verify-outputs", is_flag=True, help="Read every output that is done; redo those that changed.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; start and write nothing.")
@pair_options
@crop_options
@stop_options
@canary_options
@click.option("--detach", is_flag=True, help="Hand the run to a Ray that stays, print its job, and end; `farm logs`.")
@click.option("--json", "as_json", is_flag=True, help="Lines of JSON while it works; with --detach one object.")
@click.option("-q", "--quiet", is_flag=True, help="Print only when something is wrong.")
@explained
def submit(manifest: str, **flags: Any) -> None:
    """Restore MANIFEST: a Parquet, CSV, JSONL or txt manifest, a folder, a glob, one picture or one film.

    The same command again finishes what is left and does nothing when all is done.
    """
    config = _config(manifest, flags)
    if flags["as_json"] and (config.dry_run or (config.quiet and not flags["detach"])):
        raise UsageError("--json: says what a run does while it works, so not with --quiet or --dry-run; leave one out")
    if config.dry_run:
        _print_plan(config)
        return
    if flags["detach"]:
        config.canary.check_unattended()
        submit_detached(config, words_without("--detach", "--json", valued="--metrics-port"), as_json=flags["as_json"])
        return
    from farm.begin import run_locked

    asker = Asker(quiet=config.quiet or config.json, as_json=config.json)
    summary = run_locked(config, asker, when_held=without_pandas)
    asker.end(summary)
    if config.json:
        click.echo(json.dumps({"event": "end", **asdict(summary), "exit_code": summary.exit_code}))
    else:
        _print_summary(summary, quiet=config.quiet)
    leave(summary.exit_code, stopped=summary.signum is not None)


def _plan(manifest: str | None, rate: str | None, measure: str | None, *, as_json: bool, **flags: Any) -> None:
    """Say what MANIFEST would take: rows, pixels, hours, bytes, memory, and what would be refused.

    All flags of `farm submit` count. Nothing is started and no output root is touched; a model is timed here for some
    seconds, unless --rate names a file that --measure has written, on this machine or another.
    """
    from farm import forecast

    if measure is not None:
        if manifest is not None or rate is not None:
            raise UsageError("--measure: only times the models and writes FILE; leave MANIFEST and --rate out")
        found = forecast.measure_models(_config(".", flags))
        print_rates(found)
        click.echo(printable(forecast.write_rates(measure, found)))
        return
    if manifest is None:
        raise UsageError("MANIFEST: missing; name what is to be restored, or --measure FILE")
    config = _config(manifest, flags)
    print_forecast(forecast.forecast(config, forecast.read_rates(rate) if rate else None), as_json=as_json)


_PLAN_OPTIONS = (
    click.Argument(["manifest"], required=False),
    click.Option(["--rate"], metavar="FILE", help="Rates that were measured before, instead of timing models now."),
    click.Option(["--measure"], metavar="FILE", help="Only time the models and write their rates."),
    click.Option(["--json", "as_json"], is_flag=True, help="One object of JSON."),
)
_OF_RUNS_ALONE = ("manifest", "dry_run", "quiet", "detach", "as_json", *CANARY_FIELDS)
"""parameters of submit that plan has not"""
plan = click.Command(
    "plan",
    callback=explained(_plan),
    params=[*_PLAN_OPTIONS, *(param for param in submit.params if param.name not in _OF_RUNS_ALONE)],
    help=_plan.__doc__,
    short_help="What a manifest would take: hours, bytes, memory, refusals.",
)


def _config(manifest: str, flags: dict[str, Any]) -> RunConfig:
    name = flags["name"]
    if flags["suffix"] is not None:
        if name != _OUTPUT.name:
            raise UsageError("--suffix: contradicts --name; give one of them")
        name = f"{{stem}}_{flags['suffix']}.{{ext}}" if flags["suffix"] else "{stem}.{ext}"
    model = ModelConfig(
        **{key: flags[key] for key in ("model", "denoise", "outscale", "resize", "alpha", "precision")},
        **{key: flags[key] for key in ("tile_px", "exact_px", "band_px", "batch", "weights_dir")},
        **restore_fields(flags),
    )
    output = OutputConfig(
        out=flags["out"], format=flags["format_"], quality=flags["quality"], name=name, stamp=not flags["no_stamp"]
    )
    worker = worker_config(flags)
    limits = LimitConfig(
        max_pixels_in=flags["max_pixels"],
        max_pixels_out=flags["max_pixels_out"],
        limit=flags["limit"],
        pages=flags["pages"],
    )
    config = RunConfig(manifest=manifest, root=flags["root"], model=model, output=output, worker=worker, limits=limits)
    switches = {name: flags.get(name, False) for name in ("verify_inputs", "verify_outputs", "dry_run", "quiet")}
    prepare = PrepareConfig(degrade=degrade_options_of(flags), subimages=subimages_options_of(flags))
    switches["json"] = flags.get("as_json", False) and not flags["detach"]
    switches |= {"stop": stop_config(flags), "canary": canary_config(flags)}
    looks = {"face": face_config(flags), "fidelity": fidelity_config(flags)}
    return replace(config, video=_video_config(flags), prepare=prepare, **looks, **switches)


def _video_config(flags: dict[str, Any]) -> VideoConfig:
    names = ("codec", "crf", "preset", "pix_fmt", "fps", "container", "segment_frames", "audio", "deinterlace")
    more = ("salvage", "allow_damaged", "tag_colours", "encoder", "decoder")
    return VideoConfig(**{name: flags[name] for name in (*names, *more)})


def _print_plan(config: RunConfig) -> None:
    from farm.run import dry_run
    from farm.summary import RowState

    planned = dry_run(config)
    states = planned.survey.states
    click.echo(
        f"{planned.survey.rows} rows: {states[RowState.PENDING]} to do, {states[RowState.REUSED]} done before, "
        f"{states[RowState.SETTLED]} failed before, {states[RowState.REFUSED]} refused"
    )
    for row in planned.survey.refused:
        click.echo(f"  {printable(str(row.error))}")
    click.echo(f"models: {', '.join(sorted(planned.survey.models)) or 'none needed'}")
    if config.canary.sample is not None:
        from farm.canary import plan_sample

        for line in planned_lines(plan_sample(config)):
            click.echo(printable(line))
    click.echo(f"output: {printable(planned.out)}")


def _print_summary(summary: Any, *, quiet: bool) -> None:
    from farm.progress import duration, pixel_rate
    from farm.summary import SAMPLE, SUSPECT_LIMIT

    if quiet and summary.exit_code == 0:
        return
    rate = f" ({pixel_rate(summary.source_px / summary.seconds)})" if summary.done and summary.source_px else ""
    if summary.frames:
        rate = f" ({summary.frames} frames, {summary.frames / summary.seconds:.2f} a second)"
    counts = [f"{summary.done} done"]
    counts += [f"{number} {what}" for number, what in _other_counts(summary) if number]
    if summary.warning:
        click.echo(f"farm: {printable(summary.warning)}", err=True)
    for message in (*summary.warnings, *summary.failures):
        click.echo(f"  {printable(message)}", err=True)
    hidden = summary.warned - len(summary.warnings) + summary.failed - len(summary.failures)
    if hidden > 0:
        click.echo(f"  and {hidden} more: see {printable(summary.results)}", err=True)
    click.echo(f"{', '.join(counts)} of {summary.rows} in {duration(summary.seconds)}{rate}", err=True)
    click.echo(printable(summary.outputs[0] if summary.rows == 1 and summary.outputs else summary.results))
    if summary.signum:
        click.echo("stopped; run the same command again to finish", err=True)
    elif summary.failures_stopped:
        click.echo(f"stopped by {summary.stopped}: too many rows failed; {summary.left} left", err=True)
    elif summary.stopped in (SAMPLE, SUSPECT_LIMIT):
        more = "with --yes" if summary.stopped == SAMPLE else f"with --yes instead of {SUSPECT_LIMIT}"
        click.echo(
            f"stopped by {summary.stopped}; {summary.left} left; the same command {more}, or without --sample, goes on",
            err=True,
        )
    elif summary.stopped:
        click.echo(f"stopped by {summary.stopped}; {summary.left} left; run the same command again", err=True)


def _other_counts(summary: Any) -> list[tuple[int, str]]:
    return [
        (summary.reused, "done before"),
        (summary.skipped, "skipped"),
        (summary.failed, "failed"),
        (summary.left, "left"),
    ]


main.add_command(scan)
main.add_command(manifest_group)
main.add_command(models_group)
main.add_command(degrade)
main.add_command(preview)
main.add_command(prepare_group)
main.add_command(plan)
main.add_command(report)
main.add_command(status)
main.add_command(list_roots)
main.add_command(train)
main.add_command(serve)
for command in JOB_COMMANDS:
    main.add_command(command)


@main.command(short_help="Remove what killed runs left in an output root.")
@click.argument("out")
@explained
def gc(out: str) -> None:
    """Remove from OUT staged files, open uploads and pieces that no run will use again; nothing that is not ours."""
    from farm.gc import collect

    found = collect(out)
    if found.warning:
        click.echo(f"farm: {printable(found.warning)}", err=True)
    strays = f", {found.strays} stray files removed" if found.strays else ""
    click.echo(
        f"{found.attempts} dead attempts cleared, {found.uploads} open uploads aborted, "
        f"{found.pieces} pieces removed ({found.bytes / 1e6:.1f} MB){strays}"
    )


@main.command(short_help="Read outputs and compare them with what the ledger says.")
@click.argument("run")
@click.option("--subset", type=Share(), default=(1, 1), help="One share of all outputs, such as 3/7. Default: all.")
@click.option("--workers", type=int, help="Threads that read and decode. Default: two a core.")
@click.option("--no-decode", is_flag=True, help="Compare sizes and digests alone.")
@click.option("-q", "--quiet", is_flag=True, help="Print only when something is wrong.")
@explained
def verify(run: str, subset: tuple[int, int], workers: int | None, no_decode: bool, quiet: bool) -> None:
    """Read every output that is done in the output root RUN: it must have the recorded size and digest, and decode to
    the recorded width, height and frames. Exit code 3 when one is damaged or missing; each is named. Where none is, but
    some cannot be read just now, it is that of their disk (74), store (69) or rights (77).

    Each output is in exactly one of the T shares of --subset N/T, so that T nights read all. Writes nothing.
    """
    from farm.progress import Lines, duration
    from farm.verify import VerifyConfig, verify

    config = VerifyConfig(root=run, share=subset[0], shares=subset[1], workers=workers, decode=not no_decode)
    with Lines(quiet=quiet) as lines:
        found = verify(config, lambda so_far: lines.show(str(so_far)))
    for message in (message for one in found.named for message in one.messages):
        click.echo(f"  {printable(message)}", err=True)
    if found.damaged > len(found.named):
        click.echo(f"  and {found.damaged - len(found.named)} more", err=True)
    for error in found.refused:
        click.echo(f"  not read: {printable(str(error))}", err=True)
    if found.exit_code or not quiet:
        click.echo(f"{found} in {duration(lines.seconds)}", err=bool(found.exit_code))
    sys.exit(found.exit_code)


@main.command(short_help="What this machine has and what is missing; with OUT: what that store can do.")
@click.argument("out", required=False)
@explained
def doctor(out: str | None) -> None:
    """Look at Python, Ray, torch, GPUs, codecs, weights and storage; say what is missing and how to get it.

    With an output root OUT, try instead what its disk or store can do, with a small object below OUT/.farm/.
    """
    from farm.doctor import examine, examine_root

    for finding in examine_root(out) if out else examine():
        click.echo(printable_lines(str(finding)))


if __name__ == "__main__":
    main()
