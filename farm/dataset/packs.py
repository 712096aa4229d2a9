"""Sources in packs: consecutive in the order of a hash of their keys, so that nothing of the manifest's order remains.

Packs are leaves of the binary tree over the hashes: the largest subtrees with no more rows than a pack may have. A row
that comes or goes changes its own pack, or splits it, and no other. A pack is named by the first hash of its subtree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from farm import storage
from farm.catalog.order import in_order
from farm.errors import ErrorKind, ItemError, UsageError
from farm.sample import DegradeOptions, Options, SourceRow, pack_line, path_mark

DUPLICATE_ROW = "duplicate_row"
"""rule for a row that says the same as another one"""
PACK_ROWS = 512
"""sources of a pack where nothing else bounds it"""
_HASH_BITS = 64
_NAME_BITS = 32
_PNG_GROWTH = 1.01
"""what PNG makes of noise, by bytes of its samples; and for each file"""
_FILE_BYTES = 2048
_FOLDER = ".farm/packs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packs:
    """The packs of one data set, all written down."""

    manifest: str
    """URL of a manifest whose rows are packs"""
    folder: str
    """where packs lie; the manifest's root"""
    files: tuple[str, ...]
    """their names in the folder, in order"""

    @property
    def names(self) -> tuple[str, ...]:
        """part-XXXXXXXX, in order."""
        return tuple(file.rpartition("-")[0] for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pack:
    name: str
    data: bytes

    @property
    def digest(self) -> str:
        return sha256(self.data).hexdigest()

    @property
    def file(self) -> str:
        return f"{self.name}-{self.digest[:16]}.pack"


def rows_of_pack(options: Options, operation: str, shard_bytes: int) -> int:
    """How many sources a pack may have, so that its samples stay within `shard_bytes` whatever they are.

    Raises UsageError where one source's samples do not.
    """
    if operation == "frames":
        return 1
    if not isinstance(options, DegradeOptions):
        return PACK_ROWS
    samples = sum(side * side for side in (options.lq_px, *[options.gt_px] * (len(options.roles) - 1))) * 3
    worst = options.per_image * (samples * _PNG_GROWTH + _FILE_BYTES * (len(options.roles) + 1))
    if worst > shard_bytes:
        raise UsageError(
            f"--shard-size: {options.per_image} pairs of one picture may take {worst / 2**20:.0f} MiB, more than "
            f"{shard_bytes / 2**20:.0f}; raise it or lower --per-image"
        )
    return int(shard_bytes // worst)


def plan_packs(sources: Iterable[SourceRow], out: str, *, most_rows: int, run: str) -> Packs:
    """Write every pack below OUT/.farm/packs/ that is not there, and the manifest of them all."""
    folder = storage.join(out, _FOLDER)
    root = storage.OutputRoot(url=out, attempt=run)
    there = _names_in(folder)
    packs: list[tuple[str, str, int]] = []
    for pack in _packs(sources, most_rows):
        if pack.file not in there:
            root.publish(storage.join(folder, pack.file), pack.data)
        packs.append((pack.file, pack.digest, len(pack.data)))
    lines = "".join(
        json.dumps({"source": file, "sha256": digest, "bytes": size}) + "\n" for file, digest, size in packs
    ).encode()
    url = storage.join(folder, f"packs-{sha256(lines).hexdigest()[:16]}.jsonl")
    if storage.name(url) not in there:
        root.publish(url, lines)
    return Packs(manifest=url, folder=folder, files=tuple(file for file, _, _ in packs))


def remove_old(packs: Packs) -> None:
    """Delete the packs of earlier states of the manifest."""
    for name in _names_in(packs.folder) - {*packs.files, storage.name(packs.manifest)}:
        storage.delete(storage.join(packs.folder, name))


def key_hash(key: str) -> int:
    """64 bits of a key: equal on every machine, spread evenly."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _packs(sources: Iterable[SourceRow], most_rows: int) -> Iterator[_Pack]:
    hashes: list[int] = []

    def noted() -> Iterator[SourceRow]:
        for row in sources:
            hashes.append(key_hash(row.key))
            yield row

    rows = _unique(in_order(noted(), _place))
    first = next(rows, None)  # now all hashes are known
    if first is None:
        return
    rows = _again(first, rows)
    ordered = np.sort(np.array(hashes, np.uint64))
    hashes.clear()
    for start, count in _leaves(ordered, most_rows):
        held = list(islice(rows, count))
        data = b"".join(map(pack_line, held))
        yield _Pack(name=f"part-{start >> (_HASH_BITS - _NAME_BITS):08x}", data=data)


def _again(first: SourceRow, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    yield first
    yield from rows


def _place(row: SourceRow) -> tuple[int, str, str, str, str, bool, str]:
    """Order of rows; of the same source what can be done comes before what is left out or refused."""
    is_out = bool(row.skip or row.refusal[0])
    return key_hash(row.key), row.key, row.relative_path, row.url, row.lq_url or "", is_out, row.version


def _leaves(hashes: NDArray[np.uint64], most_rows: int) -> Iterator[tuple[int, int]]:
    """(first hash, rows) of the largest subtrees that have rows, and no more than so many; in order.

    Rows whose hashes share their first 32 bits stay together.
    """
    subtrees = [(0, 0, 0, len(hashes))]
    while subtrees:
        start, depth, low, high = subtrees.pop()
        if high - low <= most_rows or depth == _NAME_BITS:
            if high > low:
                yield start, high - low
            continue
        middle = start | 1 << (_HASH_BITS - 1 - depth)
        cut = int(np.searchsorted(hashes, np.uint64(middle)))
        subtrees += [(middle, depth + 1, cut, high), (start, depth + 1, low, cut)]


def _unique(rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    """Rows in order, each with a key of its own: those that share one get a digest of their paths."""
    for _, same in groupby(rows, key=lambda row: row.key):
        held = list(same)
        if len(held) > 1:
            shared = len({_name(row) for row in held}) > 1
            held = _once([replace(row, key=f"{row.key}-{path_mark(_name(row))}") for row in held] if shared else held)
        yield from held


def _name(row: SourceRow) -> str:
    """What tells apart sources whose keys are the same: their paths, and of pairs the other picture too."""
    return f"{row.relative_path}\0{row.lq_url}" if row.lq_url else row.relative_path


def _once(rows: list[SourceRow]) -> list[SourceRow]:
    """Of rows with one key only the first is done; what is left out or refused anyway keeps its own reason."""
    seen: set[str] = set()
    kept: list[SourceRow] = []
    for row in rows:
        is_out = bool(row.skip or row.refusal[0])
        kept.append(replace(row, skip=DUPLICATE_ROW) if row.key in seen and not is_out else row)
        if not is_out:
            seen.add(row.key)
    return kept


def _names_in(folder: str) -> set[str]:
    try:
        return {storage.name(one.url) for one in storage.list_files(folder)}
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise
        return set()
