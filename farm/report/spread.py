"""Many values in little memory: how they are spread over a range, and over time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_BINS = 1000
_MOST_SLOTS = 4096


class Spread:
    """Values counted in a thousand bins of one range; what lies beyond it counts at its end."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self._counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._least, self._most = float("inf"), float("-inf")

    def add(self, values: NDArray[np.float64]) -> None:
        """NaN is no value."""
        values = values[~np.isnan(values)]
        if not len(values):
            return
        place = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low) * _BINS
        self._counts += np.bincount(np.minimum(place.astype(np.int64), _BINS - 1), minlength=_BINS)
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))

    @property
    def count(self) -> int:
        return int(self._counts.sum())

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value, exactly; infinite without any."""
        return self._least, self._most

    def quantile(self, share: float) -> float:
        """The value that `share` of all are at most, to a thousandth of the range; of no values NaN."""
        if not self.count:
            return float("nan")
        at = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        middle = self.low + (min(at, _BINS - 1) + 0.5) / _BINS * (self.high - self.low)
        return min(max(middle, self._least), self._most)

    def bars(self, low: float, high: float, count: int) -> list[int]:
        """How many values lie in each of `count` equal parts of `low` to `high`; those beyond at the ends."""
        middles = self.low + (np.arange(_BINS) + 0.5) / _BINS * (self.high - self.low)
        place = np.clip((middles - low) / (high - low) * count, 0, count - 1).astype(np.int64)
        return np.bincount(place, weights=self._counts, minlength=count).astype(np.int64).tolist()


@dataclass(slots=True)
class Timeline:
    """Amounts over time, in slots of one width: a second, and twice as long whenever there are too many."""

    width_s: int = 1
    slots: dict[int, float] = field(default_factory=dict[int, float])
    """amount by number of the slot"""

    def add(self, times: NDArray[np.float64], amounts: NDArray[np.float64]) -> None:
        """When each amount was there, in seconds."""
        numbers, inverse = np.unique((times // self.width_s).astype(np.int64), return_inverse=True)
        sums = np.bincount(inverse, weights=amounts, minlength=len(numbers))
        for number, amount in zip(numbers.tolist(), sums.tolist(), strict=True):
            self.slots[number] = self.slots.get(number, 0.0) + amount
        while len(self.slots) > _MOST_SLOTS:
            self._widen()

    def _widen(self) -> None:
        self.width_s *= 2
        slots: dict[int, float] = {}
        for number, amount in self.slots.items():
            slots[number // 2] = slots.get(number // 2, 0.0) + amount
        self.slots = slots

    def parts(self, begin: float, end: float, count: int) -> list[float]:
        """Amount in each of `count` equal parts of a time; what a slot holds lies at its middle."""
        sums = [0.0] * count
        for number, amount in self.slots.items():
            place = ((number + 0.5) * self.width_s - begin) / (end - begin) * count
            sums[min(count - 1, max(0, int(place)))] += amount
        return sums
