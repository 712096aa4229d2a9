"""Shards while their rows end: each is compacted when its last row has, and marked when all of them are settled.

Of a row that has ended nine bytes are kept until then. A shard that is still busy when many later ones are over is
forgotten: it is compacted at the run's end, and gets its mark from the next run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from farm import failpoints, ledger
from farm.ledger import Compared, Ledger, Mark, MarkedKeys, ShardFiles
from farm.summary import RowState

_OPEN_SHARDS = 8


@dataclass(slots=True)
class _OpenShard:
    rows: int
    manifest: str
    """digest of its rows"""
    gone: frozenset[str]
    """keys of entries that are of no use here any more"""
    mark: Mark | None = None
    """of the very same rows, which a run that trusts nothing finds"""
    keys: MarkedKeys = field(default_factory=MarkedKeys)
    states: Counter[RowState] = field(default_factory=Counter[RowState])
    in_work: int = 0
    is_read: bool = False
    """all its rows have been planned"""
    is_settled: bool = True
    """no row has ended in a way that the next run would try to change"""


class Closing:
    """The open shards of one run."""

    def __init__(
        self,
        root: str,
        run: str,
        book: Ledger,
        fingerprint: str,
        files: dict[int, ShardFiles],
        may_replace: Callable[[], None] = lambda: None,
    ) -> None:
        """`files` of the ledger's shards are kept up to date; `may_replace`: as `ledger.compact_shard` asks it."""
        self._root = root
        self._run = run
        self._book = book
        self._fingerprint = fingerprint
        self._files = files
        self._may_replace = may_replace
        self._shards: dict[int, _OpenShard] = {}

    def begin(self, number: int, rows: int, manifest: str, gone: frozenset[str] = frozenset()) -> None:
        """The rows of a shard begin to be planned; `manifest` is their digest, `gone` are keys of rows that moved away.

        A mark that stands for other rows goes at once: what is made from now on may replace their outputs.
        """
        shard = self._shards[number] = _OpenShard(rows, manifest, gone)
        mark = ledger.read_mark(self._files.get(number))
        if mark is not None and (mark.manifest, mark.fingerprint) == (manifest, self._fingerprint):
            shard.mark = mark
        elif mark is not None:
            self._book.touch(number)
        busy = [one for one, shard in self._shards.items() if shard.is_read]
        for one in busy[: max(0, len(self._shards) - _OPEN_SHARDS)]:
            del self._shards[one]

    def known(self, number: int, key: str, state: RowState, compared: Compared) -> None:
        """A row needs no work, and the ledger says so under `key`."""
        shard = self._shards[number]
        if compared is Compared.NOT_MARKED:
            shard.is_settled = False
        else:
            shard.keys.add(key, compared)
            shard.states[state] += 1

    def started(self, number: int) -> None:
        """A row goes to the workers."""
        self._shards[number].in_work += 1

    def ended(self, number: int, key: str, state: RowState, compared: Compared) -> None:
        """A row has come back; NOT_MARKED for one that failed and is tried again by the next run."""
        shard = self._shards.get(number)
        if shard is None:
            return
        shard.in_work -= 1
        self.known(number, key, state, compared)
        self._close(number)

    def all_read(self, number: int) -> None:
        """All rows of a shard have been planned."""
        self._shards[number].is_read = True
        self._close(number)

    def _close(self, number: int) -> None:
        shard = self._shards[number]
        if not shard.is_read or shard.in_work:
            return
        del self._shards[number]
        self._book.release(number)
        files = ledger.read_shard(self._root, number)
        mark = self._mark(shard) if shard.is_settled and len(shard.keys) == shard.rows else None
        if files.segments or (mark is not None and mark != shard.mark):
            self._book.may_write()
            failpoints.hit("mark.before", self._root)
            ledger.compact_shard(
                self._root, self._run, files, mark, shard.keys, gone=shard.gone, may_write=self._may_replace
            )
            failpoints.hit("mark.after", self._root)
            files = ledger.read_shard(self._root, number)
        self._files[number] = files

    def _mark(self, shard: _OpenShard) -> Mark:
        return Mark(
            rows=shard.rows,
            manifest=shard.manifest,
            fingerprint=self._fingerprint,
            done=shard.states[RowState.REUSED],
            failed=shard.states[RowState.SETTLED],
            refused=shard.states[RowState.REFUSED],
        )
