"""Bands and segments that no run will join any more: whoever finished their item was killed before it removed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from farm import ledger, storage
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import faults


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearedPieces:
    """What was removed."""

    count: int = 0
    bytes: int = 0


def clear_pieces(
    root: str, check: Callable[[], None] = lambda: None, is_settled: Callable[[FileStat], bool] = lambda _: True
) -> ClearedPieces:
    """Remove pieces of items that are finished, or have failed for good since; those of open items stay.

    Only for who holds the root's lock, and while nothing is in work; `check` is called before each item's are removed.
    Of an item with a piece that is not settled all stay: where nothing locks, its entry may still be on its way.
    One listing where there are none. Raises DiskError, CredentialsError or UnreachableError.
    """
    folder = storage.join(root, ".farm", "parts")
    pieces: dict[str, list[FileStat]] = {}
    for stat in files_below(root, folder):
        item_id = stat.url.removeprefix(folder).strip("/").partition("/")[0]
        pieces.setdefault(item_id, []).append(stat)
    if not pieces:
        return ClearedPieces()
    found: list[FileStat] = []
    for item_id in pieces.keys() - ledger.open_items(root, pieces.keys()):
        if not all(map(is_settled, pieces[item_id])):
            continue
        check()
        with faults.run_level(root):
            storage.delete_tree(storage.join(folder, item_id))
        found += pieces[item_id]
    return ClearedPieces(count=len(found), bytes=sum(stat.bytes for stat in found))


def files_below(root: str, folder: str) -> Iterator[FileStat]:
    """Every file below a folder, which may be missing."""
    with faults.run_level(root):
        try:
            yield from storage.list_files(folder)
        except ItemError as error:
            if error.kind is not ErrorKind.MISSING:
                raise
