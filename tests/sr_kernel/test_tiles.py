"""The geometry covers every pixel exactly once and never lets a false border into a picture."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sr_kernel.tiles import (
    COLOUR_REACH_PX,
    TAIL_HALO,
    Box,
    Mode,
    PicturePlan,
    PictureSpec,
    Strategy,
    band_out_rows,
    band_read_rows,
    band_tiles,
    plan_bands,
    plan_picture,
)

relaxed = settings(deadline=None)  # a busy machine is no failure


def spec_of(width: int, height: int, **changes: object) -> PictureSpec:
    values: dict[str, object] = {
        "scale": 4,
        "outscale": 4.0,
        "halo_px": 18,
        "align_px": 1,
        "whole_body": False,
        "tile_px": 64,
        "exact_px": 1 << 40,
    }
    return PictureSpec(width=width, height=height, **{**values, **changes})  # type: ignore[arg-type]


@st.composite
def specs(draw: st.DrawFn) -> PictureSpec:
    scale, align_px = draw(st.sampled_from([(4, 1), (2, 2), (1, 4), (3, 1), (2, 1), (4, 3)]))
    side = st.integers(1, 40) | st.integers(1, 900)
    return spec_of(
        draw(side),
        draw(side),
        scale=scale,
        align_px=align_px,
        outscale=draw(st.sampled_from([float(scale), 0.25, 1.0, 2.0, 3.5, 16.0]) | st.floats(0.25, 16)),
        halo_px=draw(st.integers(0, 120)),
        whole_body=draw(st.booleans()),
        tile_px=draw(st.integers(16, 300)),
        exact_px=draw(st.sampled_from([1, 10_000, 1 << 40])),
        colour_px=draw(st.sampled_from([0, 0, COLOUR_REACH_PX])),
        origin_px=draw(st.sampled_from([1, 1, 8, 12, 16, 64])),
    )


def network_halo(plan: PicturePlan) -> int:
    spec = plan.spec
    if plan.strategy is Strategy.BODY:
        return TAIL_HALO * spec.align_px
    return spec.halo_px if plan.mode is Mode.EXACT else min(spec.halo_px, spec.bounded_halo_px)


def covers_once(boxes: list[Box], width: int, height: int) -> bool:
    """Whether grid-shaped boxes cover a rectangle exactly once: areas add up and no two share a corner."""
    inside = all(box.x1 <= width and box.y1 <= height for box in boxes)
    corners = {(box.x0, box.y0) for box in boxes if box.area_px}
    full = [box for box in boxes if box.area_px]
    return inside and len(corners) == len(full) and sum(box.area_px for box in full) == width * height


@relaxed
@given(specs())
@example(spec_of(1, 1))
@example(spec_of(1, 1, align_px=4, scale=1, outscale=1.0))
@example(spec_of(1, 5000))
@example(spec_of(40_000, 3, whole_body=True))
def test_keep_and_out_boxes_cover_picture_and_output_exactly_once(spec: PictureSpec) -> None:
    plan = plan_picture(spec)
    assert covers_once([tile.keep for tile in plan.tiles], spec.width, spec.height)
    assert covers_once([tile.out for tile in plan.tiles], spec.out_width, spec.out_height)
    for row in plan.rows:
        assert [tile.keep.x0 for tile in row[1:]] == [tile.keep.x1 for tile in row[:-1]]
        assert [tile.out.x0 for tile in row[1:]] == [tile.out.x1 for tile in row[:-1]]
    assert [row[0].keep.y0 for row in plan.rows[1:]] == [row[0].keep.y1 for row in plan.rows[:-1]]
    assert [row[0].out.y0 for row in plan.rows[1:]] == [row[0].out.y1 for row in plan.rows[:-1]]


@relaxed
@given(specs())
def test_windows_have_one_shape_and_lie_aligned_in_the_extended_picture(spec: PictureSpec) -> None:
    plan = plan_picture(spec)
    assert len({(tile.read.width, tile.read.height) for tile in plan.tiles}) == 1
    for tile in plan.tiles:
        sides = (tile.read.x0, tile.read.y0, tile.read.width, tile.read.height)
        assert all(side % spec.align_px == 0 for side in sides)
        assert tile.read.x1 <= spec.padded_width < spec.width + spec.align_px
        assert tile.read.y1 <= spec.padded_height < spec.height + spec.align_px
        assert tile.read.x0 % spec.origin_px == tile.read.y0 % spec.origin_px == 0
    shape = plan.tiles[0].read
    if plan.strategy is Strategy.WINDOWS and spec.origin_px == 1:
        assert shape.width % 16 == 0 or shape.width == spec.padded_width
        assert shape.height % 16 == 0 or shape.height == spec.padded_height


@relaxed
@given(specs())
def test_halo_is_really_there_or_the_window_ends_at_the_true_border(spec: PictureSpec) -> None:
    plan = plan_picture(spec)
    halo = network_halo(plan) + (spec.colour_px if plan.strategy is Strategy.WINDOWS else 0)
    for tile in plan.tiles:
        read, keep = tile.read, tile.keep
        assert read.x0 == 0 or keep.x0 - read.x0 >= halo
        assert read.y0 == 0 or keep.y0 - read.y0 >= halo
        assert read.x1 == spec.padded_width or read.x1 - keep.x1 >= halo
        assert read.y1 == spec.padded_height or read.y1 - keep.y1 >= halo


def reach(in_length: int, out_length: int, index: int) -> tuple[int, int]:
    """Half-open range of network pixels that either resampling kernel may touch for one output pixel."""
    centre = Fraction(2 * index + 1, 2) * in_length / out_length
    support = 3 * max(Fraction(1), Fraction(in_length, out_length))
    lanczos = math.floor(centre - support + Fraction(1, 2)), math.floor(centre + support + Fraction(1, 2))
    first = math.floor(centre - Fraction(1, 2)) - 3
    return min(lanczos[0], first), max(lanczos[1], first + 8)


@relaxed
@given(specs())
def test_resampling_touches_only_pixels_that_are_exact(spec: PictureSpec) -> None:
    plan = plan_picture(spec)
    if not spec.resampled:
        return
    halo, scale = network_halo(plan), spec.scale
    if plan.strategy is Strategy.WINDOWS:
        halo += spec.colour_px  # what resampling touches must have its own context for colours
    for tile in plan.tiles:
        for x0, x1, out0, out1, length, padded, out_length in (
            (tile.read.x0, tile.read.x1, tile.out.x0, tile.out.x1, spec.width, spec.padded_width, spec.out_width),
            (tile.read.y0, tile.read.y1, tile.out.y0, tile.out.y1, spec.height, spec.padded_height, spec.out_height),
        ):
            if out0 == out1:
                continue
            low, high = reach(length * scale, out_length, out0)[0], reach(length * scale, out_length, out1 - 1)[1]
            assert x0 == 0 or low >= (x0 + halo) * scale
            assert x1 == padded or high <= (x1 - halo) * scale


@relaxed
@given(specs())
def test_an_output_pixel_belongs_to_the_window_that_keeps_its_centre(spec: PictureSpec) -> None:
    for tile in plan_picture(spec).tiles:
        for index in {tile.out.x0, tile.out.x1 - 1} if tile.out.width else ():
            assert tile.keep.x0 <= Fraction((2 * index + 1) * spec.width, 2 * spec.out_width) < tile.keep.x1


@relaxed
@given(specs())
def test_no_window_of_a_cut_picture_is_without_output(spec: PictureSpec) -> None:
    plan = plan_picture(spec)
    assert len(plan.tiles) == 1 or all(tile.out.area_px for tile in plan.tiles)


@relaxed
@given(specs(), st.integers(1, 400_000))
def test_bands_partition_grid_and_output_and_read_all_they_need(spec: PictureSpec, band_px: int) -> None:
    plan = plan_picture(spec)
    bands = plan_bands(plan, band_px)
    if not bands:
        assert spec.area_px <= band_px or plan.strategy is Strategy.BODY or len(plan.rows) == 1 or fits(plan, band_px)
        return
    assert len(bands) > 1
    assert [row for first, last in bands for row in range(first, last)] == list(range(len(plan.rows)))
    outs = [band_out_rows(plan, band) for band in bands]
    assert [out[0] for out in outs] == [0, *(out[1] for out in outs[:-1])]
    assert outs[-1][1] == spec.out_height
    assert [tile for band in bands for tile in band_tiles(plan, band)] == list(plan.tiles)
    for first, last in bands:
        kept = spec.width * sum(row[0].keep.height for row in plan.rows[first:last])
        assert last - first == 1 or kept <= band_px // 2
        y0, y1 = band_read_rows(plan, (first, last))
        assert 0 <= y0 < y1 <= spec.height
        for tile in band_tiles(plan, (first, last)):
            assert y0 <= tile.read.y0
            assert min(tile.read.y1, spec.height) <= y1
            reflected = 2 * (spec.height - 1) - (tile.read.y1 - 1)  # source of the last row of the extension
            assert tile.read.y1 <= spec.height or reflected >= y0


def fits(plan: PicturePlan, band_px: int) -> bool:
    """Whether all grid rows make one band."""
    return len(plan.rows) * plan.spec.width * plan.rows[0][0].keep.height <= band_px


def test_mode_and_strategy_follow_body_area_and_halo() -> None:
    def kind(**changes: object) -> tuple[Strategy, Mode]:
        plan = plan_picture(spec_of(400, 300, **changes))
        return plan.strategy, plan.mode

    assert kind() == (Strategy.WINDOWS, Mode.EXACT)
    assert kind(halo_px=94) == (Strategy.WINDOWS, Mode.EXACT)
    assert kind(halo_px=349) == (Strategy.WINDOWS, Mode.BOUNDED)
    assert kind(halo_px=349, tile_px=512) == (Strategy.WINDOWS, Mode.EXACT), "one window holds the whole picture"
    assert kind(halo_px=349, whole_body=True) == (Strategy.BODY, Mode.EXACT)
    assert kind(halo_px=349, whole_body=True, exact_px=120_000) == (Strategy.BODY, Mode.EXACT)
    assert kind(halo_px=349, whole_body=True, exact_px=119_999) == (Strategy.WINDOWS, Mode.BOUNDED)
    assert kind(halo_px=94, whole_body=True, exact_px=1) == (Strategy.WINDOWS, Mode.EXACT)


def test_tail_bands_have_full_width_and_about_a_window_of_pixels() -> None:
    plan = plan_picture(spec_of(1920, 1080, whole_body=True, halo_px=349, tile_px=256))
    assert {(row[0].read.x0, row[0].read.x1, len(row)) for row in plan.rows} == {(0, 1920, 1)}
    assert max(tile.read.area_px for tile in plan.tiles) <= 256 * 256 * 1.2


def test_windows_are_fitted_to_the_picture() -> None:
    """Windows of one fixed side of 292 would compute 1.67 times the pixels of a 640x480 picture."""
    plan = plan_picture(spec_of(640, 480, tile_px=256))
    computed = sum(tile.read.area_px for tile in plan.tiles)
    assert computed / (640 * 480) < 1.3


@pytest.mark.parametrize("changes", [{"scale": 0}, {"outscale": 0.0}, {"align_px": 0}, {"halo_px": -1}])
def test_impossible_pictures_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not a picture|negative"):
        spec_of(10, 10, **changes)


def test_a_box_is_never_inside_out() -> None:
    with pytest.raises(ValueError, match="not a box"):
        Box(x0=3, y0=0, x1=2, y1=1)


def test_geometry_and_fidelity_load_no_torch() -> None:
    code = "import sys, sr_kernel.tiles, sr_kernel.fidelity; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
