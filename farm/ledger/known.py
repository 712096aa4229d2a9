"""What the ledger says of the rows of one shard, while they are planned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.errors import ErrorKind
from farm.ledger.codec import decode
from farm.ledger.files import ShardFiles
from farm.ledger.read import read_table
from farm.ledger.table import ENTRY, PIECE, Table, asserted, concatenated, flags, iter_entries, latest, table_of
from farm.records import LedgerEntry

_SETTLED = [kind.value for kind in ErrorKind if kind.settled]


class KnownShard:
    """One shard's entries in memory, with those of its rows that lie in other shards once they are adopted."""

    def __init__(self, number: int, files: ShardFiles | None) -> None:
        self.number = number
        self._adopted: frozenset[str] = frozenset()
        self._take(read_table(files) if files else table_of(()))

    def _take(self, table: Table) -> None:
        self._table = table
        piece = flags(table, PIECE)
        keys: list[str] = table["key"].to_pylist()
        self._where = {key: at for at, key in enumerate(keys)}
        self._pieces: dict[str, list[int]] = {}
        for at in map(int, np.flatnonzero(piece)):
            self._pieces.setdefault(keys[at].partition("/")[0], []).append(at)
        arrow = _compute()
        self.done: NDArray[np.bool_] = np.asarray(arrow.equal(table["status"], "done")) & ~piece
        """by position: restored, by what the ledger says"""
        settled = arrow.is_in(table["error"], value_set=_strings(_SETTLED))
        self.settled: NDArray[np.bool_] = np.asarray(settled) & ~self.done & ~piece
        """by position: failed for a reason that the content decides"""
        self.allowances = _allowances(table, piece)
        """by position, of the few entries that have some"""
        self.suspects = _suspects(table)
        """`LedgerEntry.suspect` by position, of the few entries that are"""
        self.nbytes: NDArray[np.int64] = table["bytes"].to_numpy()
        self.rows: NDArray[np.int64] = table["row"].to_numpy()
        self.finished_unix: NDArray[np.float64] = table["finished_unix"].to_numpy()
        self._asserted = asserted(table)
        self._said_of: dict[str, float] | None = None
        """by output, when something was last asserted of it; made when it is first asked for"""

    @property
    def latest_unix(self) -> float:
        """When the latest entry was asserted."""
        return float(self._asserted.max(initial=-np.inf))

    def asserted(self, where: NDArray[np.int64]) -> NDArray[np.float64]:
        """`LedgerEntry.asserted_unix` of the entries at some positions; before all time at -1."""
        times = np.full(len(where), -np.inf)
        times[where >= 0] = self._asserted[where[where >= 0]]
        return times

    def overtaken(self, outputs: Sequence[str], asserted_unix: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of what was asserted of `outputs`, which has been followed by something else that was said of them here."""
        if self._said_of is None:
            made: list[str] = self._table["output"].to_pylist()
            whole = np.flatnonzero(~flags(self._table, PIECE))
            order = whole[np.argsort(self._asserted[whole], kind="stable")]
            self._said_of = {made[at]: self._asserted[at] for at in map(int, order)}
        last = (self._said_of.get(output, -np.inf) for output in outputs)
        return np.fromiter(last, np.float64, len(outputs)) > asserted_unix

    def __len__(self) -> int:
        return len(self._table)

    def find(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Where the entries of `keys` are; -1 for what is not known."""
        where = self._where
        return np.fromiter((where.get(key, -1) for key in keys), np.int64, len(keys))

    def says(self, key: str) -> tuple[str, int] | None:
        """The message and the row that are known under a key."""
        at = self._where.get(key)
        return None if at is None else (self.message(at), int(self.rows[at]))

    def is_followed(self, key: str) -> bool:
        """Whether anything else was said since of the row that is known under a key."""
        at = self._where[key]
        return bool((self._asserted[self.rows == self.rows[at]] > self._asserted[at]).any())

    def entries(self, where: Sequence[int]) -> Iterator[LedgerEntry]:
        """The entries at some positions."""
        return iter_entries(self._table.take(np.array(where, np.int64)), self.number)

    def others(self, keys: Collection[str]) -> list[str]:
        """Keys of what lies here, was not adopted, and is neither an entry nor a piece of any of `keys`."""
        mine = (key for key in self._where if key not in self._adopted)
        return [key for key in mine if key.partition("/")[0] not in keys]

    def texts(self, name: str, where: NDArray[np.int64]) -> list[str]:
        """A field of the entries at some positions."""
        return self._table[name].take(where).to_pylist()

    def message(self, at: int) -> str:
        """What the entry at a position says to people."""
        return self._table["message"][at].as_py()

    def is_adopted(self, at: int) -> bool:
        """Whether the entry at a position lies in another shard."""
        return bool(self._adopted) and self._table["key"][at].as_py() in self._adopted

    def pieces(self, item_id: str) -> list[LedgerEntry]:
        """Finished bands or segments of an item that is not joined yet."""
        return list(self.entries(self._pieces.get(item_id, ()))) if self._pieces else []

    def adopt(self, shards: Iterable[tuple[ShardFiles, Sequence[str]]]) -> None:
        """Take entries and pieces of some items over from other shards. Positions from before mean nothing then."""
        tables = [found for files, items in shards if len(found := _of_items(read_table(files), set(items)))]
        if tables:
            self._adopted |= frozenset(key for table in tables for key in table["key"].to_pylist())
            self._take(latest(concatenated([self._table, *tables])))


def _of_items(table: Table, items: Collection[str]) -> Table:
    keys: list[str] = table["key"].to_pylist()
    return table.filter([key.partition("/")[0] in items for key in keys])


def moved_entry(entry: LedgerEntry, row: int, shard: int, now_unix: float) -> LedgerEntry:
    """The entry of a row that stands elsewhere in the manifest now."""
    return replace(entry, row=row, shard=shard, noted_unix=max(now_unix, entry.asserted_unix + 0.001))


def _allowances(table: Table, piece: NDArray[np.bool_]) -> dict[int, tuple[str, ...]]:
    """`LedgerEntry.allowances` by position; no column holds them, so they are in the entries that have a line."""
    lined = np.flatnonzero(~piece & np.asarray(_compute().is_valid(table[ENTRY])))
    found = ((at, decode(table[ENTRY][at].as_py()).allowances) for at in map(int, lined))
    return {at: allowances for at, allowances in found if allowances}


def _suspects(table: Table) -> dict[int, str]:
    suspect = np.flatnonzero(np.asarray(_compute().not_equal(table["suspect"], "")))
    return {int(at): table["suspect"][int(at)].as_py() for at in suspect}


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)


def _strings(values: list[str]) -> Any:
    import pyarrow

    return cast(Any, pyarrow).array(values, cast(Any, pyarrow).string())
