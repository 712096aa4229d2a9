"""The commands that make training data: parse, call, print, exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farm.config import LimitConfig, OutputConfig, PrepareConfig, RunConfig, degrade_options
from farm.console import explained, leave, printable
from farm.errors import ItemError, UsageError
from farm.flags import worker_config, worker_options
from farm.sample import (
    FORMS,
    DegradeOptions,
    FramesOptions,
    MetaInfoOptions,
    MultiscaleOptions,
    PairsOptions,
    StatsOptions,
    SubimagesOptions,
)
from farm.stop_flags import stop_config, time_options

if TYPE_CHECKING:
    from farm.prepare import Preparation

Command = TypeVar("Command", bound=Callable[..., Any])
_LIMITS = LimitConfig()
_MIB = 1 << 20
_JPEG = "By arithmetic, or by real JPEG bytes."
_SMALL = "What becomes of pictures smaller than the crop."
_SHARD_MIB = {"tree": 256, "tar": 256, "parquet": 256, "lmdb": 4096}
"""by form, what the files of a pack's samples may take together"""


def _common(command: Command) -> Command:
    """Flags of every command that makes training data."""
    options = (
        click.option("-o", "--out", help="Output root. Default: farm-out/ beside the manifest."),
        click.option("--root", help="What relative paths of the manifest start from. Default: its own folder."),
        click.option("--limit", type=int, help="Take only the first rows of the manifest."),
        click.option("--max-pixels", type=int, default=_LIMITS.max_pixels_in, show_default=True, help="Refuse more."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    )
    for option in reversed(options):
        command = option(command)
    return worker_options(time_options(command))


def pair_options(command: Command, *, per_image: int = 1) -> Command:
    """How pairs are made of a picture: what `degrade_options_of` takes."""
    count = click.option("--per-image", type=int, default=per_image, show_default=True, help="Pairs of each picture.")
    for option in reversed((*_PAIRS[:1], count, *_PAIRS[1:])):
        command = option(command)
    return command


def degrade_options_of(flags: Mapping[str, Any]) -> DegradeOptions:
    """From the values of `pair_options`."""
    from farm.recipes import load_recipe

    others = {name: flags[name] for name in ("per_image", "seed", "jpeg", "small")}
    return degrade_options(load_recipe(flags["recipe"], flags["gt_size"]), usm=not flags["no_usm"], **others)


def crop_options(command: Command) -> Command:
    """How pictures are cut into crops: what `subimages_options_of` takes."""
    for option in reversed(_CROPS):
        command = option(command)
    return command


def subimages_options_of(flags: Mapping[str, Any]) -> SubimagesOptions:
    """From the values of `crop_options`."""
    return SubimagesOptions(crop_px=flags["crop"], step_px=flags["step"], thresh_px=flags["thresh"])


_PAIRS = (
    click.option(
        "--recipe", default="x4plus", show_default=True, help="Of degradation: a name, or a .toml or BasicSR .yml file."
    ),
    click.option("--gt-size", type=int, help="Side of the good crops in pixels. Default: the recipe's."),
    click.option("--seed", type=int, default=0, show_default=True, help="Another one draws other pairs."),
    click.option("--jpeg", type=click.Choice(("diff", "codec")), default="diff", show_default=True, help=_JPEG),
    click.option("--small", type=click.Choice(("reflect", "skip")), default="reflect", show_default=True, help=_SMALL),
    click.option("--no-usm", is_flag=True, help="Do not keep the sharpened crops."),
)
_CROPS = (
    click.option("--crop", type=int, default=480, show_default=True, help="Side of subimages in pixels."),
    click.option("--step", type=int, default=240, show_default=True, help="Pixels from one subimage to the next."),
    click.option("--thresh", type=int, default=0, show_default=True, help="Pixels at a border that may be left out."),
)


@click.command(short_help="Make training pairs of good pictures by a degradation recipe.")
@click.argument("manifest")
@pair_options
@click.option("--form", type=click.Choice(FORMS), default="tree", show_default=True, help="How pairs are kept.")
@click.option("--shard-size", type=int, help="Most MiB of a shard. Default: 256, of LMDB 4096.")
@_common
@explained
def degrade(manifest: str, **flags: Any) -> None:
    """Cut good crops from the pictures of MANIFEST and degrade each: pairs to train restoration networks with.

    What is drawn depends on the seed, a picture's path below the root and the number of the pair alone. The same
    command again finishes what is left and does nothing when all is done.
    """
    _run(manifest, "degrade", PrepareConfig(form=flags["form"], degrade=degrade_options_of(flags)), flags)


@click.command(short_help="Look at what a degradation recipe does to pictures.")
@click.argument("manifest")
@partial(pair_options, per_image=2)
@click.option("--count", type=int, default=12, show_default=True, help="Pictures, spread evenly over the manifest.")
@click.option("-o", "--out", help="Folder of the sheet and the page. Default: farm-preview/ beside the manifest.")
@click.option("--root", help="What relative paths of the manifest start from. Default: its own folder.")
@click.option("--max-pixels", type=int, default=_LIMITS.max_pixels_in, show_default=True, help="Refuse more.")
@explained
def preview(manifest: str, **flags: Any) -> None:
    """Show what a recipe makes of some pictures of MANIFEST, with all that is drawn: preview.png and preview.html.

    On this machine, without a cluster. `farm degrade` makes these very pairs with the same flags.
    """
    from farm.preview import PreviewConfig
    from farm.preview import preview as look

    others = {name: flags[name] for name in ("out", "root", "count", "max_pixels")}
    options = degrade_options_of(flags)
    made = look(PreviewConfig(manifest=manifest, options=options, recipe=flags["recipe"], **others))
    for message in made.failures:
        click.echo(f"  {printable(message)}", err=True)
    click.echo(f"{made.pairs} pairs, {len(made.failures)} pictures without", err=True)
    click.echo(printable(made.sheet))
    click.echo(printable(made.page))
    leave(0 if made.pairs else ItemError.exit_code, stopped=False)


@click.group("prepare", short_help="Make training data of pictures and films.")
def prepare_group() -> None:
    """What upstream's scripts do to a folder, on the farm: resumable, with names that upstream's readers take."""


@prepare_group.command("subimages", short_help="Overlapping crops.")
@click.argument("manifest")
@crop_options
@_common
@explained
def subimages(manifest: str, **flags: Any) -> None:
    """Cut the pictures of MANIFEST into overlapping crops, NAME_s001.png and so on, below OUT/images."""
    _run(manifest, "subimages", PrepareConfig(subimages=subimages_options_of(flags)), flags)


@prepare_group.command("multiscale", short_help="Smaller versions.")
@click.argument("manifest")
@click.option("--scales", default="0.75,0.5,1/3", show_default=True, help="Sizes of the versions T0, T1, ...")
@click.option("--shortest", type=int, default=400, show_default=True, help="Shortest edge of the last; 0: without it.")
@_common
@explained
def multiscale(manifest: str, **flags: Any) -> None:
    """Make smaller versions of the pictures of MANIFEST, NAMET0.png and so on, below OUT/images."""
    try:
        scales = tuple(float(Fraction(part.strip())) for part in flags["scales"].split(",") if part.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--scales: {flags['scales']!r} is no list of numbers such as 0.75,1/3") from error
    options = MultiscaleOptions(scales=scales, shortest_px=flags["shortest"])
    _run(manifest, "multiscale", PrepareConfig(multiscale=options), flags)


@prepare_group.command("frames", short_help="Single pictures of films.")
@click.argument("manifest")
@click.option(
    "--pick",
    type=click.Choice(("every", "scene", "sharpest")),
    default="every",
    show_default=True,
    help="Each n-th frame, the first of each scene, or the sharpest of each n.",
)
@click.option("--every", type=int, default=30, show_default=True, help="The n.")
@click.option(
    "--scene-change", type=float, default=0.3, show_default=True, help="Share of brightness that a cut changes, 0 to 1."
)
@click.option("--most", type=int, default=0, show_default=True, help="Frames of a film at most; 0: no bound.")
@_common
@explained
def frames(manifest: str, **flags: Any) -> None:
    """Take single pictures of the films of MANIFEST, NAME_f00000123.png and so on, below OUT/images."""
    options = FramesOptions(**{name: flags[name] for name in ("pick", "every", "scene_change", "most")})
    _run(manifest, "frames", PrepareConfig(frames=options), flags)


@prepare_group.command("meta-info", short_help="A list of pictures.")
@click.argument("manifest")
@click.option("--check", is_flag=True, help="Decode every picture.")
@_common
@explained
def meta_info(manifest: str, **flags: Any) -> None:
    """List the pictures of MANIFEST that can be read in OUT/meta_info.txt, for upstream's training."""
    _run(manifest, "meta-info", PrepareConfig(meta_info=MetaInfoOptions(check=flags["check"])), flags)


@prepare_group.command("pairs", short_help="A list of pairs.")
@click.argument("manifest")
@click.option("--scale", type=int, default=0, show_default=True, help="Of all pairs; 0: any, the same for all.")
@click.option("--no-check", is_flag=True, help="Do not compare the sizes of good and poor pictures.")
@_common
@explained
def pairs(manifest: str, **flags: Any) -> None:
    """List the pairs of MANIFEST, a manifest with the columns source and lq, in OUT/meta_info_pairs.txt."""
    options = PairsOptions(scale=flags["scale"], check=not flags["no_check"])
    _run(manifest, "pairs", PrepareConfig(pairs=options), flags)


@prepare_group.command("stats", short_help="What each picture is, and which are the same.")
@click.argument("manifest")
@click.option("--near-bits", type=int, default=3, show_default=True, help="Bits in which near duplicates may differ.")
@_common
@explained
def stats(manifest: str, **flags: Any) -> None:
    """Measure the pictures of MANIFEST, a line each in OUT/stats.parquet: size, sharpness, JPEG quality, duplicates."""
    _run(manifest, "stats", PrepareConfig(stats=StatsOptions(near_bits=flags["near_bits"])), flags)


@prepare_group.command("filter", short_help="Choose pictures by a rule.")
@click.argument("stats")
@click.option("--rule", required=True, help="Such as 'width >= 400 and blur > 100 and not near_duplicate'.")
@click.option("-o", "--output", required=True, help="Manifest to write: .parquet, .csv, .jsonl or .txt.")
@click.option("--root", help="What written paths are relative to. Default: the new manifest's own folder.")
@explained
def filter_sources(stats: str, rule: str, output: str, root: str | None) -> None:
    """Write a manifest of the pictures of STATS, which `farm prepare stats` has made, that a rule keeps.

    A rule compares columns of stats.parquet with and, or, not, in, is None, + - * / and min, max, abs. A comparison
    with what is not known is false.
    """
    from farm import dataset

    chosen = dataset.choose(stats, rule, output, root)
    unread = f", {chosen.unread} without figures" if chosen.unread else ""
    click.echo(f"{chosen.kept} kept, {chosen.left_out} left out{unread}: {printable(chosen.url)}")


def _run(manifest: str, operation: str, prepare: PrepareConfig, flags: dict[str, Any]) -> None:
    from farm.prepare import prepare_manifest

    asked = flags.get("shard_size")
    shard_mib = _SHARD_MIB[prepare.form] if asked is None else asked
    if shard_mib < 1:
        raise UsageError(f"--shard-size: {shard_mib} is below 1")
    config = RunConfig(
        manifest=manifest,
        root=flags["root"],
        output=OutputConfig(out=flags["out"]),
        worker=worker_config(flags),
        limits=LimitConfig(max_pixels_in=flags["max_pixels"], limit=flags["limit"]),
        prepare=prepare,
        stop=stop_config(flags),
        quiet=flags["quiet"],
    )
    prepared = prepare_manifest(config, operation, shard_mib * _MIB)
    _print(prepared, quiet=flags["quiet"])
    leave(prepared.exit_code, stopped=prepared.summary.signum is not None)


def _print(prepared: Preparation, *, quiet: bool) -> None:
    from farm.progress import duration

    counted, summary = prepared.counted, prepared.summary
    if quiet and not prepared.exit_code:
        return
    if counted is None:
        for message in summary.failures:
            click.echo(f"  {printable(message)}", err=True)
        click.echo(f"{summary.done + summary.reused} of {summary.rows} packs are done", err=True)
        stopped = f"stopped by {summary.stopped}; " if summary.stopped else ""
        click.echo(f"{stopped}run the same command again to finish", err=True)
        return
    for message in counted.failures:
        click.echo(f"  {printable(message)}", err=True)
    if counted.failed > len(counted.failures):
        click.echo(
            f"  and {counted.failed - len(counted.failures)} more: see {printable(counted.out)}/sources", err=True
        )
    for what, counts in (("left out or failed", counted.reasons), ("rules", counted.rules)):
        if counts:
            said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            click.echo(f"{what}: {printable(said)}", err=True)
    made = f"{counted.samples} samples of " if counted.has_samples else ""
    size = f", {counted.bytes / 1e6:.1f} MB" if counted.has_samples else ""
    click.echo(
        f"{made}{counted.done} sources done, {counted.skipped} skipped, {counted.failed} failed, "
        f"in {counted.parts} parts{size}, {duration(summary.seconds)}",
        err=True,
    )
    for url in [counted.out] if counted.has_samples else counted.lists:
        click.echo(printable(url))
