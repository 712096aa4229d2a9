"""What runs that were killed left in an output root, and nobody will use again: `farm gc OUT`.

Staged files and open uploads of dead attempts, and pieces of pictures and films that are finished or have failed for
good. Pieces of an item that a later run can still join are kept, and so is everything that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from farm import ledger, lock, manifest, storage
from farm.errors import ErrorKind, ItemError, UsageError
from farm.records import FileStat, ItemStatus, LedgerEntry
from farm.storage import faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was removed."""

    attempts: int
    """dead attempts that had left something in the staging"""
    uploads: int
    """of theirs, that were open and are aborted"""
    pieces: int
    """bands and segments"""
    bytes: int
    """of the pieces"""
    warning: str | None
    """what the lock cannot promise, and what could not be removed"""


def collect(root: str) -> Collected:
    """Remove the leftovers of an output root.

    Raises UsageError where it is none, BusyError while a run works there, and what farm.storage raises.
    """
    root = manifest.canonical(root)
    if next(_files(root, storage.join(root, ".farm")), None) is None:
        raise UsageError(f"{root}: no output root: there is no .farm in it; name what --out named")
    with lock.RunLock(root) as held:
        cleared = storage.clear_staging(root, keep="")
        pieces = _leftover_pieces(root)
        for item_id in pieces:
            held.check()
            with faults.run_level(root):
                storage.delete_tree(storage.join(_parts(root), item_id))
    found = [stat for stats in pieces.values() for stat in stats]
    return Collected(
        attempts=cleared.attempts,
        uploads=cleared.uploads,
        pieces=len(found),
        bytes=sum(stat.bytes for stat in found),
        warning="; ".join(filter(None, (held.warning, *cleared.stuck))) or None,
    )


def _parts(root: str) -> str:
    return storage.join(root, ".farm", "parts")


def _files(root: str, folder: str) -> Iterator[FileStat]:
    """Every file below a folder, which may be missing."""
    with faults.run_level(root):
        try:
            yield from storage.list_files(folder)
        except ItemError as error:
            if error.kind is not ErrorKind.MISSING:
                raise


def _leftover_pieces(root: str) -> dict[str, list[FileStat]]:
    """Pieces by item, of items that no run will join."""
    pieces: dict[str, list[FileStat]] = {}
    folder = _parts(root)
    for stat in _files(root, folder):
        item_id = stat.url.removeprefix(folder).strip("/").partition("/")[0]
        pieces.setdefault(item_id, []).append(stat)
    if not pieces:
        return {}
    open_items = _open_items(ledger.read_ledger(root))
    return {item_id: stats for item_id, stats in pieces.items() if item_id not in open_items}


def _open_items(entries: Mapping[str, LedgerEntry]) -> set[str]:
    """Items of which pieces are done and may be joined: neither finished, nor failed for good."""
    begun: dict[str, float] = {}
    for key, entry in entries.items():
        if entry.extent is not None:
            item_id = key.partition("/")[0]
            begun[item_id] = max(begun.get(item_id, 0.0), entry.asserted_unix)
    return {item_id for item_id, since_unix in begun.items() if not _is_over(entries.get(item_id), since_unix)}


def _is_over(entry: LedgerEntry | None, since_unix: float) -> bool:
    """Whether an item was finished, or failed for good, after its last piece."""
    if entry is None or entry.asserted_unix < since_unix:
        return False
    if entry.status is ItemStatus.DONE:
        return True
    return bool(entry.error) and ErrorKind(entry.error).lasting
