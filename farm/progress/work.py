"""What is ahead of a run: the source pixels of every row, as known, or as rows like it have turned out. Pure.

Work is source pixels times what one costs (`farm.progress.cost`). A picture has width times height of them, a film that
times its frames. Before a worker has looked into a source its size is a guess from the bytes of its file
(`farm.plan`); how far such guesses were off for rows that have been looked into, tells what the others will be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from farm.expected import own_px
from farm.kinds import CONTAINERS, PICTURE_EXTENSIONS, MediaKind, extension_of
from farm.progress.cost import Costly, Costs
from farm.records import Part, PartKind, WorkItem

_KNOWN = PICTURE_EXTENSIONS | CONTAINERS.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What rows have in common whose sizes are guessed alike."""

    model: str
    kind: MediaKind
    extension: str
    """empty for what is no medium's: names may end in anything"""
    sized: bool
    """whether the manifest says how large: then it is no guess"""

    @property
    def costly(self) -> Costly:
        """Rows with equal ones cost alike."""
        return self.model, self.kind


def likeness(model: str, kind: MediaKind, source_url: str, size: tuple[int | None, int | None]) -> Likeness:
    """Which rows a row is like; `size` as the manifest says it."""
    sized, extension = kind is MediaKind.IMAGE and bool(size[0] and size[1]), extension_of(source_url)
    return Likeness(model=model, kind=kind, extension=extension if extension in _KNOWN else "", sized=sized)


def likeness_of(item: WorkItem) -> Likeness:
    """Which rows an item's is like."""
    row = item.row
    return likeness(item.params.model, row.kind, row.source_url, (row.width, row.height))


def held_px(parts: Iterable[Part]) -> Counter[Likeness]:
    """Source pixels of parts that are yet to be restored, by what they are like; guesses where nobody has looked into
    the source. What is only opened, and cut, has none; a picture that may have to be cut has those of a band."""
    held: Counter[Likeness] = Counter()
    for part in parts:
        if part.kind is PartKind.PICTURE and not part.item.is_pack:
            held[likeness_of(part.item)] += own_px(part)
        elif part.kind in (PartKind.BAND, PartKind.SEGMENT):
            held[replace(likeness_of(part.item), sized=True)] += part.cost_px
    return held


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of a row before anybody has looked into its source."""

    item_id: str
    likeness: Likeness
    guess_px: int


def row_of(item: WorkItem) -> Row:
    """Of an item."""
    return Row(item_id=item.item_id, likeness=likeness_of(item), guess_px=item.cost_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Work that is left."""

    work: float
    sure: bool
    """whether all of it is known, or guessed as such files have turned out; else some is guessed by its bytes alone"""


@dataclass(slots=True)
class _Open:
    """A row whose size is known, in source pixels."""

    costly: Costly
    left_px: int
    done_px: int = 0
    seconds: float = 0.0
    """that workers have spent on those"""


@dataclass(slots=True)
class _Guessed:
    """Rows of one likeness, in source pixels."""

    waiting: float = 0.0
    """guesses for those that nobody has looked into"""
    thought: float = 0.0
    """guesses for those whose size is known by now"""
    found: float = 0.0
    """and what they have"""


