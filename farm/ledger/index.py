"""Where in the ledger things lie that rows of another shard ask for: manifests are sorted anew, cut and added to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.ledger.files import ShardFiles
from farm.ledger.mark import Compared
from farm.ledger.read import open_compacted, read_columns
from farm.ledger.table import MARK, PIECE, Table, asserted, flags
from farm.spill import Index, Room, hashes

_NAMES = ("key", "output", "status", "finished_unix", "noted_unix", PIECE)
_ITEM = (("shard", "<i4"), ("asserted", "<f8"))
_OUTPUT = (("shard", "<i4"), ("item", "<u8"), ("finished", "<f8"), ("asserted", "<f8"), ("made", "?"))


class LedgerIndex:
    """Shards by item and by output: hashes only, so what it says is likely, and whoever asks looks there."""

    def __init__(self, items: Index, outputs: Index, latest_unix: float) -> None:
        self._items = items
        self._outputs = outputs
        self.latest_unix = latest_unix
        """`asserted_unix` of the latest entry"""

    def later(self, items: Sequence[str], shard: int, than_unix: NDArray[np.float64]) -> dict[int, list[int]]:
        """Other shards with entries or pieces of some of `items` that are later: which of the items, by position."""
        asked, found = self._items.find(hashes(items, len(items)))
        is_later = found["asserted"] > than_unix[asked]
        return _grouped(asked[is_later], found["shard"][is_later], shard)

    def shards_with(self, outputs: Sequence[str], shard: int) -> set[int]:
        """Other shards with items that made some of `outputs`."""
        asked, found = self._outputs.find(hashes(outputs, len(outputs)))
        made = found["made"]
        return set(_grouped(asked[made], found["shard"][made], shard))

    def replaced(
        self, outputs: Sequence[str], items: Sequence[str], finished_unix: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Of items that made `outputs`, which have been followed by another item that made the same one."""
        asked, found = self._outputs.find(hashes(outputs, len(outputs)))
        other = found["made"] & (found["item"] != hashes(items, len(items))[asked])
        replaced = np.zeros(len(items), bool)
        replaced[asked[other & (found["finished"] > finished_unix[asked])]] = True
        return replaced

    def overtaken(self, outputs: Sequence[str], asserted_unix: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of what was asserted of `outputs`, which has been followed by something else that was said of them."""
        asked, found = self._outputs.find(hashes(outputs, len(outputs)))
        overtaken = np.zeros(len(outputs), bool)
        overtaken[asked[found["asserted"] > asserted_unix[asked]]] = True
        return overtaken


def _grouped(asked: NDArray[np.int64], shards: NDArray[np.int32], but: int) -> dict[int, list[int]]:
    return {shard: np.unique(asked[shards == shard]).tolist() for shard in np.unique(shards).tolist() if shard != but}


def index_ledger(whole: Iterable[ShardFiles], marked: Iterable[ShardFiles]) -> LedgerIndex | None:
    """An index of all entries of some shards, and of those of others that are of no marked row; None for no entries."""
    items, outputs, latest_unix = Room(*_ITEM), Room(*_OUTPUT), -np.inf
    with items, outputs:
        for files in whole:
            latest_unix = max(latest_unix, _add(items, outputs, files.number, read_columns(files, list(_NAMES))))
        for files in marked:
            latest_unix = max(latest_unix, _add(items, outputs, files.number, _unmarked(files)))
        return LedgerIndex(items.index(), outputs.index(), latest_unix) if items.count else None


def _unmarked(files: ShardFiles) -> Table:
    if files.compacted is None:
        raise ValueError(f"shard {files.number} has no mark")
    with open_compacted(files.compacted) as file:
        table = file.read([*_NAMES, MARK])
    return table.filter(table[MARK].to_numpy() == Compared.NOT_MARKED).select(list(_NAMES))


def _add(items: Room, outputs: Room, shard: int, table: Table) -> float:
    """Put in the entries of a shard; when the latest of them was asserted."""
    from pyarrow import compute

    piece = flags(table, PIECE)
    keys: list[str] = table["key"].to_pylist()
    if piece.any():
        keys = [key.partition("/")[0] if part else key for key, part in zip(keys, piece, strict=True)]
    names = hashes(keys, len(keys))
    times = asserted(table)
    items.add(names, shard=np.full(len(keys), shard, np.int32), asserted=times)
    made: list[str] = table["output"].to_pylist()
    where = np.array([at for at, output in enumerate(made) if output and not piece[at]], np.int64)
    outputs.add(
        hashes(made, len(keys))[where],
        shard=np.full(len(where), shard, np.int32),
        item=names[where],
        finished=table["finished_unix"].to_numpy()[where],
        asserted=times[where],
        made=np.asarray(cast(Any, compute).equal(table["status"], "done"))[where],
    )
    return float(times.max(initial=-np.inf))
