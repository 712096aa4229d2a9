"""Colours are those of the standards, whatever the matrix, range, depth, subsampling, siting and size."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sr_kernel import colour
from sr_kernel.colour import Planes, frame_to_rgb, from_rgb, rgb_to_frame, to_rgb
from sr_kernel.layout import MATRICES, SITINGS, FrameLayout
from sr_kernel.pixels import luma

SHIFTS = ((0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (2, 2))
"""4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:1:0"""


def sample_type(layout: FrameLayout) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if layout.depth == 8 else np.uint16


def random_planes(layout: FrameLayout, seed: int = 0) -> Planes:
    rng = np.random.default_rng(seed)
    return tuple(
        rng.integers(0, 1 << layout.depth, (height, width)).astype(sample_type(layout))
        for width, height in layout.plane_sizes
    )


def interpolation(length: int, count: int, step: int, cosited: bool) -> NDArray[np.float64]:
    """Linear interpolation of `count` chroma samples to `length` luma places, as a matrix (length, count)."""
    places = (np.arange(length) - (0 if cosited else (step - 1) / 2)) / step
    return np.stack([np.interp(places, np.arange(count), row) for row in np.eye(count)], axis=1)


def averaging(length: int, count: int, step: int, cosited: bool) -> NDArray[np.float64]:
    """Means of `length` luma places for `count` chroma samples, as a matrix (count, length)."""
    taps = [(k, step - abs(k)) for k in range(1 - step, step)] if cosited else [(k, 1) for k in range(step)]
    matrix = np.zeros((count, length))
    for index, (tap, weight) in itertools.product(range(count), taps):
        matrix[index, min(max(index * step + tap, 0), length - 1)] += weight / sum(w for _, w in taps)
    return matrix


def axes(layout: FrameLayout) -> list[tuple[int, int, int, bool]]:
    """(length, samples of chroma, step, cosited) down and across."""
    (width, height), (across, down) = layout.chroma_size, layout.chroma_shift
    return [
        (layout.height, height, 1 << down, layout.siting == "topleft"),
        (layout.width, width, 1 << across, layout.siting != "center"),
    ]


def scales(layout: FrameLayout) -> tuple[float, float, float, float]:
    """Black, luma's span, neutral chroma and chroma's span, in samples."""
    if layout.full_range:
        return 0, 2**layout.depth - 1, 2 ** (layout.depth - 1), 2**layout.depth - 1
    unit = 2 ** (layout.depth - 8)
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def yuv_of_rgb(layout: FrameLayout) -> NDArray[np.float64]:
    """H.273's definition: E'Y = Kr R + Kg G + Kb B, E'PB = (B - E'Y) / 2 (1 - Kb), E'PR = (R - E'Y) / 2 (1 - Kr)."""
    kr, kb = MATRICES[layout.matrix]
    y = np.array([kr, 1 - kr - kb, kb])
    return np.stack([y, (np.array([0, 0, 1]) - y) / (2 - 2 * kb), (np.array([1, 0, 0]) - y) / (2 - 2 * kr)])


def expected_rgb(planes: Planes, layout: FrameLayout) -> NDArray[np.float64]:
    """Levels before rounding."""
    top = np.iinfo(sample_type(layout)).max
    black, span, neutral, chroma_span = scales(layout)
    down, across = (interpolation(*axis) for axis in axes(layout))
    chroma = [(down @ plane @ across.T - neutral) / chroma_span for plane in planes[1:3]]
    yuv = np.stack([(planes[0].astype(np.float64) - black) / span, *chroma], axis=-1)
    return np.clip(yuv @ np.linalg.inv(yuv_of_rgb(layout)).T, 0, 1) * top


def expected_planes(rgb: NDArray[Any], layout: FrameLayout) -> list[NDArray[np.float64]]:
    """Samples before rounding."""
    black, span, neutral, chroma_span = scales(layout)
    y, u, v = np.moveaxis(rgb / np.iinfo(rgb.dtype).max @ yuv_of_rgb(layout).T, 2, 0)
    down, across = (averaging(*axis) for axis in axes(layout))
    samples = [y * span + black, *(down @ c @ across.T * chroma_span + neutral for c in (u, v))]
    return [np.clip(plane, 0, 2**layout.depth - 1) for plane in samples]


def assert_rounded(made: NDArray[Any], exact: NDArray[np.float64], depth: int) -> None:
    """`made` is `exact` rounded, but for what fp32 may change in ties."""
    assert made.shape == exact.shape
    assert np.abs(made - exact).max() <= 0.5 + (1e-3 if depth == 8 else 0.1)


def check_both_ways(layout: FrameLayout) -> None:
    planes = random_planes(layout)
    assert_rounded(frame_to_rgb(planes, layout), expected_rgb(planes, layout), layout.depth)
    for dtype in (np.uint8, np.uint16):
        rgb = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (layout.height, layout.width, 3))
        made = rgb_to_frame(rgb.astype(dtype), layout)
        for plane, exact in zip(made, expected_planes(rgb.astype(dtype), layout), strict=True):
            assert plane.dtype == sample_type(layout)
            assert_rounded(plane, exact, layout.depth)


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_every_matrix_range_and_depth_is_as_defined(matrix: str, full_range: bool, depth: int) -> None:
    for shift in ((0, 0), (1, 1)):
        check_both_ways(
            FrameLayout(width=37, height=23, matrix=matrix, full_range=full_range, depth=depth, chroma_shift=shift)
        )


@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 19),
    height=st.integers(1, 19),
    shift=st.sampled_from(SHIFTS),
    siting=st.sampled_from(SITINGS),
    depth=st.sampled_from([8, 10, 16]),
)
def test_every_size_subsampling_and_siting_is_as_defined(
    width: int, height: int, shift: tuple[int, int], siting: str, depth: int
) -> None:
    check_both_ways(FrameLayout(width=width, height=height, chroma_shift=shift, siting=siting, depth=depth))


@pytest.mark.parametrize("depth", [8, 10, 16])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_strongest_colours_of_a_full_range_stay_in_it(matrix: str, depth: int) -> None:
    """Half a level beyond the largest sample, which must not become 0."""
    layout = FrameLayout(width=2, height=2, matrix=matrix, full_range=True, depth=depth, chroma_shift=(1, 1))
    for plane, rgb in ((1, (0, 0, 255)), (2, (255, 0, 0))):
        picture = np.full((2, 2, 3), rgb, np.uint8)
        assert rgb_to_frame(picture, layout)[plane].tolist() == [[(1 << depth) - 1]]


@pytest.mark.parametrize(
    ("matrix", "depth", "rgb", "yuv"),
    [
        ("bt601", 8, (255, 0, 0), (81, 90, 240)),
        ("bt601", 8, (0, 255, 0), (145, 54, 34)),
        ("bt709", 8, (255, 0, 0), (63, 102, 240)),
        ("bt709", 8, (0, 0, 255), (32, 240, 118)),
        ("bt2020", 10, (65535, 65535, 65535), (940, 512, 512)),
        ("bt2020", 10, (65535, 0, 0), (294, 387, 960)),
    ],
)
def test_primaries_have_the_samples_of_the_standards(
    matrix: str, depth: int, rgb: tuple[int, ...], yuv: tuple[int, ...]
) -> None:
    layout = FrameLayout(width=5, height=3, matrix=matrix, depth=depth, chroma_shift=(1, 1))
    made = rgb_to_frame(np.full((3, 5, 3), rgb, sample_type(layout)), layout)
    assert tuple(int(plane[0, 0]) for plane in made) == yuv
    assert all((plane == plane[0, 0]).all() for plane in made)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_444_frame_comes_back_within_one_level(matrix: str, full_range: bool) -> None:
    layout = FrameLayout(width=400, height=300, matrix=matrix, full_range=full_range)
    rgb = np.random.default_rng(0).random((300, 400, 3))
    black, span, neutral, chroma_span = scales(layout)
    yuv = rgb @ yuv_of_rgb(layout).T * [span, chroma_span, chroma_span] + [black, neutral, neutral]
    planes = tuple(np.moveaxis(np.floor(yuv).astype(np.uint8), 2, 0))  # any frame of colours that RGB holds
    inside = (expected_rgb(planes, layout) % 255 > 0).all(axis=2)
    assert inside.mean() > 0.95
    for before, after in zip(planes, rgb_to_frame(frame_to_rgb(planes, layout), layout), strict=True):
        assert np.abs(before.astype(int) - after)[inside].max() <= 1


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_no_colour_stays_no_colour(depth: int, shift: tuple[int, int]) -> None:
    for matrix, full_range in itertools.product(MATRICES, (False, True)):
        layout = FrameLayout(width=21, height=13, depth=depth, chroma_shift=shift, matrix=matrix, full_range=full_range)
        y, u, v = random_planes(layout)
        u[:], v[:] = 1 << depth - 1, 1 << depth - 1
        rgb = frame_to_rgb((y, u, v), layout)
        assert (rgb == rgb[:, :, :1]).all()
        _, u, v = rgb_to_frame(rgb, layout)
        assert (u == 1 << depth - 1).all()
        assert (v == 1 << depth - 1).all()


@pytest.mark.parametrize("depth", range(8, 17))
@pytest.mark.parametrize(("model", "alpha"), [("gray", False), ("gray", True), ("rgb", False), ("rgb", True)])
def test_gray_rgb_and_alpha_pass_through(model: str, alpha: bool, depth: int) -> None:
    layout = FrameLayout(width=64, height=33, model=model, depth=depth, alpha=alpha, full_range=True)
    planes = random_planes(layout)
    rgb = frame_to_rgb(planes, layout)
    assert rgb.shape == (33, 64, len(planes))
    assert all(np.array_equal(*pair) for pair in zip(planes, rgb_to_frame(rgb, layout), strict=True))
    if depth in (8, 16):
        assert all(np.array_equal(plane, rgb[:, :, index]) for index, plane in enumerate(planes))


def test_gray_of_limited_range_uses_all_levels() -> None:
    layout = FrameLayout(width=2, height=1, model="gray")
    assert frame_to_rgb((np.array([[16, 235]], np.uint8),), layout).tolist() == [[[0], [255]]]
    assert rgb_to_frame(np.array([[[0], [255]]], np.uint8), layout)[0].tolist() == [[16, 235]]
    deep = dataclasses.replace(layout, depth=10)
    assert rgb_to_frame(np.array([[[0], [65535]]], np.uint16), deep)[0].tolist() == [[64, 940]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_gray_of_a_frame_is_the_gray_of_its_picture(dtype: type[np.uint8] | type[np.uint16]) -> None:
    rgb = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (50, 60, 3)).astype(dtype)
    rgb[0, 0] = np.iinfo(dtype).max
    layout = FrameLayout(width=60, height=50, model="gray", full_range=True, depth=8 * np.dtype(dtype).itemsize)
    assert np.array_equal(rgb_to_frame(rgb, layout)[0], luma(rgb)[:, :, 0])


def test_alpha_is_made_opaque_or_left_out() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (9, 11, 4)).astype(np.uint8)
    layout = FrameLayout(width=11, height=9, depth=10, chroma_shift=(1, 1))
    keeps = dataclasses.replace(layout, alpha=True)
    assert len(rgb_to_frame(rgba, layout)) == 3
    assert np.array_equal(rgb_to_frame(rgba, keeps)[3], np.rint(rgba[:, :, 3] * (1023 / 255)).astype(np.uint16))
    assert (rgb_to_frame(rgba[:, :, :3], keeps)[3] == 1023).all()


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_neither_strips_nor_memory_layout_change_a_byte(
    shift: tuple[int, int], siting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = FrameLayout(width=29, height=41, chroma_shift=shift, siting=siting, depth=10)
    planes = [torch.from_numpy(plane) for plane in random_planes(layout)]
    whole = to_rgb(planes, layout)
    back = from_rgb(whole, layout)
    wide = torch.zeros((50, 60, 3), dtype=torch.uint16)
    monkeypatch.setattr(colour, "_CACHED_PX", 29)
    assert torch.equal(to_rgb(planes, layout, wide[:41, :29]), whole)
    turned = whole.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert all(torch.equal(*pair) for pair in zip(from_rgb(turned, layout), back, strict=True))
    assert not wide[41:].any()


def smooth_rgb(width: int, height: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + c) * np.cos(y / 50 - c) for c in range(3)]
    return np.rint(127.5 + 110 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p", "yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_swscale_agrees_on_smooth_content(matrix: str, full_range: bool, pix_fmt: str) -> None:
    rgb, tag = smooth_rgb(96, 64), "pc" if full_range else "tv"
    ways = "flags=bilinear+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    graph = av.filter.Graph()
    chain = [
        graph.add_buffer(width=96, height=64, format="rgb24", time_base="1/25"),
        graph.add("scale", f"out_color_matrix={matrix}:out_range={tag}:{ways}"),
        graph.add("format", pix_fmt),
        graph.add("buffersink"),
    ]
    for first, second in itertools.pairwise(chain):
        first.link_to(second)
    graph.configure()
    graph.push(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    frame = graph.pull()
    depth, shift = 10 if "10" in pix_fmt else 8, {"0": (1, 1), "2": (1, 0), "4": (0, 0)}[pix_fmt[5]]
    layout = FrameLayout(width=96, height=64, depth=depth, matrix=matrix, full_range=full_range, chroma_shift=shift)
    made = rgb_to_frame(rgb, layout)
    dtype = sample_type(layout)
    for plane, theirs in zip(made, frame.planes, strict=True):
        rows = np.frombuffer(theirs, dtype).reshape(theirs.height, theirs.line_size // np.dtype(dtype).itemsize)
        assert np.abs(plane.astype(int) - rows[:, : theirs.width]).max() <= 2 << depth - 8
    assert np.abs((frame_to_rgb(made, layout) >> 8 * (depth > 8)).astype(int) - rgb).max() <= 2 + 4 * (shift[0] > 0)


def test_planes_that_cannot_be_written_are_read_and_wrong_ones_refused() -> None:
    layout = FrameLayout(width=9, height=7, chroma_shift=(1, 1))
    planes = random_planes(layout)
    expected = frame_to_rgb(planes, layout)
    for plane in planes:
        plane.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(frame_to_rgb(planes, layout), expected)
    for wrong in (planes[:2], (planes[0], planes[1], planes[2].astype(np.uint16)), (planes[0].T, *planes[1:])):
        with pytest.raises(ValueError, match="are not of"):
            frame_to_rgb(wrong, layout)
    with pytest.raises(ValueError, match="is not"):
        rgb_to_frame(expected[:-1], layout)
    with pytest.raises(ValueError, match="levels are"):
        rgb_to_frame(expected.astype(np.float32), layout)  # pyright: ignore[reportArgumentType]
