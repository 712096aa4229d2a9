"""Sums over pixels add up whatever the cuts, and a picture that turned black is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sr_kernel.fidelity import BINS, Blocks, PixelStats, is_black

sums = st.integers(0, 1 << 40)
votes = st.sampled_from([(), tuple(range(2 * BINS)), (1,) * 2 * BINS])
phases = st.sampled_from([(), (1, 2, 3, 4), (5, 0, 7, 1)])
all_blocks = st.builds(Blocks, count=sums, off=sums, votes=votes, phases=phases, phase_samples=sums)
signed = st.integers(-(1 << 40), 1 << 40)
all_stats = st.builds(
    PixelStats,
    samples=sums,
    sum_in=sums,
    sum_out=sums,
    sum_abs_diff=sums,
    compared=sums,
    sum_sq_diff=sums,
    sums_diff=st.one_of(st.just(()), st.tuples(signed, signed, signed)),
    blocks=all_blocks,
    seams=sums,
    seam=sums,
    beside=sums,
)


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


def test_figures_of_nothing_are_none() -> None:
    old = PixelStats(samples=3, sum_in=4, sum_out=5, sum_abs_diff=6)
    for stats in (PixelStats(), old):
        assert (stats.consistency, stats.colour, stats.off, stats.stripes, stats.lattice, stats.seam_score) == (
            (None,) * 6
        )


def test_consistency_is_a_psnr_of_what_was_compared() -> None:
    assert PixelStats(samples=9, compared=3, sum_sq_diff=3).consistency == 48.131
    assert PixelStats(samples=3, compared=3).consistency == 99


def test_colour_is_the_worst_channels_mean_difference() -> None:
    assert PixelStats(samples=300, compared=300, sums_diff=(50, -420, 100)).colour == 4.2


def test_stripes_whose_width_lies_between_two_bins_vote_together() -> None:
    across, down = [0] * BINS, [0] * BINS
    across[3], down[10], down[11], down[30] = 4, 3, 2, 4
    stats = PixelStats(blocks=Blocks(count=20, votes=(*across, *down)))
    assert (stats.striped, stats.stripes) == (5, 0.25)


def test_lattice_is_what_cells_share_less_the_picture_s_slope() -> None:
    slope = tuple(100 + 7 * x - 3 * y for y in range(4) for x in range(4))
    assert PixelStats(blocks=Blocks(count=1, phases=slope, phase_samples=1)).lattice == 0
    checked = tuple(level + (2 if (index + index // 4) % 2 else -2) for index, level in enumerate(slope))
    assert 1.9 < (PixelStats(blocks=Blocks(count=1, phases=checked, phase_samples=1)).lattice or 0) <= 2


def test_a_seam_score_is_one_where_edges_are_as_what_is_beside_them() -> None:
    assert PixelStats(seams=5, seam=15 * 10**6, beside=60 * 10**6).seam_score == 1
    assert PixelStats(seams=5).seam_score == 1, "no difference at all"
    assert (PixelStats(seams=5, seam=15 * 4 * 10**6).seam_score or 0) > 8


def test_black_is_below_one_level_where_the_source_is_above_four() -> None:
    def black(mean_in: float, mean_out: float) -> bool:
        return is_black(PixelStats(samples=1000, sum_in=int(mean_in * 1000), sum_out=int(mean_out * 1000)))

    assert black(128, 0)
    assert black(4.001, 0.999)
    assert not black(4, 0), "a dark source may give a black output"
    assert not black(4.001, 1)
    assert not black(128, 120)
    assert not is_black(PixelStats())
