"""The commands that make manifests and look at them: parse, call, print, exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from farm.config import MANIFEST_FORMS, MANIFEST_SORTS, SCAN_SORTS
from farm.console import explained, printable

if TYPE_CHECKING:
    from farm.catalog import CheckResult, Written


@click.command(short_help="Make a manifest of a folder, a prefix, a glob or another manifest.")
@click.argument("source")
@click.option("-o", "--output", required=True, help="Manifest to write: .parquet, .csv, .jsonl or .txt.")
@click.option("--root", help="What written paths are relative to. Default: the new manifest's own folder.")
@click.option("--absolute", is_flag=True, help="Write every path in full.")
@click.option("--sniff", is_flag=True, help="Tell pictures and films by their first bytes, not by their names.")
@click.option("--probe", is_flag=True, help="Read width and height from the headers.")
@click.option("--since", help="Only what changed since: 2026-01-31, 2026-01-31T18:00, or 36h, 7d, 2w ago.")
@click.option("--newer-than", help="Only what is not done in this results.parquet, as it is now.")
@click.option("--sort", type=click.Choice(SCAN_SORTS), help="By path, largest, newest or most urgent first.")
@explained
def scan(source: str, output: str, **flags: Any) -> None:
    """List the pictures and films of SOURCE, recursively, into a manifest.

    SOURCE is a folder, an s3:// or cos:// prefix, or a glob; of a manifest the sources are looked at again.
    """
    from farm import catalog

    _print_written(catalog.scan(catalog.ScanConfig(source=source, target=output, **flags)))


def _print_written(written: Written) -> None:
    for reason in written.reasons:
        click.echo(f"  {printable(reason)}", err=True)
    if written.left_out > len(written.reasons):
        click.echo(f"  and {written.left_out - len(written.reasons)} more", err=True)
    if written.dropped:
        click.echo(f"  columns left out: {printable(', '.join(sorted(written.dropped)))}", err=True)
    kinds = {kind.value: count for kind, count in written.kinds.items()}
    found = f"{kinds.get('image', 0)} pictures, {kinds.get('video', 0)} films, {written.bytes / 1e9:.2f} GB"
    more = [(written.unchanged, "unchanged"), (written.left_out, "left out"), (written.unsized, "of unknown size")]
    rest = "".join(f", {count} {what}" for count, what in more if count)
    if written.advice and written.rows:
        click.echo(f"farm: {printable(written.advice)}", err=True)
    parts = f" in {len(written.parts)} parts" if written.parts else ""
    click.echo(f"{written.rows} rows ({found}){rest}{parts}: {printable(written.url)}")


@click.group("manifest", short_help="Check, convert and split manifests.")
def manifest_group() -> None:
    """Manifests as files: Parquet, CSV, JSONL and meta_info text, on a disk or a store."""


@manifest_group.command("check", short_help="What is in a manifest, and what is wrong with it.")
@click.argument("manifest")
@click.option("--root", help="What relative paths of the manifest start from. Default: its own folder.")
@click.option("--stat", is_flag=True, help="Ask for every source whether it is there, and as the manifest says.")
@explained
def check_manifest(manifest: str, root: str | None, stat: bool) -> None:
    """Say what is in MANIFEST and what is wrong with it, by row and column.

    Exit code 65 where no run would start with it, 3 where rows of it would fail.
    """
    from farm import catalog

    result = catalog.check(catalog.CheckConfig(source=manifest, root=root, stat=stat))
    _print_check(result)
    sys.exit(result.exit_code)


def _print_check(result: CheckResult) -> None:
    click.echo(f"{result.rows} rows, {result.bytes / 1e9:.2f} GB")
    for title, counts in (("kind", result.kinds), ("task", result.tasks), ("model", result.models)):
        said = ", ".join(f"{printable(name) or 'as the run says'} {count}" for name, count in counts.most_common(20))
        more = f", and {len(counts) - 20} more" if len(counts) > 20 else ""
        click.echo(f"  {title:6} {said or 'none'}{more}")
    if result.later:
        click.echo(f"  {result.later} rows ask for what is not built in this version")
    complaints = (
        (result.errors, "wrong rows: no run would start"),
        (result.duplicates, "duplicates: no run would start"),
        (result.unsafe, "unsafe paths: these rows would fail"),
        (result.missing, "missing sources: these rows would fail"),
        (result.changed, "sources are not as the manifest says"),
    )
    for found, what in complaints:
        if not found.count:
            continue
        click.echo(f"{found.count} {what}", err=True)
        for message in found.named:
            click.echo(f"  {printable(message)}", err=True)
        if found.count > len(found.named):
            click.echo(f"  and {found.count - len(found.named)} more", err=True)


@manifest_group.command("convert", short_help="Write a manifest in another form or order.")
@click.argument("manifest")
@click.option("-o", "--output", required=True, help="Manifest to write: .parquet, .csv, .jsonl or .txt.")
@click.option("--root", help="What relative paths start from, in both. Default: each one's own folder.")
@click.option("--absolute", is_flag=True, help="Write every path in full.")
@click.option("--drop", is_flag=True, help="Leave out columns and rows that cannot be kept, instead of refusing.")
@click.option("--sort", type=click.Choice(MANIFEST_SORTS), help="By path, largest or most urgent first.")
@explained
def convert_manifest(manifest: str, output: str, **flags: Any) -> None:
    """Write MANIFEST in another form, or in another order, with everything that it says."""
    from farm import catalog

    _print_written(catalog.convert(catalog.ConvertConfig(source=manifest, target=output, **flags)))


@manifest_group.command("split", short_help="Cut a manifest into manifests.")
@click.argument("manifest")
@click.option("-o", "--output", required=True, help="Folder or prefix for the parts: part-00000.parquet and so on.")
@click.option("--rows", type=int, help="Rows of a part.")
@click.option("--parts", type=int, help="How many parts, of equal size.")
@click.option(
    "--form", type=click.Choice(MANIFEST_FORMS), default="parquet", show_default=True, help="Form of the parts."
)
@click.option("--root", help="What relative paths start from, in all. Default: each one's own folder.")
@click.option("--absolute", is_flag=True, help="Write every path in full.")
@click.option("--drop", is_flag=True, help="Leave out columns and rows that cannot be kept, instead of refusing.")
@explained
def split_manifest(manifest: str, output: str, **flags: Any) -> None:
    """Cut MANIFEST into parts that are manifests themselves, in its order."""
    from farm import catalog

    _print_written(catalog.split(catalog.SplitConfig(source=manifest, target=output, **flags)))
