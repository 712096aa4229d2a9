"""What runs that were killed left in an output root, and nobody will use again: `farm gc OUT`.

Staged files and open uploads of dead attempts, and pieces of pictures and films that are finished or have failed for
good. Pieces of an item that a later run can still join are kept, and so is everything that is not ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from farm import lock, manifest, storage
from farm.errors import UsageError
from farm.pieces import clear_pieces, files_below
from farm.records import FileStat
from farm.storage import faults

_PROBE = re.compile(r"probe-[0-9a-f]{32}")
_MOVED = re.compile(r"\.farm-[0-9a-f]{32}\.tmp")
"""beside an output on another file system than the root's; what others stage beside their target names its attempt"""


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
    strays: int = 0
    """small objects by which a store was tried, and files on their way to another file system, whose makers died"""
    warning: str | None
    """what the lock cannot promise, and what could not be removed"""


def collect(root: str) -> Collected:
    """Remove the leftovers of an output root.

    Raises UsageError where it is none, BusyError while a run works there, and what farm.storage raises.
    """
    root = manifest.canonical(root)
    if next(files_below(root, storage.join(root, ".farm")), None) is None:
        raise UsageError(f"{root}: no output root: there is no .farm in it; name what --out named")
    with lock.RunLock(root) as held:
        cleared = storage.clear_staging(root, keep="", is_dead=held.is_dead)
        pieces = clear_pieces(root, held.check, held.is_settled)
        strays = [stat.url for stat in _strays(root) if held.is_settled(stat)]
        for url in strays:
            held.check()
            with faults.run_level(root):
                storage.delete(url)
    return Collected(
        attempts=cleared.attempts,
        uploads=cleared.uploads,
        pieces=pieces.count,
        bytes=pieces.bytes,
        strays=len(strays),
        warning="; ".join(filter(None, (held.warning, *cleared.stuck))) or None,
    )


def _strays(root: str) -> list[FileStat]:
    """Files of ours that lie outside of the staging, by names that nobody else gives."""
    own = storage.join(root, ".farm")
    found = [stat for stat in files_below(root, own) if _PROBE.fullmatch(stat.url.removeprefix(own).strip("/"))]
    if not storage.is_remote(root):
        found += [stat for stat in files_below(root, root) if _MOVED.fullmatch(storage.name(stat.url))]
    return found
