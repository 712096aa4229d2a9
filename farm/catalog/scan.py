"""A folder, a prefix, a glob or another manifest, looked at and written as a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from farm import storage
from farm.catalog import changed
from farm.catalog.ahead import map_ahead
from farm.catalog.forms import form_named, open_table
from farm.catalog.item import Base, Item, Written
from farm.catalog.look import look
from farm.catalog.order import SORTS, in_order
from farm.catalog.sink import Sink
from farm.catalog.table import TYPES, Column, columns_of, known_columns
from farm.config import SCAN_SORTS
from farm.errors import DiskError, ItemError, UsageError
from farm.kinds import MediaKind, is_sequence
from farm.manifest import FILE_FORMS, InputForm, canonical, default_out, files, form_of, row_of_found
from farm.manifest.listing import Choice, Everything, Pattern, iter_found, split_glob
from farm.manifest.rows import Entry
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
    items = _wanted(_listed(config), config, written)
    if config.sniff or config.probe:
        items = _looked_into(items, config, written)
    if config.sort is not None:
        items = in_order(items, SORTS[config.sort])
    base = Base(None if config.absolute else config.root or storage.parent(written.url))
    with open_table(config.target, _columns(config)) as table:
        # Text of paths and sizes is asked for by its extension: that it holds nothing else is no news.
        sink = Sink(table, base, written, drop=form_named(config.target) == "txt")
        for item in items:
            sink.write(item)
    return written


def _columns(config: ScanConfig) -> list[Column]:
    """What is written of every row: the listing's columns, with those of a manifest that is listed."""
    place = canonical(config.source)
    names = ["source", "kind", "bytes", *(["width", "height"] if config.probe else [])]
    if form_of(config.source) not in FILE_FORMS:
        return known_columns([*names, *(["etag"] if storage.is_remote(place) else [])])
    found = columns_of(files.read_columns(place))
    own = [column for column in found if column.name not in TYPES]
    return [*known_columns([*names, "etag", *(column.name for column in found)]), *own]


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


def _listed(config: ScanConfig) -> Iterator[Found]:
    place = canonical(config.source)
    if form_of(config.source) in FILE_FORMS:
        own = files.own_names(files.read_columns(place))
        return map_ahead(_as_it_is, files.read_entries(place, config.root or storage.parent(place), own=own))
    choice: Choice = Everything(any_name=config.sniff)
    if form_of(config.source) is InputForm.GLOB:
        place, pattern = split_glob(place)
        choice = Pattern(pattern, any_name=config.sniff)
    return _of_listing(canonical(place), default_out(config.source), choice)


def _of_listing(root: str, out: str, choice: Choice) -> Iterator[Found]:
    for index, found in enumerate(iter_found(root, out, choice)):
        row = row_of_found(index, root, found)
        if isinstance(row, RefusedRow):
            yield row
        else:
            values: dict[str, object] = {"kind": row.kind, "bytes": row.bytes, "etag": row.etag}
            yield Item(row=row, values=values, mtime_ns=found.mtime_ns)


def _as_it_is(entry: Entry) -> Found:
    """A row of a manifest with what its store says of it now."""
    row = entry.row
    if isinstance(row, RefusedRow):
        return row
    values = {"kind": row.kind, **entry.values}
    if row.kind is MediaKind.VIDEO and is_sequence(row.source_url):  # many files
        return Item(row=row, values=values, lq_url=entry.lq_url)
    try:
        stat = storage.stat(row.source_url)
    except ItemError as error:
        if error.kind.retryable:
            raise DiskError(f"scan: {error.url}: {error.found}; {error.advice}") from error
        return RefusedRow(index=row.index, source=row.source_url, error=error)
    row = replace(row, bytes=stat.bytes, etag=stat.etag or row.etag)
    values |= {"bytes": row.bytes, "etag": row.etag}
    return Item(row=row, values=values, lq_url=entry.lq_url, mtime_ns=stat.mtime_ns)
