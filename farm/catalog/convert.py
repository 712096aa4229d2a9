"""A manifest in another form, in another order, or in several files: nothing of it is lost unless that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

from farm import storage
from farm.catalog.forms import check_is_manifest, form_named, open_table
from farm.catalog.item import Base, Written
from farm.catalog.old import OldManifest
from farm.catalog.order import SORTS, in_order
from farm.catalog.sink import Sink
from farm.config import MANIFEST_FORMS, MANIFEST_SORTS
from farm.errors import UsageError
from farm.manifest import canonical
from farm.manifest.sources import printable

_PART = "part-{:05d}.{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertConfig:
    """Which manifest is written anew, and how."""

    source: str
    target: str
    root: str | None = None
    """what relative sources start from, in both; without it the old ones from the old manifest's folder, and the new
    ones from the new one's where they lie below it, else they are written in full"""
    absolute: bool = False
    """write every source in full"""
    drop: bool = False
    """leave out what the form cannot hold, and rows with unsafe paths, instead of refusing"""
    sort: str | None = None

    def __post_init__(self) -> None:
        check_is_manifest(self.source)
        form_named(self.target)
        if self.absolute and self.root is not None:
            raise UsageError("--absolute: contradicts --root; give one of them")
        if self.sort is not None and self.sort not in MANIFEST_SORTS:
            raise UsageError(f"--sort: {self.sort!r} is not one of {', '.join(MANIFEST_SORTS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Which manifest is cut, into how many pieces."""

    source: str
    target: str
    """a folder or prefix"""
    rows: int | None = None
    """rows of a piece"""
    parts: int | None = None
    """pieces, whose rows differ by one at most"""
    form: str = "parquet"
    root: str | None = None
    absolute: bool = False
    drop: bool = False

    def __post_init__(self) -> None:
        check_is_manifest(self.source)
        if (self.rows is None) == (self.parts is None):
            raise UsageError("--rows, --parts: give one of them")
        if (self.rows if self.rows is not None else self.parts or 0) < 1:
            raise UsageError("--rows, --parts: start at 1")
        if self.form not in MANIFEST_FORMS:
            raise UsageError(f"--form: {self.form!r} is not one of {', '.join(MANIFEST_FORMS)}")
        if self.absolute and self.root is not None:
            raise UsageError("--absolute: contradicts --root; give one of them")


def convert(config: ConvertConfig) -> Written:
    """Write the manifest and say what is in it. Raises FarmError, and then leaves nothing."""
    written = Written(url=canonical(config.target))
    old = OldManifest(config.source, config.root, written, drop=config.drop)
    items = old.items() if config.sort is None else in_order(old.items(), SORTS[config.sort])
    base = Base(None if config.absolute else config.root or storage.parent(written.url))
    with open_table(config.target, old.columns) as table:
        sink = Sink(table, base, written, drop=config.drop)
        for item in items:
            sink.write(item)
    return written


def split(config: SplitConfig) -> Written:
    """Write the pieces, part-00000 and so on, and say what is in them. Raises FarmError, and then leaves none."""
    folder = canonical(config.target)
    _check_empty(folder)
    written = Written(url=folder)
    old = OldManifest(config.source, config.root, written, drop=config.drop)
    sizes, items = _sizes(config, old), old.items()
    base = Base(None if config.absolute else config.root or folder)
    try:
        while (first := next(items, None)) is not None:
            url = storage.join(folder, _PART.format(len(written.parts), config.form))
            with open_table(url, old.columns) as table:
                sink = Sink(table, base, written, drop=config.drop)
                for item in chain((first,), islice(items, next(sizes) - 1)):
                    sink.write(item)
            written.parts.append(url)
    except BaseException:
        for url in written.parts:  # a few pieces of a manifest would be taken for all of it
            storage.delete(url)
        raise
    return written


def _sizes(config: SplitConfig, old: OldManifest) -> Iterator[int]:
    """Rows of each piece; the last one takes what there is."""
    if config.parts is None:
        return repeat(config.rows or 1)
    total = old.count()
    sizes = [total // config.parts + (part < total % config.parts) for part in range(config.parts)]
    return chain(sizes[:-1], repeat(sys.maxsize))


def _check_empty(folder: str) -> None:
    """Pieces of an earlier split would stay among the new ones."""
    for form in MANIFEST_FORMS:
        first = storage.join(folder, _PART.format(0, form))
        if storage.exists(first):
            raise UsageError(f"split: {printable(first)}: is there already; name an empty folder, or delete its pieces")
