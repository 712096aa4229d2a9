"""Rows on their way to the workers: planned shard by shard, counted, written down where they need no worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from farm import storage
from farm.closing import Closing
from farm.entries import known_piece, refused_entry, suffices
from farm.kinds import MediaKind
from farm.ledger import Compared, Ledger
from farm.progress import Likeness, likeness_of
from farm.records import FileStat, LedgerEntry, Part, PartKind, Piece, WorkItem
from farm.summary import RowState, Tally
from farm.survey import DeclinedRow, KnownRow, PendingRow, ShardPlan, Survey, Surveyor


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Some of the rows that are to do. Only these go to workers, and only their shards are planned."""

    items: Mapping[str, WorkItem]
    """by id"""
    states: Counter[RowState]
    """of all rows of the manifest"""

    @property
    def shards(self) -> set[int]:
        return {item.shard for item in self.items.values()}

    @property
    def guesses(self) -> Counter[Likeness]:
        """Their source pixels, as far as they can be guessed."""
        found: Counter[Likeness] = Counter()
        for item in self.items.values():
            found[likeness_of(item)] += item.cost_px
        return found


class Feed:
    """The rows of one run. Nothing is kept of a row that has gone to a worker but the pieces it may be made of.

    With some of them `chosen` the tally has counted all states already.
    """

    def __init__(
        self,
        surveyor: Surveyor,
        counted: Survey,
        book: Ledger,
        closing: Closing,
        tally: Tally,
        run: str,
        chosen: Chosen | None = None,
    ) -> None:
        self._surveyor = surveyor
        self._counted = counted
        self._book = book
        self._closing = closing
        self._tally = tally
        self._run = run
        self._begun: set[int] = set()
        """shards whose turn it was"""
        self._pieces: dict[str, Sequence[LedgerEntry]] = {}
        """what earlier runs have made of items that are pending"""
        self._chosen = chosen
        self.expected = counted.open_rows if chosen is None else len(chosen.items)
        """rows that go to workers, as far as is known: of shards that have not been planned, all"""
        self.unplanned = counted.open_rows if chosen is None else 0
        """rows of shards that have not been planned"""
        self.planned = 0 if chosen is None else len(chosen.items)
        """rows of planned shards that go to workers"""
        self.guesses: Counter[Likeness] = Counter() if chosen is None else chosen.guesses
        """and their source pixels, as far as they can be guessed"""
        self.refused: Counter[str] = Counter()
        """rows that were refused, by class"""
        self.unverified = 0
        """rows whose source was to be verified, but has no digest"""
        self.on_planned: Callable[[Mapping[Likeness, int], int], None] = self._count
        """called with what is new: guesses, and how many rows they are of"""
        self.on_shard: Callable[[], None] = lambda: None
        """called before a shard is planned"""
        self.is_over: Callable[[], bool] = lambda: False
        """asked before a shard is planned, and after each row that is refused: whether no more rows are wanted"""

    def parts(self) -> Iterator[Part]:
        """Every row that is to be done."""
        plans = self._surveyor.plans(self._counted, among=None if self._chosen is None else self._chosen.shards)
        while True:
            self.on_shard()
            if self.is_over():
                return
            shard, planned = next(plans, (None, None))
            if shard is None or planned is None:
                return
            self._book.seen(planned.latest_unix)
            self._closing.begin(shard.number, len(shard), shard.digest(), planned.gone())
            self._begun.add(shard.number)
            for number in sorted(planned.disowned() & self._counted.not_begun(self._surveyor.ledger, self._begun)):
                self._book.touch(number)
            self.unverified += planned.unverified
            self._expect(planned)
            yield from self._parts(planned, shard.number)
            if self.is_over():
                return
            self._closing.all_read(shard.number)
            del shard, planned  # or two shards are held while the next one is planned

    def _parts(self, planned: ShardPlan, shard: int) -> Iterator[Part]:
        refusals: Counter[str] = Counter()
        for row in planned.rows():
            if self._chosen is None:
                self._tally.states[row.state] += 1
            if isinstance(row, PendingRow):
                if self._chosen is None or row.item.item_id in self._chosen.items:
                    yield self._begin(row, shard)
            elif isinstance(row, DeclinedRow):
                self._refused(row, shard, planned, refusals)
                if self.is_over():
                    return
            else:
                self._known(row, shard)

    def _begin(self, row: PendingRow, shard: int) -> Part:
        item = row.item
        self._closing.started(shard)
        if row.pieces:
            self._pieces[item.item_id] = row.pieces
        kind = PartKind.FILM if item.row.kind is MediaKind.VIDEO else PartKind.PICTURE
        return Part(item=item, kind=kind, cost_px=item.cost_px)

    def _expect(self, planned: ShardPlan) -> None:
        if self._chosen is not None:
            return
        self.unplanned -= len(planned)
        self.expected -= len(planned) - planned.pending
        self.on_planned(planned.guesses(), planned.pending)

    def _count(self, guesses: Mapping[Likeness, int], rows: int) -> None:
        """As long as nobody else counts."""
        self.planned += rows
        for one, px in guesses.items():
            self.guesses[one] += px

    def _refused(self, row: DeclinedRow, shard: int, planned: ShardPlan, refusals: Counter[str]) -> None:
        if row.was_pending and self._chosen is None:
            self.expected -= 1
            self.on_planned({likeness_of(row.item): -row.item.cost_px} if row.item else {}, -1)
        self.refused[row.error.kind.value] += 1
        times = refusals[row.source]
        refusals[row.source] += 1
        entry = refused_entry(
            row.index, row.source, row.error, item=row.item, output=row.output, shard=shard, times=times, run=self._run
        )
        if planned.differs(entry):
            self._book.note(entry)
        self._closing.known(shard, entry.key, row.state, row.compared)
        self._tally.note_failure(entry.message)

    def _known(self, row: KnownRow, shard: int) -> None:
        if row.moved is not None:
            self._book.note(row.moved)
        self._closing.known(shard, row.key, row.state, row.compared)
        if row.state is RowState.REUSED:
            self._tally.note_output(row.output)
        else:
            self._tally.note_failure(row.message)

    def ended(self, item: WorkItem, state: RowState, compared: Compared) -> None:
        """A row has come back; NOT_MARKED for one that failed and is tried again by the next run."""
        self._pieces.pop(item.item_id, None)
        self._closing.ended(item.shard, item.item_id, state, compared)

    def pieces(self, item: WorkItem) -> dict[str, Piece]:
        """standing_pieces() of an item; asked for once."""
        return standing_pieces(self._pieces.pop(item.item_id, ()), item)


def standing_pieces(entries: Sequence[LedgerEntry], item: WorkItem) -> dict[str, Piece]:
    """Of bands or segments that earlier runs have finished those that are still there, and lack no more than the item
    may, by part id."""
    answers = storage.ManyStats().ask([entry.output for entry in entries], confirm=False)
    return {
        entry.key: known_piece(int(entry.key.rpartition("/")[2]), entry)
        for entry, answer in zip(entries, answers, strict=True)
        if isinstance(answer, FileStat) and answer.bytes == entry.bytes and suffices(entry, item.params)
    }
