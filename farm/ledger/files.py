"""Where an output root's ledger lies, and which files each of its shards has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.storage import faults

_SHARD = re.compile(r"shard-(\d{5,})[/.]")


@dataclass(slots=True)
class ShardFiles:
    """The files of one shard."""

    number: int
    compacted: str | None = None
    segments: list[str] = field(default_factory=list[str])
    """older ones first"""


def ledger_folder(root: str) -> str:
    """Where an output root's ledger lies."""
    path = storage.local_path(root)
    return storage.join(str(path) if path else root, ".farm", "ledger")


def shard_name(number: int) -> str:
    """The name of a shard's folder, and of its compacted file without extension."""
    return f"shard-{number:05d}"


def compacted_url(root: str, number: int) -> str:
    """Where the entries of a shard are once it is compacted."""
    return storage.join(ledger_folder(root), f"{shard_name(number)}.parquet")


def read_shards(root: str) -> dict[int, ShardFiles]:
    """The shards of an output root by number, in order; none where there is no ledger yet."""
    return _sorted_out(root, ledger_folder(root))


def read_shard(root: str, number: int) -> ShardFiles:
    """The files of one shard."""
    found = _sorted_out(root, storage.join(ledger_folder(root), shard_name(number)))
    files = found.get(number, ShardFiles(number))
    url = compacted_url(root, number)
    with faults.run_level(url):
        files.compacted = url if storage.exists(url) else None
    return files


def _sorted_out(root: str, place: str) -> dict[int, ShardFiles]:
    folder = ledger_folder(root)
    shards: dict[int, ShardFiles] = {}
    with faults.run_level(folder):
        for found in _list_or_nothing(place):
            match = _SHARD.match(found.removeprefix(folder).lstrip("/"))
            if match is None:
                continue
            shard = shards.setdefault(int(match.group(1)), ShardFiles(int(match.group(1))))
            if found.endswith(".jsonl"):
                shard.segments.append(found)
            elif found.endswith(".parquet"):
                shard.compacted = found
    for shard in shards.values():
        shard.segments.sort()
    return dict(sorted(shards.items()))


def _list_or_nothing(folder: str) -> list[str]:
    try:
        return [found.url for found in storage.list_files(folder)]
    except ItemError as error:
        if error.kind is ErrorKind.MISSING:
            return []
        raise
