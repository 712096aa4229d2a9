"""Sizes and passes, before any pixel is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.params import UpscaleParams
from farm.target import Pass, final_size, most_passes, plan_passes, work_factor

from .items import PARAMS

SIDES = st.integers(1, 9001)


def asked(scale: int = 4, *, outscale: float = 0.0, **changes: object) -> UpscaleParams:
    made = replace(PARAMS, scale=scale, outscale=outscale, passes=most_passes(scale))
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


def work(width: int, height: int, params: UpscaleParams) -> float:
    """Pixels through the network for one of the source."""
    passes = plan_passes(width, height, params)
    return sum(one.source[0] * one.source[1] for one in passes) / (width * height)


@pytest.mark.parametrize(("scale", "most"), [(1, 1), (2, 4), (3, 3), (4, 2), (8, 2), (16, 1)])
def test_passes_end_where_sixteen_is_reached(scale: int, most: int) -> None:
    assert most_passes(scale) == most


@given(width=SIDES, height=SIDES, outscale=st.floats(0.25, 16), scale=st.sampled_from([1, 2, 3, 4]))
def test_a_scale_gives_sides_cut_to_whole_pixels_and_passes_that_lead_there(
    width: int, height: int, outscale: float, scale: int
) -> None:
    params = asked(scale, outscale=outscale)
    passes = plan_passes(width, height, params)
    assert passes[-1].out == (max(1, int(width * outscale)), max(1, int(height * outscale)))
    assert passes[0].source == (width, height)
    assert [one.out for one in passes[:-1]] == [one.source for one in passes[1:]]
    assert len(passes) <= params.passes
    for one in passes:
        assert scale == 1 or all(made <= scale * read for made, read in zip(one.out, one.source, strict=True))
    fewer = scale ** (len(passes) - 1)
    assert len(passes) == 1 or max(passes[-1].out[0] / width, passes[-1].out[1] / height) > fewer


@pytest.mark.parametrize("outscale", [0.25, 1, 2, 3, 3.5, 4])
def test_what_one_pass_reaches_is_one_pass(outscale: float) -> None:
    assert work(101, 67, asked(outscale=outscale)) == 1


def test_a_later_pass_reads_no_more_than_the_target_needs() -> None:
    assert work(400, 300, asked(outscale=6)) == 1 + 1.5**2
    assert work(400, 300, asked(outscale=16)) == 1 + 16
    assert work(400, 300, asked(2, outscale=6)) == 1 + 1.5**2 + 3**2
    for scale, outscale in ((4, 6), (4, 16), (2, 6), (2, 16), (4, 3), (2, 2)):
        params = asked(scale, outscale=outscale)
        params = replace(params, passes=1 if outscale <= scale else params.passes)
        assert work_factor(params) == pytest.approx(work(400, 300, params))


@pytest.mark.parametrize(("scale", "between"), [(4, [(52, 28)]), (2, [(26, 14), (52, 28), (104, 56)])])
def test_sixteen_times_leaves_whole_multiples_between_passes(scale: int, between: list[tuple[int, int]]) -> None:
    passes = plan_passes(13, 7, asked(scale, outscale=16))
    assert [one.out for one in passes] == [*between, (208, 112)]


@pytest.mark.parametrize(
    ("source", "fit", "made"),
    [
        ((1000, 500), "contain", (3840, 1920)),
        ((1000, 500), "cover", (4320, 2160)),
        ((1000, 500), "stretch", (3840, 2160)),
        ((501, 997), "contain", (1085, 2160)),
        ((501, 997), "cover", (3840, 7642)),
        ((16, 9), "contain", (3840, 2160)),
        ((16, 9), "cover", (3840, 2160)),
        ((9000, 1), "contain", (3840, 1)),
        ((1, 9000), "contain", (1, 2160)),
    ],
)
def test_a_size_is_met_as_asked(source: tuple[int, int], fit: str, made: tuple[int, int]) -> None:
    assert final_size(*source, asked(size=(3840, 2160), fit=fit)) == made


@given(width=SIDES, height=SIDES, across=SIDES, down=SIDES)
def test_contained_pictures_lie_within_and_covering_ones_over_the_size(
    width: int, height: int, across: int, down: int
) -> None:
    inner = final_size(width, height, asked(size=(across, down)))
    outer = final_size(width, height, asked(size=(across, down), fit="cover"))
    for made, other in ((inner, 0), (outer, 1)):
        assert made[0] == across or made[1] == down
        assert abs(made[0] * height - made[1] * width) <= max(width, height) / 2 or 1 in made, other
    assert inner[0] <= across
    assert inner[1] <= down
    assert outer[0] >= across
    assert outer[1] >= down


@given(width=SIDES, height=SIDES, most=st.integers(1, 4000))
def test_no_side_is_longer_than_allowed_and_the_shape_stays(width: int, height: int, most: int) -> None:
    free = final_size(width, height, asked(outscale=3.5))
    made = final_size(width, height, asked(outscale=3.5, max_side=most))
    if max(free) <= most:
        assert made == free
        return
    assert max(made) == most
    assert abs(made[0] * free[1] - made[1] * free[0]) <= max(free) / 2 or 1 in made


def test_a_limited_side_costs_no_pass_that_it_does_not_need() -> None:
    assert work(400, 300, asked(outscale=16, max_side=1600)) == 1
    assert work(400, 300, asked(outscale=16, max_side=2400)) == 1 + 1.5**2


def test_a_size_beyond_all_passes_is_resampled_at_the_end() -> None:
    passes = plan_passes(10, 5, asked(size=(3840, 1920)))
    assert passes == (Pass(source=(10, 5), out=(40, 20)), Pass(source=(40, 20), out=(3840, 1920)))


def test_a_side_that_needs_no_second_pass_loses_nothing_to_it() -> None:
    passes = plan_passes(100, 100, asked(size=(600, 50), fit="stretch"))
    assert [one.out for one in passes] == [(150, 50), (600, 50)]


def test_where_a_codec_rounds_the_passes_lead_to_what_it_holds() -> None:
    assert plan_passes(101, 51, asked(outscale=16), (1616, 814))[-1].out == (1616, 814)
