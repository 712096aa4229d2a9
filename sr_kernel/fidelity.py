"""Is the output believable: integer sums over pixels that add up to the same whatever the cuts. No torch."""

from __future__ import annotations

from dataclasses import dataclass

BLACK_OUT_LEVEL = 1
"""an output whose mean is below this many 8-bit levels is black"""
BLACK_IN_LEVEL = 4
"""a source whose mean is above this many 8-bit levels is not"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStats:
    """Integer sums over source pixels, so that they add up to the same whatever the cuts."""

    samples: int = 0
    """source pixels x 3 channels"""
    sum_in: int = 0
    """sum of source samples, on the 8-bit scale"""
    sum_out: int = 0
    """sum of the output averaged over each source pixel, on the 8-bit scale"""
    sum_abs_diff: int = 0
    """sum of |averaged output - source|, on the 8-bit scale"""

    def __add__(self, other: PixelStats) -> PixelStats:
        return PixelStats(
            samples=self.samples + other.samples,
            sum_in=self.sum_in + other.sum_in,
            sum_out=self.sum_out + other.sum_out,
            sum_abs_diff=self.sum_abs_diff + other.sum_abs_diff,
        )

    @property
    def fidelity(self) -> float:
        """Mean absolute difference between source and box-averaged output, in 8-bit levels, 3 decimals."""
        return round(self.sum_abs_diff / self.samples, 3) if self.samples else 0.0


def is_black(stats: PixelStats) -> bool:
    """Whether a picture that was not black came out black: its mean fell from above 4 levels to below 1, of 255."""
    return stats.sum_out < BLACK_OUT_LEVEL * stats.samples and stats.sum_in > BLACK_IN_LEVEL * stats.samples
