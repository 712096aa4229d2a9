"""Which sample comes when: a pure function of the position in the training, so that nothing of it has to be kept.

Every source is gone through without repeating a sample, epoch by epoch, each in an order of its own. Several are mixed
in blocks that hold each exactly as often as its weight says.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from farm.errors import UsageError

BLOCK = 1000
"""positions over which the shares of the sources are exact"""
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """One sample."""

    source: int
    epoch: int
    """of that source"""
    number: int


class Order:
    """The samples of positions 0, 1, 2, ..."""

    def __init__(self, lengths: Sequence[int], weights: Sequence[float], seed: int) -> None:
        """Of sources with so many samples. Raises UsageError for one that has none."""
        for index, length in enumerate(lengths):
            if not length:
                raise UsageError(f"data.sources[{index}]: has no pair; take it out")
        self._lengths = tuple(lengths)
        self._counts = _shares(weights)
        self._ends = tuple(accumulate(self._counts))
        self._seed = seed

    def __getitem__(self, position: int) -> Place:
        block, at = divmod(position, BLOCK)
        slot = shuffled(at, BLOCK, f"{self._seed}/mix/{block}") if len(self._counts) > 1 else at
        source = bisect_right(self._ends, slot)
        nth = block * self._counts[source] + slot - (self._ends[source] - self._counts[source])
        epoch, number = divmod(nth, self._lengths[source])
        key = f"{self._seed}/{source}/{epoch}"
        return Place(source, epoch, shuffled(number, self._lengths[source], key))


def shuffled(number: int, length: int, key: str) -> int:
    """Where a shuffle of `length` things, another for each key, puts the one of that number.

    A Feistel network over the next power of four, walked until it stays inside: a permutation without a table.
    """
    half = max(1, math.ceil((length - 1).bit_length() / 2))
    mask = (1 << half) - 1
    keyed = key.encode("ascii")
    while True:
        left, right = number >> half, number & mask
        for turn in range(_ROUNDS):
            text = b"%d %d" % (turn, right)
            digest = blake2b(text, key=keyed[:64], digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        number = left << half | right
        if number < length:
            return number


def _shares(weights: Sequence[float]) -> tuple[int, ...]:
    """How many of BLOCK positions belong to each, by largest remainders, none fewer than one."""
    total = sum(weights)
    exact = [BLOCK * weight / total for weight in weights]
    counts = [max(1, int(one)) for one in exact]
    by_rest = sorted(range(len(weights)), key=lambda index: counts[index] - exact[index])
    for turn in range(BLOCK - sum(counts)):
        counts[by_rest[turn % len(counts)]] += 1
    while sum(counts) > BLOCK:
        counts[counts.index(max(counts))] -= 1
    return tuple(counts)
