"""Sums over pixels add up whatever the cuts, and a picture that turned black is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sr_kernel.fidelity import PixelStats, is_black

sums = st.integers(0, 1 << 40)
all_stats = st.builds(PixelStats, samples=sums, sum_in=sums, sum_out=sums, sum_abs_diff=sums)


@given(all_stats, all_stats, all_stats)
def test_sums_do_not_depend_on_the_cuts(one: PixelStats, two: PixelStats, three: PixelStats) -> None:
    assert (one + two) + three == three + (two + one)
    assert one + PixelStats() == one


def test_fidelity_is_the_mean_difference_in_levels() -> None:
    assert PixelStats().fidelity == 0.0
    assert PixelStats(samples=3, sum_abs_diff=4).fidelity == 1.333


@given(all_stats)
def test_fidelity_is_never_negative(stats: PixelStats) -> None:
    assert stats.fidelity >= 0


def test_black_is_below_one_level_where_the_source_is_above_four() -> None:
    def black(mean_in: float, mean_out: float) -> bool:
        return is_black(PixelStats(samples=1000, sum_in=int(mean_in * 1000), sum_out=int(mean_out * 1000)))

    assert black(128, 0)
    assert black(4.001, 0.999)
    assert not black(4, 0), "a dark source may give a black output"
    assert not black(4.001, 1)
    assert not black(128, 120)
    assert not is_black(PixelStats())
