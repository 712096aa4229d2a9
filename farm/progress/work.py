"""What is ahead of a run: the source pixels of every row, as known, or as rows like it have turned out. Pure.

Work is source pixels times what one costs in the row's model. A picture has width times height of them, a film that
times its frames. Before a worker has looked into a source its size is a guess from the bytes of its file
(`farm.plan`); how far such guesses were off for rows that have been looked into, tells what the others will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.kinds import CONTAINERS, PICTURE_EXTENSIONS, MediaKind, extension_of
from farm.records import WorkItem

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


def likeness(model: str, kind: MediaKind, source_url: str, size: tuple[int | None, int | None]) -> Likeness:
    """Which rows a row is like; `size` as the manifest says it."""
    sized, extension = kind is MediaKind.IMAGE and bool(size[0] and size[1]), extension_of(source_url)
    return Likeness(model=model, kind=kind, extension=extension if extension in _KNOWN else "", sized=sized)


def likeness_of(item: WorkItem) -> Likeness:
    """Which rows an item's is like."""
    row = item.row
    return likeness(item.params.model, row.kind, row.source_url, (row.width, row.height))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Work that is left."""

    work: float
    sure: bool
    """whether all of it is known or estimated; else there are rows of which nothing can be said yet"""


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
        costs: floating-point operations that a source pixel costs, by model.
        guesses: source pixels of the pending rows that are planned, as they were guessed.
        rows: how many these are.
        unplanned: rows that will be planned later.
    """

    def __init__(
        self, costs: Mapping[str, float], guesses: Mapping[Likeness, int], rows: int, unplanned: int = 0
    ) -> None:
        self._costs = costs
        self._planned = 0
        self._rows: dict[Likeness, _Guessed] = {}
        self.expect(guesses, rows, unplanned)
        self._open: dict[str, float] = {}
        """work that is left of items whose size is known"""
        self.before = 0.0
        """work that earlier runs have done"""
        self.done = 0.0
        """work that this run has done"""

    def expect(self, guesses: Mapping[Likeness, int], rows: int, unplanned: int) -> None:
        """`rows` more are planned, with the source pixels that were guessed, and so many are not yet."""
        for likeness, px in guesses.items():
            self._rows.setdefault(likeness, _Guessed()).waiting += px
        self._planned += rows
        self._unplanned = unplanned

    def measured(self, item: WorkItem, px: int, *, before_px: int = 0) -> None:
        """An item has `px` source pixels, of which earlier runs have restored `before_px`."""
        rows = self._waiting_no_more(item)
        rows.thought += item.cost_px
        rows.found += px
        cost = self._cost(item.params.model)
        self.before += before_px * cost
        self._open[item.item_id] = (px - before_px) * cost

    def restored(self, item: WorkItem, px: int) -> None:
        """So many more source pixels of a measured item are restored."""
        work = px * self._cost(item.params.model)
        self.done += work
        self._open[item.item_id] = max(0.0, self._open.get(item.item_id, 0.0) - work)

    def ended(self, item: WorkItem) -> None:
        """Nothing is left of an item, whatever became of it."""
        if self._open.pop(item.item_id, None) is None:
            self._waiting_no_more(item)

    @property
    def ahead(self) -> Ahead:
        """What is left."""
        work, sure = sum(self._open.values()), True
        for likeness, rows in self._rows.items():
            if rows.waiting <= 0:
                continue
            off = self._off(likeness)
            sure = sure and off is not None
            work += rows.waiting * (off or 0.0) * self._cost(likeness.model)
        if self._unplanned and self._planned:
            work += (self.before + self.done + work) / self._planned * self._unplanned
        return Ahead(work=work, sure=sure and bool(self._planned or not self._unplanned))

    def _waiting_no_more(self, item: WorkItem) -> _Guessed:
        rows = self._rows.setdefault(likeness_of(item), _Guessed())
        rows.waiting = max(0.0, rows.waiting - item.cost_px)
        return rows

    def _off(self, likeness: Likeness) -> float | None:
        """By what factor guesses have turned out to be off: of such files, else of all of that kind; None: unknown."""
        if likeness.sized:
            return 1.0
        others = [(one, rows) for one, rows in self._rows.items() if one.kind is likeness.kind and not one.sized]
        same = _ratio(rows for one, rows in others if one.extension == likeness.extension)
        return same if same is not None else _ratio(rows for _, rows in others)

    def _cost(self, model: str) -> float:
        return self._costs.get(model) or max(self._costs.values(), default=1.0)


def _ratio(rows: Iterable[_Guessed]) -> float | None:
    thought, found = 0.0, 0.0
    for one in rows:
        thought += one.thought
        found += one.found
    return found / thought if thought else None
