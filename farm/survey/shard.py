"""What is to be done for each row of one shard: pending, done before, failed for good, refused.

The shard's rows are named and looked up together: sources and outputs are asked about by the batch, entries are found
by their keys, and only what is left to do becomes a WorkItem. All that is held here is of one shard and goes with it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np
from numpy.typing import NDArray

from farm import plan, storage
from farm.blocks import RowBlock, version_word
from farm.config import RunConfig
from farm.entries import holds, suspect_stands
from farm.errors import ErrorKind, ItemError
from farm.kinds import MediaKind, is_sequence
from farm.ledger import Compared, KnownShard, LedgerIndex, ShardFiles, moved_entry
from farm.manifest import ManifestShards, ShardRows
from farm.names import Namer
from farm.progress import Likeness, likeness
from farm.records import FileStat, LedgerEntry, WorkItem
from farm.sizes import guess_px
from farm.storage import faults
from farm.summary import RowState
from farm.survey.contents import are_same
from farm.survey.peek import Peek, sequence_stat
from farm.survey.planned import DeclinedRow, KnownRow, PendingRow, PlannedRow

_CHUNK_ROWS = 64
_NOTED_ROWS = 1024
"""rows whose entries are read from the table at once"""
MOST_PROBED = 1000
"""pending rows of a shard whose files are looked into before the work; the workers look into those of larger ones"""
_PENDING, _REUSED, _SETTLED, _REFUSED = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTools:
    """What all shards of a run are planned with."""

    config: RunConfig
    namer: Namer
    manifest: ManifestShards
    peek: Peek
    ledger: Mapping[int, ShardFiles]
    index: LedgerIndex | None
    """where entries of rows that have moved lie; None where there is no other shard that could have some"""
    sources: storage.ManyStats
    outputs: storage.ManyStats
    looks_into_all: bool = False
    """whether files are looked into however many there are: for who wants to know and does nothing"""


class ShardPlan:
    """The rows of one shard against what the ledger and the stores say."""

    def __init__(self, tools: PlanTools, shard: ShardRows) -> None:
        self._tools = tools
        self._number = shard.number
        self._first = shard.first
        self._blocks = [tools.peek.of_kind(block) for block in shard.blocks()]
        self._starts = [block.first - shard.first for block in self._blocks]
        named = [tools.namer.names(block) for block in self._blocks]
        self._urls = [url for block in self._blocks for url in block.urls]
        self._outputs = [output for one in named for output in one.outputs]
        self._recipes = [recipe for one in named for recipe in one.recipes]
        self._words = [word for block in self._blocks for word in block.words or ("",) * len(block)]
        self._nbytes = [size for block in self._blocks for size in block.nbytes or (None,) * len(block)]
        self._stats: dict[int, FileStat] = {}
        self._errors: dict[int, tuple[ItemError, Compared]] = {}
        self.unverified = 0
        """rows whose source was to be verified, but has no digest in the manifest or the ledger"""
        self._refuse_hostile()
        self._look([at for at, word in enumerate(self._words) if not word])
        self._ids = [self._make_id(at) for at in range(len(self._urls))]
        self._known = KnownShard(shard.number, tools.ledger.get(shard.number))
        self._where = self._find()
        self._states = self._decide()
        self._look(self._unseen())
        self._states[list(self._errors)] = _REFUSED

    def __len__(self) -> int:
        return len(self._urls)

    # -- what is asked before a row is decided -------------------------------------------------------------------

    def _block(self, at: int) -> tuple[RowBlock, int]:
        """The block of a row, and its position there."""
        number = bisect_right(self._starts, at) - 1
        return self._blocks[number], at - self._starts[number]

    def _refuse_hostile(self) -> None:
        """Rows that the manifest refused, and those whose output would leave the root."""
        for at in (at for at, recipe in enumerate(self._recipes) if recipe is None):
            block, position = self._block(at)
            try:
                if position in block.refused:
                    raise block.refused[position].error
                self._tools.namer.planner.output_url(block.row(position))
            except ItemError as error:
                self._errors[at] = (error, Compared.BY_MANIFEST)

    def _look(self, wanted: list[int]) -> None:
        """Ask the stores about sources; those that cannot be asked about are refused."""
        wanted = [at for at in wanted if at not in self._errors]
        plain = [at for at in wanted if not self._is_numbered(at)]
        asked = self._tools.sources.ask([self._urls[at] for at in plain], on_link=self._tools.manifest.check_link)
        answers = dict(zip(plain, asked, strict=True))
        for at in wanted:
            answer = answers[at] if at in answers else _sequence(self._urls[at])
            if isinstance(answer, FileStat):
                self._stats[at] = answer
            else:
                absent = answer.kind is ErrorKind.MISSING
                self._errors[at] = (answer, Compared.ABSENT if absent else Compared.NOT_MARKED)

    def _is_numbered(self, at: int) -> bool:
        url = self._urls[at]
        if "%" not in url or not is_sequence(url):
            return False
        block, position = self._block(at)
        return block.kinds[position] is MediaKind.VIDEO

    def _version(self, at: int) -> str:
        return self._words[at] or (self._stats[at].version if at in self._stats else "")

    def _make_id(self, at: int) -> str:
        recipe = self._recipes[at]
        if recipe is None or at in self._errors:
            return ""
        return plan.make_id(self._urls[at], self._version(at), recipe, self._outputs[at])

    def _find(self) -> NDArray[np.int64]:
        """Where each row's entry is among the known; entries of rows that have moved here are taken over."""
        where = self._known.find(self._ids)
        named = [at for at, item_id in enumerate(self._ids) if item_id]
        elsewhere = self._later([self._ids[at] for at in named], where[named])
        self._adopted = set(elsewhere)
        self._known.adopt(
            (self._tools.ledger[number], [self._ids[named[position]] for position in positions])
            for number, positions in elsewhere.items()
        )
        return self._known.find(self._ids) if elsewhere else where

    def _later(self, keys: Sequence[str], where: NDArray[np.int64]) -> dict[int, list[int]]:
        """Other shards that have said something since of what has `keys`, and stands at `where`, here."""
        index = self._tools.index
        return index.later(keys, self._number, self._known.asserted(where)) if index is not None and keys else {}

    def _decide(self) -> NDArray[np.int8]:
        known, found = self._known, self._where >= 0
        states = np.full(len(self), _PENDING, np.int8)
        if len(known):
            done = np.flatnonzero(found & known.done[self._where])
            states[done[self._is_there(done)]] = _REUSED
            states[found & known.settled[self._where]] = _SETTLED
            self._redo(states)
        states[list(self._errors)] = _REFUSED
        return states

    def _redo(self, states: NDArray[np.int8]) -> None:
        """Whatever was made or failed under allowances that do not hold any more is pending, and packs that lack
        sources which could not be read; so are suspect outputs that the run wants otherwise, and what failed where
        that is asked for."""
        if self._tools.config.stop.retry_failed:
            states[states == _SETTLED] = _PENDING
        asked = self._tools.config.fidelity.suspect
        for at in np.flatnonzero((states == _REUSED) | (states == _SETTLED)) if self._known.suspects else ():
            suspect = self._known.suspects.get(int(self._where[at]), "")
            if not suspect_stands(suspect, asked, is_done=bool(states[at] == _REUSED)):
                states[at] = _PENDING
        for at, recipe in enumerate(self._recipes):
            if recipe is None or states[at] == _PENDING:
                continue
            now = recipe.allowances
            then = self._known.allowances.get(int(self._where[at]), ()) if self._known.allowances else ()
            if (then or now) and not holds(then, now, is_done=bool(states[at] == _REUSED)):
                states[at] = _PENDING

    def _is_there(self, done: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of rows that are done by the ledger, whether their output is there, and no other item's."""
        where = self._where[done]
        rows = _listed(done)
        outputs = [self._outputs[at] for at in rows]
        nbytes = [_size_of(answer) for answer in self._tools.outputs.ask(outputs, confirm=False)]
        there = self._known.nbytes[where] == np.array(nbytes, np.int64)
        if self._tools.index is not None and len(done):
            ids = [self._ids[at] for at in rows]
            there &= ~self._tools.index.replaced(outputs, ids, self._known.finished_unix[where])
        if self._tools.config.verify_outputs:
            self._verify(there, outputs, self._known.texts("sha256", where))
        if self._tools.config.verify_inputs:
            self._verify_inputs(there, done, rows)
        return there

    def _verify_inputs(self, there: NDArray[np.bool_], done: NDArray[np.int64], rows: list[int]) -> None:
        words = [self._words[at] for at in rows]
        seen = self._known.texts("source_sha256", self._where[done])
        digests = [
            word.removeprefix("sha256:") if word.startswith("sha256:") else digest
            for word, digest in zip(words, seen, strict=True)
        ]
        self.unverified = int(np.count_nonzero(there & np.array([not digest for digest in digests], bool)))
        self._verify(there, [self._urls[at] for at in rows], digests)

    def _verify(self, there: NDArray[np.bool_], urls: list[str], digests: list[str]) -> None:
        """Take out of `there` what has another content than the digest says; without a digest nothing is known."""
        asked = [at for at in _positions(there) if digests[at]]
        same = are_same([urls[at] for at in asked], [digests[at] for at in asked])
        there[[at for at, is_same in zip(asked, same, strict=True) if not is_same]] = False

    def _unseen(self) -> list[int]:
        """Pending rows that nobody has looked at: asked for free on disks, on stores where their size is not known, or
        when they were made decides what comes first."""
        pending = [at for at in _positions(self._states == _PENDING) if at not in self._stats]
        if self._tools.config.stop.first == "oldest":
            return pending
        return [at for at in pending if self._urls[at].startswith("/") or self._nbytes[at] is None]

    @property
    def pending(self) -> int:
        """Rows that are left to do, before their sizes are looked at."""
        return len(_positions(self._states == _PENDING))

    @property
    def latest_unix(self) -> float:
        """When the latest of what is known was asserted, by the clocks of those who did."""
        index = self._tools.index
        return max(self._known.latest_unix, index.latest_unix if index is not None else 0.0)

    def gone(self) -> frozenset[str]:
        """Keys of entries here whose rows have moved to another shard, which says the same of them since."""
        others = self._known.others(set(self._ids))
        if not others or self._tools.index is None:
            return frozenset()
        items = [key.partition("/")[0] for key in others]
        later = self._tools.index.later(items, self._number, self._known.asserted(self._known.find(others)))
        return frozenset(others[position] for positions in later.values() for position in positions)

    def guesses(self) -> Counter[Likeness]:
        """Source pixels of the pending rows, as far as they can be guessed."""
        found: Counter[Likeness] = Counter()
        for at in _positions(self._states == _PENDING):
            recipe, (block, position) = self._recipes[at], self._block(at)
            if recipe is not None:
                url, kind = self._urls[at], block.kinds[position]
                size = block.sizes[position] if block.sizes else (None, None)
                found[likeness(recipe.params.model, kind, url, size)] += guess_px(url, kind, self._size(at), size)
        return found

    def _size(self, at: int) -> int:
        """Bytes of a source, 0 where nobody has said."""
        return (self._stats[at].bytes if at in self._stats else self._nbytes[at]) or 0

    def disowned(self) -> set[int]:
        """Other shards of the ledger that no longer say the last word: rows of theirs are here now, or outputs of
        theirs will be made anew."""
        pending = [self._outputs[at] for at in _positions(self._states == _PENDING)]
        index = self._tools.index
        overwritten = index.shards_with(pending, self._number) if index is not None and pending else set[int]()
        return overwritten | self._adopted

    # -- rows ----------------------------------------------------------------------------------------------------

    def rows(self) -> Iterator[PlannedRow]:
        """Every row of the shard: those of higher priority first, else in order; or the oldest sources first."""
        rows = self._planned_rows()
        if not self._tools.looks_into_all and self.pending > MOST_PROBED:
            yield from rows
            return
        while planned := list(islice(rows, _CHUNK_ROWS)):
            pending = [row.item for row in planned if isinstance(row, PendingRow)]
            refusals = iter(self._tools.peek.refusals(pending))
            for row in planned:
                refusal = next(refusals) if isinstance(row, PendingRow) else None
                yield _declined(row.item, refusal) if isinstance(row, PendingRow) and refusal else row

    def _in_order(self) -> Sequence[int]:
        if self._tools.config.stop.first == "oldest":
            ages = [self._stats[at].mtime_ns if at in self._stats else 0 for at in range(len(self))]
            return _listed(np.argsort(np.array(ages, np.int64), kind="stable"))
        if all(block.priorities is None for block in self._blocks):
            return range(len(self))
        priorities = [one for block in self._blocks for one in block.priorities or (0,) * len(block)]
        return _listed(np.argsort(-np.array(priorities, np.int64), kind="stable"))

    def _planned_rows(self) -> Iterator[PlannedRow]:
        stale, order = self._stale(), self._in_order()
        for start in range(0, len(order), _NOTED_ROWS):
            rows = order[start : start + _NOTED_ROWS]
            noted = [at for at in rows if stale[at]]
            moved = dict(zip(noted, self._known.entries([int(self._where[at]) for at in noted]), strict=True))
            yield from (self._planned_row(at, moved.get(at)) for at in rows)

    def _stale(self) -> NDArray[np.bool_]:
        """Known rows of which the ledger has to say anew what it says: those that stand elsewhere than it says, and
        those of whose output something else was said since."""
        stale = np.zeros(len(self), bool)
        rows = np.flatnonzero((self._states == _REUSED) | (self._states == _SETTLED))
        if not len(rows):
            return stale
        where = self._where[rows]
        adopted = np.fromiter(map(self._known.is_adopted, map(int, where)), bool, len(where))
        stale[rows] = (self._known.rows[where] != rows + self._first) | adopted | self._overtaken(rows, where)
        return stale

    def _overtaken(self, rows: NDArray[np.int64], where: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._overtaken_by([self._outputs[at] for at in _listed(rows)], where)

    def _overtaken_by(self, outputs: list[str], where: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of entries at some positions, which have been followed by others of the same outputs."""
        asserted, index = self._known.asserted(where), self._tools.index
        overtaken = self._known.overtaken(outputs, asserted)
        return overtaken if index is None else overtaken | index.overtaken(outputs, asserted)

    def _planned_row(self, at: int, stale: LedgerEntry | None) -> PlannedRow:
        state = int(self._states[at])
        if state == _PENDING:
            return self._pending(at, *self._block(at))
        if state == _REFUSED:
            return self._refused(at, *self._errors[at])
        return self._settled(at, state, stale)

    def _settled(self, at: int, state: int, stale: LedgerEntry | None) -> KnownRow:
        moved = moved_entry(stale, self._first + at, self._number, time.time()) if stale else None
        return KnownRow(
            state=RowState.REUSED if state == _REUSED else RowState.SETTLED,
            key=self._ids[at],
            output=self._outputs[at],
            compared=Compared.BY_MANIFEST if self._words[at] else Compared.BY_STORE,
            moved=moved,
            message=self._known.message(int(self._where[at])) if state == _SETTLED else "",
        )

    def _refused(self, at: int, error: ItemError, compared: Compared, *, was_pending: bool = False) -> DeclinedRow:
        block, position = self._block(at)
        return DeclinedRow(
            index=self._first + at,
            source=block.refused[position].source if position in block.refused else self._urls[at],
            error=error,
            output=self._outputs[at],
            compared=compared,
            was_pending=was_pending,
        )

    def _pending(self, at: int, block: RowBlock, position: int) -> PendingRow | DeclinedRow:
        recipe = self._recipes[at]
        if recipe is None:
            raise ValueError(f"row {self._first + at} has no recipe")
        try:
            item = self._tools.namer.planner.item(
                block.row(position),
                recipe,
                self._outputs[at],
                version=self._version(at),
                item_id=self._ids[at],
                nbytes=self._size(at),
            )
        except ItemError as error:
            return self._refused(at, error, Compared.BY_MANIFEST, was_pending=True)
        return PendingRow(item=item, pieces=self._known.pieces(item.item_id))

    def differs(self, entry: LedgerEntry) -> bool:
        """Whether the ledger does not say this already, of this row."""
        if self._known.says(entry.key) != (entry.message, entry.row):
            return True
        where = self._known.find([entry.key])
        if self._overtaken_by([entry.output], where).any() if entry.output else self._known.is_followed(entry.key):
            return True
        return bool(self._later([entry.key], where))


def _positions(mask: NDArray[np.bool_]) -> list[int]:
    return _listed(np.flatnonzero(mask))


def _listed(positions: NDArray[np.int64]) -> list[int]:
    return cast("list[int]", positions.tolist())


def _declined(item: WorkItem, error: ItemError) -> DeclinedRow:
    """A pending row whose file has been looked into."""
    return DeclinedRow(
        index=item.row.index,
        source=item.row.source_url,
        error=error,
        output=item.output_url,
        item=item,
        compared=compared_by(item),
        was_pending=True,
    )


def compared_by(item: WorkItem) -> Compared:
    """How a later run compares the source of an item that is settled."""
    return Compared.BY_MANIFEST if version_word(item.row) else Compared.BY_STORE


def _size_of(output: FileStat | ItemError) -> int:
    """Bytes of an output, -1 for none. A store that cannot say is no reason to make outputs anew: it ends the run."""
    if isinstance(output, FileStat):
        return output.bytes
    if output.kind in (ErrorKind.FORBIDDEN, ErrorKind.STORAGE_ERROR):
        with faults.run_level(output.url):
            raise output
    return -1


def _sequence(url: str) -> FileStat | ItemError:
    try:
        return sequence_stat(url)
    except ItemError as error:
        return error
