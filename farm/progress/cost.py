"""What a source pixel costs: seconds of a worker, as they turn out by model and kind of medium. Pure.

Before any of a kind has ended it is taken to cost what the model's floating-point operations cost elsewhere in the run;
before anything at all has ended costs are these operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.kinds import MediaKind

_HALF_LIFE_S = 900.0
"""after which what was learned counts half: machines get busier, and sources change, over a night"""

_AT_MOST = 2.0
"""times what its kind has cost, that a part counts: one picture that had to be restored twice says little of others; if
all have become so dear, each moves the mean"""
_OUTWEIGHED = 0.2
"""of all seconds before it, that a part counts whatever it cost: among many, dear ones will come again"""

Costly = tuple[str, MediaKind]
"""model, or operation, and kind of medium: what costs alike"""


@dataclass(slots=True)
class Ratio:
    """Of two sums that fade together: the later a part of them came, the more it counts."""

    over: float = 0.0
    under: float = 0.0
    _last_s: float = 0.0

    def add(self, over: float, under: float, now_s: float) -> None:
        """To each sum."""
        kept = 0.5 ** (max(0.0, now_s - self._last_s) / _HALF_LIFE_S)
        self.over = self.over * kept + over
        self.under = self.under * kept + under
        self._last_s = now_s

    @property
    def value(self) -> float | None:
        """None while nothing tells."""
        return self.over / self.under if self.over > 0 and self.under > 0 else None


class Costs:
    """Learned from what has ended. `flops`: floating-point operations a source pixel, by model or operation."""

    def __init__(self, flops: Mapping[str, float]) -> None:
        self._flops = flops
        self._seconds: dict[Costly, Ratio] = {}
        """by pixel"""

    def learn(self, costly: Costly, px: int, seconds: float, now_s: float) -> None:
        """A worker has spent `seconds` on `px` source pixels more; on a join it spends them on none."""
        known = self._seconds.setdefault(costly, Ratio())
        if px and known.value is not None:
            seconds = min(seconds, max(_AT_MOST * px * known.value, _OUTWEIGHED * known.over))
        known.add(seconds, px, now_s)

    def per_px(self, costly: Costly) -> float:
        """Seconds; operations while nothing at all is known. Only what is asked for between two learnings compares."""
        known = self._seconds.get(costly)
        if known is not None and (seconds := known.value) is not None:
            return seconds
        operations = self._operations(costly[0])
        alike = [(one, ratio) for one, ratio in self._seconds.items() if one[0] == costly[0]]
        by_operation = self._by_operation(alike) or self._by_operation(self._seconds.items())
        return operations * (by_operation or 1.0)

    def _by_operation(self, known: Iterable[tuple[Costly, Ratio]]) -> float | None:
        """Seconds of one; None while nothing tells."""
        seconds, operations = 0.0, 0.0
        for (model, _), ratio in known:
            seconds += ratio.over
            operations += ratio.under * self._operations(model)
        return seconds / operations if seconds > 0 and operations > 0 else None

    def _operations(self, model: str) -> float:
        return self._flops.get(model) or max(self._flops.values(), default=1.0)
