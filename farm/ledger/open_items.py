"""Which items of a ledger have pieces that a later run may join."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from farm.errors import ErrorKind
from farm.ledger.files import read_shards
from farm.ledger.read import read_columns
from farm.ledger.table import PIECE, asserted
from farm.records import ItemStatus

_NAMES = ("key", "status", "error", "finished_unix", "noted_unix", PIECE)


@dataclass(slots=True)
class _Item:
    begun_unix: float | None = None
    """when its last piece was made; None where the ledger knows of none"""
    said_unix: float = float("-inf")
    """when something was last said of the item itself"""
    is_over: bool = False
    """whether that was that it is finished, or has failed for good"""

    def see(self, is_piece: bool, asserted_unix: float, is_over: bool) -> None:
        if is_piece:
            self.begun_unix = max(asserted_unix, self.begun_unix or asserted_unix)
        elif asserted_unix >= self.said_unix:
            self.said_unix, self.is_over = asserted_unix, is_over

    @property
    def is_open(self) -> bool:
        return self.begun_unix is not None and not (self.is_over and self.said_unix >= self.begun_unix)


def open_items(root: str, asked: Collection[str]) -> set[str]:
    """Of some items those of which pieces are done, and that were neither finished nor failed for good since.

    Reads the ledger shard by shard, six columns of it. Raises as read_ledger().
    """
    items = {item_id: _Item() for item_id in asked}
    for item_id, is_piece, asserted_unix, is_over in _said(root):
        if item_id in items:
            items[item_id].see(is_piece, asserted_unix, is_over)
    return {item_id for item_id, item in items.items() if item.is_open}


def _said(root: str) -> Iterator[tuple[str, bool, float, bool]]:
    """(item, whether it is said of a piece, when, whether the item is over by that) of every entry."""
    for files in read_shards(root).values():
        table = read_columns(files, [*_NAMES])
        columns = (table[name].to_pylist() for name in ("key", PIECE, "status", "error"))
        for key, is_piece, status, error, asserted_unix in zip(*columns, asserted(table).tolist(), strict=True):
            is_over = status == ItemStatus.DONE.value or bool(error and ErrorKind(error).lasting)
            yield (key.partition("/")[0] if is_piece else key), is_piece, asserted_unix, is_over
