"""Which rows a sample has: some of every stratum, drawn by what identifies them. Pure.

A stratum is what rows have in common that may go wrong alike, or cost alike: model, kind and extension, size, folder.
Rows go by once, in any number. Equal rows in equal order give equal samples; of each stratum those are drawn whose ids
have the lowest hashes, and ids follow from the plan (`farm.plan.make_id`).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import TypeVar

from farm.progress import Likeness, likeness_of
from farm.records import WorkItem

T = TypeVar("T")
MOST_STRATA = 1024
"""rows of folders beyond are told apart by all but their folder"""
ELSEWHERE = "elsewhere"
_HASH_BITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """What rows have in common."""

    likeness: Likeness
    size: int
    """of the source in powers of four, as far as its pixels can be guessed"""
    folder: str
    """of the source; ELSEWHERE for what comes beyond MOST_STRATA"""


@dataclass(slots=True)
class Crowd:
    """Rows of a stratum."""

    rows: int = 0
    px: int = 0
    """source pixels as the manifest says them, or as they are guessed"""

    def add(self, px: int) -> None:
        """One more row."""
        self.rows += 1
        self.px += px


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A row of a sample."""

    item_id: str
    shard: int
    px: int
    """source pixels, as guessed"""
    stratum: Stratum


class Draw:
    """Sees every row that is to do, and keeps the few of which `most` are drawn: at most some of each stratum."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._depth = most
        """of a stratum no more rows are wanted: never less than the sample takes of it in the end"""
        self._kept: dict[Stratum, list[tuple[int, str, WorkItem]]] = {}
        """heaps whose first has the highest draw, negated"""
        self.held = 0
        """rows that are kept"""
        self.crowds: dict[Stratum, Crowd] = {}
        self.rows = 0
        self.digest = 0
        """sum of the hashes of all ids"""

    def add(self, item: WorkItem) -> None:
        """One more row that is to do."""
        stratum, drawn = self._stratum(item), hash_of(item.item_id)
        self.rows += 1
        self.digest = added(self.digest, drawn)
        self.crowds.setdefault(stratum, Crowd()).add(item.cost_px)
        kept = self._kept.setdefault(stratum, [])
        one = (-drawn, item.item_id, item)
        if len(kept) >= self._depth:
            heapq.heappushpop(kept, one)
            return
        heapq.heappush(kept, one)
        self.held += 1
        if self.held > 2 * (self._most + len(self._kept)):
            self._prune()

    def sample(self) -> list[tuple[WorkItem, Drawn]]:
        """The sample: one of every stratum in turn, again and again, until it is full."""
        queues = [sorted(self._kept[stratum], reverse=True) for stratum in self._order()]
        turns = (one for turn in zip_longest(*queues) for one in turn if one is not None)
        return [(item, self._drawn(item)) for _, _, item in islice(turns, self._most)]

    def _stratum(self, item: WorkItem) -> Stratum:
        folder = item.row.source_url.rpartition("/")[0]
        found = Stratum(likeness=likeness_of(item), size=item.cost_px.bit_length() // 2, folder=folder)
        if found not in self.crowds and len(self.crowds) >= MOST_STRATA:
            return Stratum(likeness=found.likeness, size=found.size, folder=ELSEWHERE)
        return found

    def _drawn(self, item: WorkItem) -> Drawn:
        return Drawn(item_id=item.item_id, shard=item.shard, px=item.cost_px, stratum=self._stratum(item))

    def _prune(self) -> None:
        """Keep of each stratum as many as a sample of these rows alone would take: one of more rows takes no more."""
        sizes = sorted(map(len, self._kept.values()))
        self._depth = min(self._depth, _level(sizes, self._most))
        for kept in self._kept.values():
            while len(kept) > self._depth:
                heapq.heappop(kept)
                self.held -= 1

    def _order(self) -> list[Stratum]:
        """Strata, so that whatever number of the first ones has all kinds, then all sizes, then many folders."""
        kinds: dict[Likeness, dict[int, list[Stratum]]] = defaultdict(lambda: defaultdict(list))
        for stratum in sorted(self._kept, key=lambda one: (-max(self._kept[one])[0], one.folder)):
            kinds[stratum.likeness][stratum.size].append(stratum)
        named = sorted(kinds, key=lambda one: (one.kind.value, one.model, one.extension, one.sized))
        return interleaved(interleaved(kinds[name][size] for size in sorted(kinds[name])) for name in named)


def interleaved(queues: Iterable[Sequence[T]]) -> list[T]:
    """The first of each, the second of each, and so on."""
    return [one for turn in zip_longest(*queues) for one in turn if one is not None]


def hash_of(item_id: str) -> int:
    """What a row is drawn by: 64 bits."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=_HASH_BITS // 8).digest(), "big")


def added(digest: int, hashed: int) -> int:
    """The digest of a set with one more member, whatever the order."""
    return (digest + hashed) % (1 << _HASH_BITS)


def with_sample(crowds: Mapping[Stratum, Crowd], sample: Iterable[Drawn]) -> dict[Stratum, Crowd]:
    """The crowds of rows that are to do, with some that are done by now."""
    found = {stratum: Crowd(crowd.rows, crowd.px) for stratum, crowd in crowds.items()}
    for one in sample:
        found.setdefault(one.stratum, Crowd()).add(one.px)
    return found


def _level(sizes: Sequence[int], most: int) -> int:
    """The least L for which queues of these lengths, sorted, have `most` rows or all in their first L places."""
    gone, lower = 0, 0
    for at, size in enumerate(sizes):
        queues = len(sizes) - at
        if gone + size * queues >= most:
            return max(lower, -(-(most - gone) // queues))
        gone, lower = gone + size, size
    return lower
