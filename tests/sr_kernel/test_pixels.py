"""Pictures survive the way to planes and tensors and back; hidden colour is never seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sr_kernel.pixels import (
    FILL_BLOCK_PX,
    Pixels,
    cut_window,
    expand_gray,
    fill_transparent,
    luma,
    merge_planes,
    split_planes,
    stack_windows,
    to_levels,
    to_samples,
    to_unit,
    top_level,
)
from sr_kernel.tiles import Box, PictureSpec, band_read_rows, band_tiles, plan_bands, plan_picture

relaxed = settings(deadline=None, max_examples=60)  # a busy machine is no failure
DEPTHS = [np.uint8, np.uint16]
depths = st.sampled_from(DEPTHS)


def noise(seed: int, height: int, width: int, channels: int, dtype: type[Any]) -> Pixels:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_planes_split_and_merge_to_the_same_picture(channels: int, dtype: type[Any]) -> None:
    pixels = noise(0, 13, 7, channels, dtype)
    planes = split_planes(pixels)
    assert planes.rgb.shape == (13, 7, 3)
    assert planes.rgb.flags.c_contiguous
    assert planes.gray == (channels <= 2)
    assert (planes.alpha is None) == (channels % 2 == 1)
    merged = merge_planes(planes.rgb, planes.alpha, planes.gray)
    assert merged.dtype == pixels.dtype
    np.testing.assert_array_equal(merged, pixels)
    if planes.alpha is not None:  # as the network restores it
        np.testing.assert_array_equal(merge_planes(planes.rgb, expand_gray(planes.alpha), planes.gray), pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32, np.bool_])
def test_other_depths_are_refused_never_guessed(dtype: type[Any]) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        split_planes(np.zeros((4, 4, 3), dtype=dtype))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 0), (4, 4, 5), (1, 4, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"1\.\.4 channels"):
        split_planes(np.zeros(shape, dtype=np.uint8))


def test_a_dark_picture_of_16_bits_stays_one_of_16_bits() -> None:
    """Upstream takes a 16-bit picture whose largest sample is below 256 for one of 8 bits."""
    dark = np.full((2, 2, 3), 200, dtype=np.uint16)
    unit = to_unit(stack_windows([split_planes(dark).rgb]), torch.float32)
    assert float(unit.max()) == pytest.approx(200 / 65535)
    assert top_level(dark.dtype) == 65535


@pytest.mark.parametrize("dtype", DEPTHS)
def test_luma_is_opencvs_bit_for_bit(dtype: type[Any]) -> None:
    for height, width in [(1, 1), (1100, 1000), (3, 1 << 20)]:
        rgb = noise(height, height, width, 3, dtype)
        np.testing.assert_array_equal(luma(rgb)[:, :, 0], cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).reshape(height, width))


@pytest.mark.parametrize("dtype", DEPTHS)
def test_luma_of_repeated_gray_is_that_gray(dtype: type[Any]) -> None:
    gray = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 256, 1)
    np.testing.assert_array_equal(luma(expand_gray(gray)), gray)


def filled_by_hand(rgb: Pixels, alpha: Pixels) -> NDArray[Any]:
    """What `fill_transparent` promises, pixel by pixel in Python integers."""
    made = rgb.copy()
    for y, x in zip(*np.nonzero(alpha[:, :, 0] == 0), strict=True):
        made[y, x] = 0
        for side in (2, 4, 8, 16, 32, 64):
            block = np.s_[y // side * side : (y // side + 1) * side, x // side * side : (x // side + 1) * side]
            weight = alpha[block].astype(object)
            total = weight.sum()
            if total:
                made[y, x] = (((rgb[block].astype(object) * weight).sum(axis=(0, 1)) + total // 2) // total).astype(int)
                break
    return made


@st.composite
def with_alpha(draw: st.DrawFn, largest: int = 150) -> tuple[Pixels, Pixels]:
    """Any picture with an alpha whose clear parts range from single pixels to nearly all."""
    height, width, dtype = draw(st.integers(1, largest)), draw(st.integers(1, largest)), draw(depths)
    seed = draw(st.integers(0, 1000))
    rgb, alpha = noise(seed, height, width, 3, dtype), noise(seed + 1, height, width, 1, dtype)
    rng = np.random.default_rng(seed)
    visible = rng.random((height, width, 1)) < draw(st.sampled_from([0.0, 0.0003, 0.01, 0.3, 0.9, 1.0]))
    return rgb, np.where(visible, np.maximum(alpha, 1), 0).astype(dtype)


@settings(deadline=None, max_examples=25)
@given(with_alpha(largest=80))
def test_a_hidden_pixel_gets_the_mean_of_the_finest_visible_block(picture: tuple[Pixels, Pixels]) -> None:
    rgb, alpha = picture
    np.testing.assert_array_equal(fill_transparent(rgb, alpha), filled_by_hand(rgb, alpha))


@relaxed
@given(with_alpha(), st.integers(0, 1000))
def test_hidden_colour_never_changes_the_result(picture: tuple[Pixels, Pixels], seed: int) -> None:
    rgb, alpha = picture
    other = np.where(alpha == 0, noise(seed, *rgb.shape, rgb.dtype.type), rgb)
    np.testing.assert_array_equal(fill_transparent(other, alpha), fill_transparent(rgb, alpha))


@relaxed
@given(with_alpha())
def test_visible_colour_stays_and_the_source_is_not_written_to(picture: tuple[Pixels, Pixels]) -> None:
    rgb, alpha = picture
    before = rgb.copy()
    made = fill_transparent(rgb, alpha)
    assert made.dtype == rgb.dtype
    np.testing.assert_array_equal(np.where(alpha > 0, made, 0), np.where(alpha > 0, rgb, 0))
    np.testing.assert_array_equal(rgb, before)


@relaxed
@given(with_alpha(largest=300), st.integers(0, 4), st.integers(1, 5))
def test_bands_of_whole_blocks_are_filled_as_the_whole_picture(
    picture: tuple[Pixels, Pixels], first: int, blocks: int
) -> None:
    rgb, alpha = picture
    rows = slice(first * FILL_BLOCK_PX, (first + blocks) * FILL_BLOCK_PX)
    np.testing.assert_array_equal(fill_transparent(rgb[rows], alpha[rows]), fill_transparent(rgb, alpha)[rows])


@pytest.mark.parametrize("dtype", DEPTHS)
def test_the_brightest_blocks_do_not_overflow(dtype: type[Any]) -> None:
    top = np.iinfo(dtype).max
    rgb, alpha = np.full((64, 64, 3), top, dtype=dtype), np.full((64, 64, 1), top, dtype=dtype)
    rgb[0, 0], alpha[0, 0], alpha[:32, :32] = 0, 0, 0
    assert (fill_transparent(rgb, alpha) == top).all()


@relaxed
@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 4))
@example(1, 1, 4)
@example(2, 1, 4)
def test_windows_continue_beyond_the_picture_by_reflection(width: int, height: int, align_px: int) -> None:
    pixels = noise(width, height, width, 3, np.uint8)
    plan = plan_picture(
        PictureSpec(
            width=width,
            height=height,
            scale=1,
            outscale=1.0,
            halo_px=3,
            align_px=align_px,
            whole_body=False,
            tile_px=16,
            exact_px=0,
        )
    )
    below, right = plan.spec.padded_height - height, plan.spec.padded_width - width
    extended = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="reflect")
    for tile in plan.tiles:
        read = tile.read
        np.testing.assert_array_equal(cut_window(pixels, read), extended[read.y0 : read.y1, read.x0 : read.x1])
    for band in plan_bands(plan, 64):
        y0, y1 = band_read_rows(plan, band)
        for tile in band_tiles(plan, band):
            read = tile.read
            found = cut_window(pixels[y0:y1], read, y0)
            np.testing.assert_array_equal(found, extended[read.y0 : read.y1, read.x0 : read.x1])


def test_a_window_inside_the_picture_is_a_view() -> None:
    pixels = noise(0, 20, 30, 3, np.uint8)
    assert np.shares_memory(cut_window(pixels, Box(x0=4, y0=2, x1=20, y1=18)), pixels)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_every_level_survives_the_way_through_tensors(dtype: type[Any]) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, 16, -1, 1)
    windows = [expand_gray(levels[0]), expand_gray(levels[0, :, ::-1])]
    unit = to_unit(stack_windows(windows), torch.float32)
    assert unit.shape == (2, 3, *levels.shape[1:3])
    assert unit.is_contiguous(memory_format=torch.channels_last)
    assert (float(unit.min()), float(unit.max())) == (0.0, 1.0)
    samples = to_samples(to_levels(unit, levels.dtype), levels.dtype).numpy()
    assert samples.dtype == dtype
    assert samples.flags.c_contiguous
    np.testing.assert_array_equal(samples, np.stack(windows))


@pytest.mark.parametrize("dtype", DEPTHS)
def test_overshoot_is_clamped_and_halves_are_rounded_to_even(dtype: type[Any]) -> None:
    top = np.iinfo(dtype).max
    unit = torch.tensor([-3.0, 0.0, 1.0, 7.0]).view(1, 1, 1, 4)
    assert to_samples(to_levels(unit, np.dtype(dtype)), np.dtype(dtype)).flatten().tolist() == [0, 0, top, top]
    levels = torch.tensor([-9.0, 0.5, 1.5, 2.5, top + 9.0]).view(1, 1, 1, 5)
    assert to_samples(levels, np.dtype(dtype)).flatten().tolist() == [0, 0, 2, 2, top]


def test_nan_is_not_hidden_by_clamping() -> None:
    assert to_levels(torch.full((1, 1, 1, 1), float("nan")), np.dtype(np.uint8)).isnan().all()
