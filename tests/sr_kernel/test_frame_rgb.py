"""Frames to RGB and luma without torch: the same bytes as with it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sr_kernel.colour import to_rgb
from sr_kernel.frame_rgb import frame_luma, frame_rgb, luma_range
from sr_kernel.layout import MATRICES, SITINGS, FrameLayout
from sr_kernel.pixels import luma


def planes_of(layout: FrameLayout, seed: int = 0) -> list[np.ndarray]:
    """All samples that a depth has, also those outside of the nominal range."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    return [rng.integers(0, 1 << layout.depth, (height, width)).astype(dtype) for width, height in layout.plane_sizes]


LAYOUTS = [
    *(
        FrameLayout(width=37, height=23, depth=depth, chroma_shift=shift, matrix=matrix, full_range=full, siting=siting)
        for depth, shift, (matrix, full, siting) in itertools.product(
            (8, 10, 16),
            ((0, 0), (1, 0), (1, 1), (0, 1), (2, 0), (2, 2)),
            [*zip(MATRICES, itertools.cycle((False, True)), itertools.cycle(SITINGS), strict=False)],
        )
    ),
    *(FrameLayout(width=9, height=1, model=model, depth=depth) for model in ("rgb", "gray") for depth in (8, 10, 16)),
    FrameLayout(width=9, height=7, model="gray", full_range=True),
    FrameLayout(width=9, height=7, model="rgb", depth=12, alpha=True),
    FrameLayout(width=1, height=1, chroma_shift=(1, 1)),
    FrameLayout(width=1000, height=300, chroma_shift=(1, 1)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_levels_are_those_of_the_tensors(layout: FrameLayout) -> None:
    planes = planes_of(layout)
    colours = [torch.from_numpy(plane) for plane in planes[: len(layout.colour_sizes)]]
    assert np.array_equal(frame_rgb(planes, layout), to_rgb(colours, layout).numpy())


def test_views_that_run_backwards_are_read() -> None:
    layout = FrameLayout(width=12, height=8, chroma_shift=(1, 1))
    planes = planes_of(layout)
    turned = [plane[::-1].copy()[::-1] for plane in planes]
    assert np.array_equal(frame_rgb(turned, layout), frame_rgb(planes, layout))


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_luma_is_the_plane_or_the_gray_of_rgb(depth: int) -> None:
    yuv = FrameLayout(width=12, height=8, depth=depth, chroma_shift=(1, 1))
    planes = planes_of(yuv)
    assert frame_luma(planes, yuv) is planes[0]
    assert luma_range(yuv) == (16 << depth - 8, 219 << depth - 8)
    rgb = FrameLayout(width=12, height=8, depth=depth, model="rgb")
    planes = planes_of(rgb)
    assert np.array_equal(frame_luma(planes, rgb), luma(np.stack(planes, axis=2))[:, :, 0])
    assert luma_range(rgb) == (0, (1 << depth) - 1)


def test_planes_of_another_layout_are_refused() -> None:
    layout = FrameLayout(width=12, height=8, chroma_shift=(1, 1))
    with pytest.raises(ValueError, match="are not of"):
        frame_rgb(planes_of(layout)[:2], layout)
