"""`farm models`: what there is, what of it is here, and what a weight file holds."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from farm.console import explained, printable
from farm.errors import ModelError

if TYPE_CHECKING:
    from sr_kernel.models import ModelSpec

_PX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """One line of the list."""

    name: str
    official: str
    role: str
    """restore, train or face"""
    scale: int | None
    """None for what does not restore"""
    network: str
    parameters: int | None
    gflop_per_megapixel: float | None
    """of the source"""
    memory_bytes: int | None
    """of one window of 256 pixels in fp32, with the weights"""
    bytes: int | None
    licence: str
    confirmed: bool
    """the file's digest was seen in more than one independent source"""
    sha256: str | None
    path: str | None
    """where the file lies here"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """What one weight file holds."""

    file: str
    name: str
    network: str
    scale: int
    features: int
    blocks: int
    parameters: int | None
    gflop_per_megapixel: float | None
    halo_px: int | None
    bytes: int
    sha256: str
    known_as: str | None
    """the row of the table whose file this is, by its digest"""


@click.group("models", short_help="List, fetch, verify and describe models.", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models_group(context: click.Context, as_json: bool) -> None:
    """The models the farm knows by name; listed unless a command says otherwise."""
    if context.invoked_subcommand is None:
        context.invoke(list_models, weights_dir=None, as_json=as_json)


@models_group.command("list")
@click.option("--weights-dir", help="Folder to look in first. Also: FARM_WEIGHTS_DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def list_models(weights_dir: str | None, as_json: bool) -> None:
    """Every model: scale, network, parameters, work, memory, licence, and whether its weights are here.

    GFLOP are of a million source pixels; memory is that of one window of 256 pixels in fp32, with the weights.
    """
    from sr_kernel.models import ALIASES, MODELS

    lines = [_line(spec.name, weights_dir) for spec in MODELS.values()]
    if as_json:
        aliases = {alias.name: {"model": alias.model, "outscale": alias.outscale} for alias in ALIASES.values()}
        click.echo(json.dumps({"models": [asdict(line) for line in lines], "aliases": aliases}, indent=1))
        return
    _print_table([_HEAD, *(_cells(line) for line in lines)])
    means = (f"{a.name} = {a.model}{f' x{a.outscale:g}' if a.outscale else ''}" for a in ALIASES.values())
    click.echo(f"also known as: {', '.join(means)}")


@models_group.command("fetch")
@click.argument("names", nargs=-1, required=True)
@click.option("--weights-dir", help="Folder to look in first. Also: FARM_WEIGHTS_DIR.")
@explained
def fetch_models(names: tuple[str, ...], weights_dir: str | None) -> None:
    """Download weights and check their size and sha256; prints where they lie.

    A file whose digest nobody has confirmed is fetched too, and said to be so.
    """
    from farm import fetch

    for name in names:
        model = fetch.resolve(name, weights_dir)
        with click.progressbar(length=model.spec.bytes or 1, label=model.spec.name, file=sys.stderr) as bar:

            def show(done: int, total: int, bar: Any = bar) -> None:
                bar.length = total or bar.length
                bar.update(done - bar.pos)

            path = fetch.obtain(model, weights_dir, show, unverified=True)
        for note in fetch.resolve(name, weights_dir).notes:
            click.echo(f"farm: {printable(note)}", err=True)
        click.echo(printable(str(path)))


@models_group.command("verify")
@click.argument("names", nargs=-1)
@click.option("--weights-dir", help="Folder to look in first. Also: FARM_WEIGHTS_DIR.")
@explained
def verify_models(names: tuple[str, ...], weights_dir: str | None) -> None:
    """Check size and sha256 of the weights that are here, all unless named; exit 78 when one is wrong, or one
    that is named not here."""
    from farm import fetch
    from sr_kernel.models import MODELS

    wrong: list[str] = []
    for name in names or tuple(MODELS):
        spec = fetch.resolve(name, weights_dir).spec
        paths = [path for path in fetch.places(spec, weights_dir) if path.is_file()]
        if not paths:
            click.echo(f"{spec.name:24} not here")
            wrong += [f"{spec.name} is not here; `farm models fetch {spec.name}`"] if names else []
        for path in dict.fromkeys(paths):
            try:
                fetch.verify(spec, path)
            except ModelError as error:
                wrong.append(str(error))
                click.echo(f"{spec.name:24} wrong       {printable(str(path))}")
                continue
            said = "right" if spec.sha256 else "unconfirmed"
            click.echo(f"{spec.name:24} {said:11} {printable(str(path))}  {fetch.sha256_of(path)}")
    if wrong:
        raise ModelError("; ".join(wrong))


@models_group.command("info")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def info(file: str, as_json: bool) -> None:
    """What a weight FILE, or a name, is: network, scale, parameters, context, digest; exit 78 for what is none."""
    line = _described(file)
    if as_json:
        click.echo(json.dumps(asdict(line), indent=1))
        return
    for name, value in asdict(line).items():
        shown = "-" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else f"{value}"
        click.echo(f"{name:20} {printable(shown)}")


_HEAD = ("name", "scale", "network", "parameters", "GFLOP/Mpx", "memory", "file", "licence", "", "here")


def _line(name: str, weights_dir: str | None) -> ModelLine:
    from farm import fetch
    from sr_kernel.model_figures import parameters, window_bytes
    from sr_kernel.models import MODELS

    spec = MODELS[name]
    found = fetch.locate(spec, weights_dir)
    return ModelLine(
        name=spec.name,
        official=spec.official,
        role=spec.role,
        scale=spec.scale if spec.role == "restore" else None,
        network=_network(spec),
        parameters=parameters(spec),
        gflop_per_megapixel=_gflop(spec),
        memory_bytes=window_bytes(spec),
        bytes=spec.bytes or None,
        licence=spec.licence,
        confirmed=spec.confirmed,
        sha256=spec.sha256 or None,
        path=str(found) if found else None,
    )


def _described(file: str) -> FileLine:
    from farm import fetch
    from sr_kernel.model_figures import parameters
    from sr_kernel.models import FILE_PREFIX, MODELS, SEES_ALL_PX

    model = fetch.resolve(file)
    spec = model.spec
    if not spec.name.startswith(FILE_PREFIX) and model.path is None:
        raise ModelError(f"model {file}: its weights are not here; `farm models fetch {spec.name}` brings them")
    known = (row.name for row in MODELS.values() if row.sha256 == model.sha256 or row is spec)
    return FileLine(
        file=model.path or file,
        name=spec.name,
        network=_network(spec),
        scale=spec.scale,
        features=spec.features,
        blocks=spec.blocks,
        parameters=parameters(spec),
        gflop_per_megapixel=_gflop(spec),
        halo_px=spec.halo_px if spec.halo_px < SEES_ALL_PX else None,
        bytes=spec.bytes or os.path.getsize(model.path or file),
        sha256=model.sha256,
        known_as=next(known, None),
    )


def _network(spec: ModelSpec) -> str:
    """Its kind and its size in one word."""
    if spec.arch in ("rrdb", "srvgg"):
        return f"{spec.arch} {spec.features}x{spec.blocks}"
    return spec.network or spec.arch


def _gflop(spec: ModelSpec) -> float | None:
    from sr_kernel.model_figures import parameters
    from sr_kernel.models import flop_per_px

    return flop_per_px(spec) * _PX / 1e9 if parameters(spec) else None


def _cells(line: ModelLine) -> tuple[str, ...]:
    marks = [mark for mark in ({"train": "training only", "face": "faces"}.get(line.role), _unconfirmed(line)) if mark]
    return (
        line.name,
        f"x{line.scale}" if line.scale else "-",
        line.network,
        f"{line.parameters:,}" if line.parameters else "-",
        f"{line.gflop_per_megapixel:,.0f}" if line.gflop_per_megapixel else "-",
        f"{line.memory_bytes / 2**20:,.0f} MiB" if line.memory_bytes else "-",
        f"{line.bytes / 1e6:.1f} MB" if line.bytes else "-",
        line.licence,
        ", ".join(marks),
        printable(line.path) if line.path else "no",
    )


def _unconfirmed(line: ModelLine) -> str:
    return "" if line.confirmed else "sha256 unconfirmed"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as what is in them; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {3, 4, 5, 6}
    for row in rows:
        cells = (
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
