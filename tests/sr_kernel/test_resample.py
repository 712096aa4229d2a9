"""Resizing agrees with Pillow and OpenCV, and its bytes do not depend on the window."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sr_kernel.resample import Resampler
from sr_kernel.tiles import Box, PictureSpec, plan_picture

relaxed = settings(deadline=None, max_examples=60)  # a busy machine is no failure

SIZES = [
    (64, 48, 56, 42),
    (50, 37, 20, 61),
    (7, 3, 100, 1),
    (1, 1, 5, 3),
    (300, 200, 75, 50),
    (160, 120, 250, 175),
    (40, 30, 40, 31),
    (2000, 9, 1750, 7),
]


def whole(width: int, height: int) -> Box:
    return Box(x0=0, y0=0, x1=width, y1=height)


def resize(pixels: torch.Tensor, width: int, height: int, kind: Literal["lanczos", "official"]) -> torch.Tensor:
    resampler = Resampler(pixels.shape[3], pixels.shape[2], width, height, kind)
    return resampler.apply(pixels, (0, 0), whole(width, height))


@pytest.mark.parametrize(("in_width", "in_height", "width", "height"), SIZES)
def test_lanczos_is_pillows(in_width: int, in_height: int, width: int, height: int) -> None:
    pixels = np.random.default_rng(0).random((in_height, in_width), dtype=np.float32)
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    found = resize(torch.from_numpy(pixels)[None, None], width, height, "lanczos")
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("in_width", "in_height", "width", "height"), SIZES)
@pytest.mark.parametrize("depth", [8, 16])
def test_official_is_opencvs_lanczos4_to_one_level(
    in_width: int, in_height: int, width: int, height: int, depth: int
) -> None:
    top = (1 << depth) - 1
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = np.random.default_rng(1).integers(0, top + 1, (in_height, in_width, 3), dtype=dtype)
    expected = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LANCZOS4).astype(np.int64)
    resampler = Resampler(in_width, in_height, width, height, "official", eight_bit=depth == 8)
    window = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    found = resampler.apply(window, (0, 0), whole(width, height)).round().clamp(0, top)
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() <= 1


@relaxed
@given(
    st.integers(1, 120),
    st.integers(1, 120),
    st.floats(0.25, 16),
    st.sampled_from([(1, 1), (2, 2), (4, 1), (1, 4)]),
    st.sampled_from(["lanczos", "official"]),
    st.integers(0, 20),
)
@example(1, 1, 0.3, (2, 2), "lanczos", 0)
@example(120, 120, 3.5, (4, 1), "lanczos", 18)
def test_windows_of_a_plan_make_the_bytes_of_the_whole_picture(
    width: int,
    height: int,
    outscale: float,
    network: tuple[int, int],
    kind: Literal["lanczos", "official"],
    halo_px: int,
) -> None:
    """As the network's output comes: windows hold wrong pixels in their halos and beyond the picture."""
    scale, align_px = network
    plan = plan_picture(
        PictureSpec(
            width=width,
            height=height,
            scale=scale,
            outscale=outscale,
            halo_px=halo_px,
            align_px=align_px,
            whole_body=False,
            tile_px=16,
            exact_px=0,
        )
    )
    spec = plan.spec
    pixels = torch.rand(1, 2, height * scale, width * scale, generator=torch.Generator().manual_seed(width))
    resampler = Resampler(width * scale, height * scale, spec.out_width, spec.out_height, kind)
    expected = resampler.apply(pixels, (0, 0), whole(spec.out_width, spec.out_height))
    found = torch.full_like(expected, -9.0)
    for tile in plan.tiles:
        read, out, halo = tile.read, tile.out, halo_px * scale
        window = torch.full((1, 2, read.height * scale, read.width * scale), 7.0)
        x0, y0 = read.x0 * scale, read.y0 * scale
        left, top = (halo if x0 else 0), (halo if y0 else 0)
        right = x0 + window.shape[3] - (halo if read.x1 < spec.padded_width else 0)
        bottom = y0 + window.shape[2] - (halo if read.y1 < spec.padded_height else 0)
        inner = pixels[:, :, y0 + top : bottom, x0 + left : right]
        window[:, :, top : top + inner.shape[2], left : left + inner.shape[3]] = inner
        found[:, :, out.y0 : out.y1, out.x0 : out.x1] = resampler.apply(window, (x0, y0), out)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["lanczos", "official"])
def test_bytes_do_not_depend_on_threads_batch_or_memory_format(kind: Literal["lanczos", "official"]) -> None:
    pixels = torch.rand(5, 3, 97, 131, generator=torch.Generator().manual_seed(3))
    expected = torch.cat([resize(one[None], 115, 85, kind) for one in pixels])
    assert torch.equal(resize(pixels, 115, 85, kind), expected)
    assert torch.equal(resize(pixels.to(memory_format=torch.channels_last), 115, 85, kind), expected)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert torch.equal(resize(pixels, 115, 85, kind), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["lanczos", "official"])
def test_a_picture_of_the_same_size_is_copied(kind: Literal["lanczos", "official"]) -> None:
    pixels = torch.rand(1, 3, 20, 30)
    assert torch.equal(resize(pixels, 30, 20, kind), pixels)


@pytest.mark.parametrize("kind", ["lanczos", "official"])
@pytest.mark.parametrize("outscale", [0.3, 0.875, 1.7])
def test_a_flat_picture_stays_flat(kind: Literal["lanczos", "official"], outscale: float) -> None:
    pixels = torch.full((1, 1, 50, 60), 200.0)
    found = resize(pixels, int(60 * outscale), int(50 * outscale), kind)
    assert (found - 200).abs().max() <= (1e-3 if kind == "lanczos" else 1.0)


def test_half_precision_windows_are_summed_in_float32() -> None:
    pixels = torch.rand(1, 3, 40, 40).to(torch.bfloat16)
    assert torch.equal(resize(pixels, 30, 30, "lanczos"), resize(pixels.float(), 30, 30, "lanczos"))


def test_a_window_that_lacks_pixels_is_refused() -> None:
    resampler = Resampler(100, 100, 50, 50, "lanczos")
    with pytest.raises(ValueError, match="need inputs"):
        resampler.apply(torch.rand(1, 1, 40, 40), (30, 30), Box(x0=20, y0=20, x1=34, y1=34))


def test_an_empty_box_gives_no_pixels() -> None:
    found = Resampler(10, 10, 5, 5, "lanczos").apply(torch.rand(1, 3, 10, 10), (0, 0), Box(x0=2, y0=0, x1=2, y1=5))
    assert found.shape == (1, 3, 5, 0)
