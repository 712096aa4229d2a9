"""Where in the ledger things lie that rows of another shard ask for: manifests are sorted anew, cut and added to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.ledger.files import ShardFiles
from farm.ledger.mark import Compared
from farm.ledger.read import open_compacted, read_columns
from farm.ledger.table import MARK, PIECE, Table, flags
from farm.spill import Index, Room, hashes

_NAMES = ("key", "output", "status", "finished_unix", "noted_unix", PIECE)
_TIMES = (("finished", "<f8"), ("noted", "<f8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When entries were written; of two for the same item the later one counts."""

    finished_unix: NDArray[np.float64]
    noted_unix: NDArray[np.float64]


class LedgerIndex:
    """Shards by item and by output: hashes only, so what it says is likely, and whoever asks looks there."""

    def __init__(self, items: Index, outputs: Index) -> None:
        self._items = items
        self._outputs = outputs

    def later(self, items: Sequence[str], shard: int, than: Times) -> dict[int, list[int]]:
        """Other shards with entries or pieces of some of `items` that are later: which of the items, by position."""
        asked, found = self._items.find(hashes(items, len(items)))
        finished, noted = found["finished"], found["noted"]
        is_later = (finished > than.finished_unix[asked]) | (
            (finished == than.finished_unix[asked]) & (noted > than.noted_unix[asked])
        )
        return _grouped(asked[is_later], found["shard"][is_later], shard)

    def shards_with(self, outputs: Sequence[str], shard: int) -> set[int]:
        """Other shards with items that made some of `outputs`."""
        asked, found = self._outputs.find(hashes(outputs, len(outputs)))
        return set(_grouped(asked, found["shard"], shard))

    def replaced(
        self, outputs: Sequence[str], items: Sequence[str], finished_unix: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Of items that made `outputs`, which have been followed by another item that made the same one."""
        asked, found = self._outputs.find(hashes(outputs, len(outputs)))
        other = found["item"] != hashes(items, len(items))[asked]
        replaced = np.zeros(len(items), bool)
        replaced[asked[other & (found["finished"] > finished_unix[asked])]] = True
        return replaced


def _grouped(asked: NDArray[np.int64], shards: NDArray[np.int32], but: int) -> dict[int, list[int]]:
    return {shard: np.unique(asked[shards == shard]).tolist() for shard in np.unique(shards).tolist() if shard != but}


def index_ledger(whole: Iterable[ShardFiles], marked: Iterable[ShardFiles]) -> LedgerIndex | None:
    """An index of all entries of some shards, and of those of others that are of no marked row; None for no entries."""
    items, outputs = Room(("shard", "<i4"), *_TIMES), Room(("shard", "<i4"), ("item", "<u8"), _TIMES[0])
    with items, outputs:
        for files in whole:
            _add(items, outputs, files.number, read_columns(files, list(_NAMES)))
        for files in marked:
            _add(items, outputs, files.number, _unmarked(files))
        return LedgerIndex(items.index(), outputs.index()) if items.count else None


def _unmarked(files: ShardFiles) -> Table:
    if files.compacted is None:
        raise ValueError(f"shard {files.number} has no mark")
    with open_compacted(files.compacted) as file:
        table = file.read([*_NAMES, MARK])
    return table.filter(table[MARK].to_numpy() == Compared.NOT_MARKED).select(list(_NAMES))


def _add(items: Room, outputs: Room, shard: int, table: Table) -> None:
    from pyarrow import compute

    piece = flags(table, PIECE)
    keys: list[str] = table["key"].to_pylist()
    if piece.any():
        keys = [key.partition("/")[0] if part else key for key, part in zip(keys, piece, strict=True)]
    names = hashes(keys, len(keys))
    finished, noted = (table[name].to_numpy() for name in ("finished_unix", "noted_unix"))
    items.add(names, shard=np.full(len(keys), shard, np.int32), finished=finished, noted=noted)
    made = np.asarray(cast(Any, compute).equal(table["status"], "done")) & ~piece
    where = np.flatnonzero(made)
    outputs.add(
        hashes(table["output"].to_pylist(), len(keys))[where],
        shard=np.full(len(where), shard, np.int32),
        item=names[where],
        finished=finished[where],
    )
