"""Which pictures stand twice in a data set: the same file, or nearly the same picture.

Of rows that are alike the one with the smallest key is kept, wherever it stands, so the answer does not depend on the
order of the rows. A row's near duplicate is the row of the smallest key within the distance, directly: of a chain a, b,
c whose ends are too far apart, b is a's duplicate and c is b's.

Near hashes are found exactly. Hashes that differ in at most n bits agree in one of n + 1 parts of their bits, so only
hashes that agree in a part are compared, pair by pair. Where too many agree (frames of one film, similar sketches) they
are taken apart again by the bits that still vary among them; where few bits vary, a table of all their values answers
for all hashes at once. So neither equal nor crowded hashes cost pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

NONE = -1
_BITS = 64
_MOST_PAIRED = 512
"""hashes of one group that are compared pair by pair"""
_MOST_TABLED_BITS = 20
"""bits that vary in a group for which a table of all values is made: 8 MB"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """By row: the position of the row that it doubles, NONE for none."""

    exact: Rows
    """the row of the smallest key with the same content"""
    near: Rows
    """the row of the smallest key whose picture looks the same, exact duplicates among them"""


def find_duplicates(keys: Any, sha256: Any, phash: Any, near_bits: int) -> Duplicates:
    """Exact and near duplicates of all rows.

    Args:
        keys: Arrow array of texts, in one piece or chunked, each text once.
        sha256: the same of texts; null for rows that are nobody's duplicate.
        phash: the same of texts of 16 hexadecimal digits, or null.
        near_bits: 0..3, in how many of 64 bits near ones may differ.
    """
    from pyarrow import compute

    arrow = cast(Any, compute)
    keys, sha256, phash = (_one_array(column) for column in (keys, sha256, phash))
    order: Rows = arrow.sort_indices(keys).to_numpy().astype(np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    exact = _canonical(_numbered(sha256), rank, order)
    near = np.full(len(order), NONE, np.int64)
    known = np.flatnonzero(arrow.is_valid(phash).to_numpy(zero_copy_only=False))
    if len(known):
        near[known] = first_near(_hashes(phash.drop_null()), rank[known], near_bits)
        near[known] = np.where(near[known] < rank[known], order[near[known]], NONE)
    return Duplicates(exact=exact, near=near)


def _numbered(texts: Any) -> Rows:
    """Equal numbers for equal texts, NONE for null."""
    from pyarrow import compute

    indices = cast(Any, compute).dictionary_encode(texts).indices
    return cast(Any, compute).fill_null(indices, NONE).to_numpy(zero_copy_only=False).astype(np.int64)


def _one_array(values: Any) -> Any:
    return values.combine_chunks() if hasattr(values, "combine_chunks") else values


def _canonical(numbers: Rows, rank: Rows, order: Rows) -> Rows:
    """The row of the smallest rank among those of an equal number; NONE for that row itself and for the number NONE."""
    first = np.full(int(numbers.max(initial=NONE)) + 2, len(rank), np.int64)  # the last place is NONE's
    np.minimum.at(first, numbers, rank)
    best = first[numbers]
    return np.where((numbers != NONE) & (best < rank), order[np.minimum(best, len(rank) - 1)], NONE)


def _hashes(texts: Any) -> Hashes:
    """Texts of 16 hexadecimal digits as numbers."""
    digits = "".join(texts.to_pylist())
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def first_near(hashes: Hashes, rank: Rows, near_bits: int) -> Rows:
    """For each hash the smallest rank among all hashes within `near_bits`, its own among them."""
    if not 0 <= near_bits <= 3:
        raise ValueError(f"near_bits {near_bits} is not in 0..3")
    values, place = np.unique(hashes, return_inverse=True)
    own = np.full(len(values), np.iinfo(np.int64).max)
    np.minimum.at(own, place, rank)
    search = _Search(values, own, near_bits)
    search.look(np.arange(len(values)), list(range(_BITS)))
    return search.best[place]


class _Search:
    """Distinct hashes, and for each the smallest rank near it that was seen so far."""

    def __init__(self, values: Hashes, rank: Rows, near_bits: int) -> None:
        self._values = values
        self._rank = rank
        self._near_bits = near_bits
        self.best = rank.copy()

    def look(self, members: Rows, bits: list[int]) -> None:
        """All pairs of the members, which may differ in `bits` only."""
        if not self._near_bits or len(members) < 2:
            return
        if len(members) <= _MOST_PAIRED:
            self._pair(members, np.array([0, len(members)]))
            return
        bits = self._varying(members, bits)
        if len(bits) <= _MOST_TABLED_BITS:
            self._tabulate(members, bits)
            return
        for part in _parts(bits, self._near_bits + 1):
            rest = [bit for bit in bits if bit not in part]
            ordered, bounds = self._grouped(members, part)
            sizes = np.diff(bounds)
            small = np.repeat(sizes <= _MOST_PAIRED, sizes)
            self._pair(ordered[small], np.concatenate(([0], np.cumsum(sizes[sizes <= _MOST_PAIRED]))))
            for group in np.flatnonzero(sizes > _MOST_PAIRED):
                self.look(ordered[bounds[group] : bounds[group + 1]], rest)

    def _varying(self, members: Rows, bits: list[int]) -> list[int]:
        values = self._values[members]
        differ = int(np.bitwise_or.reduce(values) ^ np.bitwise_and.reduce(values))
        return [bit for bit in bits if differ >> bit & 1]

    def _grouped(self, members: Rows, part: list[int]) -> tuple[Rows, Rows]:
        """The members ordered by what they hold in some bits, and where each group begins; last their number."""
        held = _squeezed(self._values[members], part)
        order = np.argsort(held, kind="stable")
        changes = np.flatnonzero(np.diff(held[order])) + 1
        return members[order], np.concatenate(([0], changes, [len(members)]))

    def _pair(self, members: Rows, bounds: Rows) -> None:
        """Compare all pairs within each group, those at one distance from each other in all groups at once."""
        values, rank, best = self._values[members], self._rank[members], self.best[members]
        sizes = np.diff(bounds)
        left = np.repeat(bounds[1:], sizes) - np.arange(len(members))
        """members from each one to the end of its group"""
        first = np.flatnonzero(left > 1)
        for step in range(1, int(sizes.max(initial=1))):
            first = first[left[first] > step]
            second = first + step
            near = np.bitwise_count(values[first] ^ values[second]) <= self._near_bits
            one, other = first[near], second[near]
            best[one] = np.minimum(best[one], rank[other])
            best[other] = np.minimum(best[other], rank[one])
        self.best[members] = np.minimum(self.best[members], best)

    def _tabulate(self, members: Rows, bits: list[int]) -> None:
        """The smallest rank at each value of the bits, spread to the values beside it as often as bits may differ."""
        held = _squeezed(self._values[members], bits).astype(np.int64)
        table = np.full(1 << len(bits), np.iinfo(np.int64).max)
        table[held] = self._rank[members]
        for _ in range(self._near_bits):
            before = table.copy()
            for bit in range(len(bits)):
                halves, spread = (array.reshape(-1, 2, 1 << bit) for array in (before, table))
                np.minimum(spread, halves[:, ::-1], out=spread)
        self.best[members] = np.minimum(self.best[members], table[held])


def _parts(bits: list[int], count: int) -> Iterator[list[int]]:
    """The bits in so many runs of about equal length. (Dealt out by how much each tells apart, they cost more.)"""
    for at in range(count):
        yield bits[at * len(bits) // count : (at + 1) * len(bits) // count]


def _squeezed(values: Hashes, bits: list[int]) -> Hashes:
    """What the values hold in some bits, moved together at the low end."""
    held = np.zeros(len(values), np.uint64)
    start = 0
    while start < len(bits):  # run by run: neighbours move together
        end = start + 1
        while end < len(bits) and bits[end] == bits[end - 1] + 1:
            end += 1
        run = values >> np.uint64(bits[start]) & np.uint64((1 << end - start) - 1)
        held |= run << np.uint64(start)
        start = end
    return held
