"""Reading the ledger, shard by shard, and compacting it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from farm import storage
from farm.errors import DiskError, ErrorKind, ItemError
from farm.ledger.codec import decode, encode
from farm.records import ItemStatus, LedgerEntry
from farm.storage import faults

_SHARD = re.compile(r"shard-(\d{5,})")


def read_ledger(root: str) -> dict[str, LedgerEntry]:
    """What counts, by key: the latest entry of each, without `done` items whose output another item has since replaced.

    Raises DiskError where a line other than a torn last one is damaged, UsageError for a newer farm's ledger.
    """
    entries = latest(entry for shard in read_shards(root).values() for entry in shard.entries())
    owner: dict[str, LedgerEntry] = {}
    for entry in entries.values():
        if made_output(entry):
            other = owner.get(entry.output)
            if other is None or entry.finished_unix >= other.finished_unix:
                owner[entry.output] = entry
    return {key: one for key, one in entries.items() if not made_output(one) or owner[one.output] is one}


def compact(root: str, run: str) -> None:
    """Put each shard that has segments into one Parquet file, then remove the segments; bands of joined items go."""
    for shard in read_shards(root).values():
        if not shard.segments:
            continue
        entries = latest(shard.entries())
        done = {key for key, entry in entries.items() if made_output(entry)}
        kept = [e for key, e in entries.items() if e.extent is None or key.partition("/")[0] not in done]
        columns = {
            "key": [e.key for e in kept],
            "row": [e.row for e in kept],
            "status": [e.status.value for e in kept],
            "finished_unix": [e.finished_unix for e in kept],
            "entry": [encode(e).decode() for e in kept],
        }
        url = storage.join(ledger_folder(root), f"{shard_name(shard.number)}.parquet")
        with faults.run_level(url), storage.OutputRoot(url=root, attempt=run).open_write(url) as sink:
            _write_parquet(sink, columns)
            sink.commit()
        for segment in shard.segments:
            with faults.run_level(segment):
                storage.delete(segment)


class Shard:
    """The files of one shard of the ledger."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.compacted: str | None = None
        self.segments: list[str] = []

    def entries(self) -> Iterator[LedgerEntry]:
        """Every entry, older files first."""
        if self.compacted:
            yield from map(decode, _read_compacted(self.compacted))
        for url in sorted(self.segments):
            yield from _read_segment(url)


def read_shards(root: str) -> dict[int, Shard]:
    """The shards of an output root by number; none where there is no ledger yet."""
    folder = ledger_folder(root)
    shards: dict[int, Shard] = {}
    with faults.run_level(folder):
        for found in _list_or_nothing(folder):
            match = _SHARD.match(found.removeprefix(folder).lstrip("/"))
            if match is None:
                continue
            shard = shards.setdefault(int(match.group(1)), Shard(int(match.group(1))))
            if found.endswith(".jsonl"):
                shard.segments.append(found)
            elif found.endswith(".parquet"):
                shard.compacted = found
    return dict(sorted(shards.items()))


def _list_or_nothing(folder: str) -> list[str]:
    try:
        return [found.url for found in storage.list_files(folder)]
    except ItemError as error:
        if error.kind is ErrorKind.MISSING:
            return []
        raise


def _read_segment(url: str) -> Iterator[LedgerEntry]:
    with faults.run_level(url):
        *lines, last = storage.read_bytes(url).split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield decode(line)
        except (ValueError, TypeError, KeyError) as error:
            raise DiskError(f"{url}: line {number} of the ledger is damaged; move that file away to redo it") from error
    if last:
        yield from _decode_torn(last)


def _decode_torn(line: bytes) -> Iterator[LedgerEntry]:
    try:
        entry = decode(line)
    except (ValueError, TypeError, KeyError):
        return  # its writer died in the middle of it: the item is redone
    yield entry


def _read_compacted(url: str) -> list[str]:
    import pyarrow.parquet as pq

    parquet: Any = pq
    try:
        with faults.run_level(url), storage.open_read(url) as file:
            return parquet.read_table(file, columns=["entry"]).column("entry").to_pylist()
    except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise DiskError(f"{url}: the ledger is damaged; move that file away to redo its rows") from error


def _write_parquet(sink: BinaryIO, columns: Mapping[str, Sequence[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: Any = pa
    parquet: Any = pq
    parquet.write_table(arrow.table(columns), sink, compression="zstd")


def latest(entries: Iterable[LedgerEntry]) -> dict[str, LedgerEntry]:
    """The entry of each key that ended last; of two at the same time the later one counts."""
    found: dict[str, LedgerEntry] = {}
    for entry in entries:
        other = found.get(entry.key)
        if other is None or entry.finished_unix >= other.finished_unix:
            found[entry.key] = entry
    return found


def made_output(entry: LedgerEntry) -> bool:
    """Whether this is a restored picture, and not a band of one."""
    return entry.status is ItemStatus.DONE and entry.extent is None


def ledger_folder(root: str) -> str:
    """Where an output root's ledger lies."""
    path = storage.local_path(root)
    return storage.join(str(path) if path else root, ".farm", "ledger")


def shard_name(number: int) -> str:
    """The name of a shard's folder, and of its compacted file without extension."""
    return f"shard-{number:05d}"
