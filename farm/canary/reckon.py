"""From what a sample took to what all rows would take: stratum by stratum, by source pixels. Pure.

Source pixels are known or guessed alike for all rows of a stratum, so that a guess that is off by some factor is off
for the whole as it was for the sample. A stratum of which nothing was restored is taken to be like those that are
nearest to it: of the same kind and size in other folders, of the same kind, of the same model, any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from farm.canary.draw import Crowd, Stratum
from farm.summary import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one row of the sample took that was restored."""

    stratum: Stratum
    guess_px: int
    """source pixels as they were guessed"""
    source_px: int
    """and as they are"""
    seconds: float
    """of a worker"""
    output_bytes: int


@dataclass(slots=True)
class _Sum:
    """Over rows that are alike."""

    guess_px: int = 0
    source_px: int = 0
    seconds: float = 0.0
    output_bytes: int = 0

    def add(self, one: Spent) -> None:
        self.guess_px += one.guess_px
        self.source_px += one.source_px
        self.seconds += one.seconds
        self.output_bytes += one.output_bytes


_NEARNESS: tuple[Callable[[Stratum], Hashable], ...] = (
    lambda one: one,
    lambda one: (one.likeness, one.size),
    lambda one: one.likeness,
    lambda one: (one.likeness.model, one.likeness.kind),
    lambda one: one.likeness.kind,
    lambda _: None,
)


def reckon(crowds: Mapping[Stratum, Crowd], spent: Iterable[Spent]) -> Whole | None:
    """What the crowds would take, as if none of their rows failed; None where nothing of the sample tells."""
    sums: list[defaultdict[Hashable, _Sum]] = [defaultdict(_Sum) for _ in _NEARNESS]
    for one in spent:
        if one.guess_px > 0:
            for kind, alike in zip(_NEARNESS, sums, strict=True):
                alike[kind(one.stratum)].add(one)
    if not sums[-1]:
        return None
    scaled: list[tuple[_Sum, float]] = []
    for stratum, crowd in crowds.items():
        near = next(alike[key] for kind, alike in zip(_NEARNESS, sums, strict=True) if (key := kind(stratum)) in alike)
        scaled.append((near, crowd.px / near.guess_px))
    return Whole(  # exact sums, so that the order of the strata says nothing
        source_px=fsum(near.source_px * times for near, times in scaled),
        worker_seconds=fsum(near.seconds * times for near, times in scaled),
        output_bytes=fsum(near.output_bytes * times for near, times in scaled),
    )
