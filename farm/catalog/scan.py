"""A folder, a prefix, a glob or another manifest, looked at and written as a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from farm import storage
from farm.catalog import changed
from farm.catalog.ahead import map_ahead
from farm.catalog.forms import form_named, open_table
from farm.catalog.item import Base, Item, Written
from farm.catalog.look import look
from farm.catalog.old import OldManifest
from farm.catalog.order import SORTS, in_order
from farm.catalog.sink import Sink
from farm.catalog.table import Column, known_columns
from farm.config import SCAN_SORTS
from farm.errors import DiskError, ItemError, UsageError
from farm.kinds import MediaKind, is_sequence
from farm.manifest import FILE_FORMS, InputForm, canonical, default_out, form_of, row_of_found
from farm.manifest.listing import Choice, Everything, Pattern, iter_found, split_glob
from farm.records import RefusedRow

Found = Item | RefusedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanConfig:
    """What is listed, what is left out, and how it is written."""

    source: str
    """a folder, a prefix, a glob or a manifest"""
    target: str
    root: str | None = None
    """what written sources are relative to; the target's own folder unless given"""
    absolute: bool = False
    """write every source in full"""
    sniff: bool = False
    """believe the first bytes of each file rather than its extension"""
    probe: bool = False
    """read width and height from headers"""
    since: str | None = None
    newer_than: str | None = None
    """results.parquet of an earlier run, or its output root"""
    sort: str | None = None

    def __post_init__(self) -> None:
        form_named(self.target)
        if self.absolute and self.root is not None:
            raise UsageError("--absolute: contradicts --root; give one of them")
        if self.sort is not None and self.sort not in SCAN_SORTS:
            raise UsageError(f"--sort: {self.sort!r} is not one of {', '.join(SCAN_SORTS)}")
        form = form_of(self.source)
        if form is InputForm.MEDIUM:
            raise UsageError(f"scan: {self.source!r} is no folder, prefix, glob or manifest; name one")


def scan(config: ScanConfig) -> Written:
    """Write the manifest and say what is in it. Raises FarmError, and then leaves nothing."""
    written = Written(url=canonical(config.target))
    names = ["source", "kind", "bytes", "etag", *(["width", "height"] if config.probe else [])]
    if form_of(config.source) in FILE_FORMS:
        old = OldManifest(config.source, config.root, written, drop=True)
        found = map_ahead(_as_it_is, old.items())
        columns = [*known_columns([*names, *old.names]), *old.own]
    else:
        root, choice = _place(config)
        found = _listed(config, root, choice)
        written.advice = _advice(config, root, written)
        columns = known_columns([name for name in names if name != "etag" or storage.is_remote(config.source)])
    items = _wanted(found, config, written)
    if config.sniff or config.probe:
        items = _looked_into(items, config, written)
    if config.sort is not None:
        items = in_order(items, SORTS[config.sort])
    _write(items, columns, config, written)
    return written


def _write(items: Iterator[Item], columns: Sequence[Column], config: ScanConfig, written: Written) -> None:
    base = Base(None if config.absolute else config.root or storage.parent(written.url))
    with open_table(config.target, columns) as table:
        # Text of paths and sizes is asked for by its extension: that it holds nothing else is no news.
        sink = Sink(table, base, written, drop=form_named(config.target) == "txt")
        for item in items:
            sink.write(item)


def _wanted(found: Iterator[Found], config: ScanConfig, written: Written) -> Iterator[Item]:
    """What is to be done: no refused row, nothing that is old."""
    since = None if config.since is None else changed.since_ns(config.since, datetime.now().astimezone())
    finished = None if config.newer_than is None else changed.Finished(config.newer_than)
    for item in found:
        if isinstance(item, RefusedRow):
            written.leave_out(item)
        elif (since is not None and not changed.is_since(item, since)) or (finished and finished.has(item)):
            written.unchanged += 1
        else:
            yield item


def _looked_into(items: Iterator[Item], config: ScanConfig, written: Written) -> Iterator[Item]:
    for looked in look(items, sniff=config.sniff, probe=config.probe):
        if looked.refused is not None:
            written.leave_out(looked.refused)
        elif looked.item is not None:
            written.unsized += not looked.is_sized
            yield looked.item


def _place(config: ScanConfig) -> tuple[str, Choice]:
    """The folder or prefix that is listed, and what of it is taken."""
    place = canonical(config.source)
    if form_of(config.source) is not InputForm.GLOB:
        return place, Everything(any_name=config.sniff)
    folder, pattern = split_glob(place)
    return canonical(folder), Pattern(pattern, any_name=config.sniff)


def _advice(config: ScanConfig, root: str, written: Written) -> str | None:
    """What whoever has run the source itself, or will, should know: a manifest elsewhere has another root."""
    if config.absolute or config.root is not None or root == storage.parent(written.url):
        return None
    return (
        f"its outputs will lie elsewhere than those of `farm submit {config.source}`; to have them at the same place,"
        f" give --root {root} here and to farm submit"
    )


def _listed(config: ScanConfig, root: str, choice: Choice) -> Iterator[Found]:
    for index, found in enumerate(iter_found(root, default_out(config.source), choice)):
        row = row_of_found(index, root, found)
        if isinstance(row, RefusedRow):
            yield row
        else:
            values: dict[str, object] = {"kind": row.kind, "bytes": row.bytes, "etag": row.etag}
            yield Item(row=row, values=values, mtime_ns=found.mtime_ns)


def _as_it_is(item: Item) -> Found:
    """A row of a manifest with what its store says of it now."""
    row = item.row
    values = {"kind": row.kind, **item.values}
    if row.kind is MediaKind.VIDEO and is_sequence(row.source_url):  # many files
        return replace(item, values=values)
    try:
        stat = storage.stat(row.source_url)
    except ItemError as error:
        if error.kind.retryable:
            raise DiskError(f"scan: {error.url}: {error.found}; {error.advice}") from error
        return RefusedRow(index=row.index, source=row.source_url, error=error)
    row = replace(row, bytes=stat.bytes, etag=stat.etag or row.etag)
    values |= {"bytes": row.bytes, "etag": row.etag}
    return replace(item, row=row, values=values, mtime_ns=stat.mtime_ns)
