"""Which source frame is shown at each moment of a rate that was asked for. Integer arithmetic on ticks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm

from farm.errors import ErrorKind, ItemError

_FEW_FRAMES = 1_000_000
"""of an output, below which a frame may be repeated any number of times"""
_REPEATS = 1000
"""of one frame in a longer output, above which it is the timestamp of the next that is wrong"""
_MOST_FRAMES = 10_000_000
"""of any output: 46 hours of 60 a second"""
_FINE, _LARGEST_BASE = 1000, (1 << 31) - 1
"""ticks a second that are few for a container, and the most that one can say"""


def asked_base(rate: Fraction, start: Fraction) -> Fraction:
    """Seconds a tick in which the frames of a rate, and where that can be their start in seconds, are whole numbers."""
    exact = lcm(rate.numerator, start.denominator)
    ticks = exact if exact <= _LARGEST_BASE else rate.numerator
    return Fraction(1, ticks * max(1, -(-_FINE // ticks)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The output's frames, one a moment."""

    places: list[int]
    """source frame, counted from 0, that each is made from"""
    ticks: list[int]
    """when each is shown, counted from the first source frame in ticks of `base`"""
    base: Fraction
    """seconds a tick of the output"""


def moments(times: Sequence[int], last: Fraction, time_base: Fraction, rate: Fraction, url: str) -> Moments:
    """What is seen at 0, 1/rate, 2/rate, ... seconds from the first frame to the end of the last.

    Args:
        times: ticks of each source frame, ascending.
        last: ticks that the last one is shown.
        time_base: seconds a tick.
        rate: frames a second of the output.

    Raises:
        ItemError: UNSUPPORTED where a wrong timestamp would make an output without end.
    """
    step = 1 / (rate * time_base)
    first = times[0]
    count = max(1, int(-((first - times[-1] - last) // step)))
    if count > _FEW_FRAMES:
        _check_count(times, last, time_base, step, count, url)
    above, below = step.numerator, step.denominator
    base = asked_base(rate, first * time_base)
    ticks = 1 / (rate * base)
    return Moments(
        places=[max(0, bisect_right(times, first + number * above // below) - 1) for number in range(count)],
        ticks=[number * int(ticks) for number in range(count)],
        base=base,
    )


def _check_count(
    times: Sequence[int], last: Fraction, time_base: Fraction, step: Fraction, count: int, url: str
) -> None:
    """Refuse an output that is long because its times jump, or longer than any."""
    gap, place = max(((after - before, place) for place, (before, after) in enumerate(pairwise(times))), default=(0, 0))
    begin, end = times[place], times[place] + gap
    if gap < last:
        gap, place, begin, end = last, len(times) - 1, times[-1], times[-1] + last
    if gap > _REPEATS * step:
        found = f"its timestamps jump from {float(begin * time_base):.10g} s to {float(end * time_base):.10g} s: "
        found += f"frame {place} would be shown {int(gap // step)} times of {count} in all"
        advice = "correct its timestamps by remuxing it, or leave --fps out, which keeps them"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, advice)
    if count > _MOST_FRAMES:
        found = f"{count} frames at the rate that is asked for (limit {_MOST_FRAMES})"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "ask for fewer frames a second, or cut the film")