class Workload:
    """Counts the work of one run; rows that are not planned yet are taken to be like those that are.

    Args:
        flops: floating-point operations that a source pixel costs, by model.
        guesses: source pixels of the pending rows that are planned, as they were guessed.
        rows: how many these are.
        unplanned: rows that will be planned later.
    """

    def __init__(
        self, flops: Mapping[str, float], guesses: Mapping[Likeness, int], rows: int, unplanned: int = 0
    ) -> None:
        self.costs = Costs(flops)
        self._planned = 0
        self._rows: dict[Likeness, _Guessed] = {}
        self.expect(guesses, rows, unplanned)
        self._open: dict[str, _Open] = {}
        """by item, those that are under way"""
        self._before_px: Counter[Costly] = Counter()
        self._done_px: Counter[Costly] = Counter()

    def expect(self, guesses: Mapping[Likeness, int], rows: int, unplanned: int) -> None:
        """`rows` more are planned, with the source pixels that were guessed, and so many are not yet."""
        for likeness, px in guesses.items():
            self._rows.setdefault(likeness, _Guessed()).waiting += px
        self._planned += rows
        self._unplanned = unplanned

    def measured(self, row: Row, px: int, *, before_px: int = 0) -> None:
        """A row has `px` source pixels, of which earlier runs have restored `before_px`."""
        rows = self._waiting_no_more(row)
        rows.thought += row.guess_px
        rows.found += px
        self._before_px[row.likeness.costly] += before_px
        self._open[row.item_id] = _Open(row.likeness.costly, px - before_px)

    def restored(self, row: Row, px: int) -> None:
        """So many more source pixels of a measured row are restored."""
        found = self._open.setdefault(row.item_id, _Open(row.likeness.costly, 0))
        self._done_px[found.costly] += px
        found.done_px += px
        found.left_px = max(0, found.left_px - px)

    def spent(self, row: Row, px: int, seconds: float, now_s: float) -> None:
        """A worker has spent so long on a row, to restore `px` source pixels or to join them."""
        self.costs.learn(row.likeness.costly, px, seconds, now_s)
        if px and (found := self._open.get(row.item_id)):
            found.seconds += seconds

    def ended(self, row: Row) -> None:
        """Nothing is left of a row, whatever became of it."""
        if self._open.pop(row.item_id, None) is None:
            self._waiting_no_more(row)

    @property
    def is_planned(self) -> bool:
        """Whether any row is planned, or none is to be."""
        return bool(self._planned or not self._unplanned)

    @property
    def before(self) -> float:
        """Work that earlier runs have done."""
        return self._work(self._before_px)

    @property
    def done(self) -> float:
        """Work that this run has done."""
        return self._work(self._done_px)

    @property
    def ahead(self) -> Ahead:
        """What is left."""
        work, sure = sum(map(self._left, self._open.values())), True
        for likeness, rows in self._rows.items():
            if rows.waiting <= 0:
                continue
            off = self._off(likeness)
            sure = sure and off is not None
            work += rows.waiting * (1.0 if off is None else off) * self.costs.per_px(likeness.costly)
        if self._unplanned and self._planned:
            work += (self.before + self.done + work) / self._planned * self._unplanned
        return Ahead(work=work, sure=sure and self.is_planned)

    def of(self, held: Mapping[Likeness, int]) -> float:
        """Work of source pixels, as such rows have turned out."""
        return sum(
            px * (self._off(likeness) or 1.0) * self.costs.per_px(likeness.costly) for likeness, px in held.items()
        )

    def _work(self, pixels: Mapping[Costly, int]) -> float:
        return sum(px * self.costs.per_px(costly) for costly, px in pixels.items() if px)

    def _left(self, found: _Open) -> float:
        """Work: what of a film is restored tells best what the rest of it costs."""
        own = found.seconds / found.done_px if found.seconds else self.costs.per_px(found.costly)
        return found.left_px * own

    def _waiting_no_more(self, row: Row) -> _Guessed:
        rows = self._rows.setdefault(row.likeness, _Guessed())
        rows.waiting = max(0.0, rows.waiting - row.guess_px)
        return rows

    def _off(self, likeness: Likeness) -> float | None:
        """By what factor guesses have turned out to be off: of such files, else of all of that kind; None: unknown."""
        if likeness.sized:
            return 1.0
        others = [(one, rows) for one, rows in self._rows.items() if one.kind is likeness.kind and not one.sized]
        same = _ratio(rows for one, rows in others if one.extension == likeness.extension)
        return same if same is not None else _ratio(rows for _, rows in others)


def _ratio(rows: Iterable[_Guessed]) -> float | None:
    thought, found = 0.0, 0.0
    for one in rows:
        thought += one.thought
        found += one.found
    return found / thought if thought else None
