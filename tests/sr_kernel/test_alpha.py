from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sr_kernel.alpha import keep_solid, solid_value, upscale_alpha
from sr_kernel.tiles import PictureSpec


def spec_of(width: int, height: int, outscale: float) -> PictureSpec:
    return PictureSpec(
        width=width,
        height=height,
        scale=4,
        outscale=outscale,
        halo_px=18,
        align_px=1,
        whole_body=False,
        tile_px=64,
        exact_px=1,
    )


def mask(seed: int, width: int, height: int) -> np.ndarray:
    """A plane with solid areas and a soft edge between them."""
    random = np.random.default_rng(seed)
    centre = random.uniform(0, 1, 2) * (height, width)
    rows, columns = np.mgrid[0:height, 0:width]
    distance = np.hypot(rows - centre[0], columns - centre[1]) - min(width, height) / 3
    return np.clip(128 - 40 * distance, 0, 255).astype(np.uint8)[:, :, None]


def test_solid_windows_are_told_from_others() -> None:
    assert solid_value(np.full((4, 5, 1), 255, np.uint8)) == 255
    assert solid_value(np.full((4, 5, 1), 65535, np.uint16)) == 65535
    assert solid_value(np.zeros((4, 5, 1), np.uint8)) == 0
    assert solid_value(np.full((4, 5, 1), 7, np.uint8)) is None
    assert solid_value(mask(0, 40, 40)) is None


def test_what_is_solid_around_a_pixel_is_written_and_nothing_else() -> None:
    source = np.zeros((20, 20, 1), np.uint8)
    source[:, 10:] = 255
    made = keep_solid(np.full((80, 80, 1), 128, np.uint8), source, 0, spec_of(20, 20, 4.0), (0, 80))
    assert (made[:, : 4 * 8] == 0).all()
    assert (made[:, 4 * 8 : 4 * 12] == 128).all(), "within two source pixels of the edge the network decides"
    assert (made[:, 4 * 12 :] == 255).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    outscale=st.sampled_from([0.5, 1.0, 2.5, 4.0]),
    cut=st.floats(0, 1),
)
def test_bands_give_the_rows_of_the_whole(seed: int, width: int, height: int, outscale: float, cut: float) -> None:
    spec, source = spec_of(width, height, outscale), mask(seed, width, height)
    rows = spec.out_height
    middle = int(cut * rows)
    network = np.random.default_rng(seed).integers(1, 255, (rows, spec.out_width, 1), dtype=np.uint8)
    whole = keep_solid(network.copy(), source, 0, spec, (0, rows))
    resized = upscale_alpha(source, 0, spec, (0, rows))
    for out_rows in ((0, middle), (middle, rows)):
        first = max(0, int(out_rows[0] / outscale) - 16)
        last = min(height, int(out_rows[1] / outscale) + 16)
        part = source[first:last]
        if out_rows[0] == out_rows[1]:
            continue
        band = keep_solid(network[slice(*out_rows)].copy(), part, first, spec, out_rows)
        assert (band == whole[slice(*out_rows)]).all()
        assert (upscale_alpha(part, first, spec, out_rows) == resized[slice(*out_rows)]).all()


@pytest.mark.parametrize("outscale", [0.5, 1.5, 4.0])
def test_lanczos_is_pillows_to_one_level(outscale: float) -> None:
    source, spec = mask(3, 50, 37), spec_of(50, 37, outscale)
    made = upscale_alpha(source, 0, spec, (0, spec.out_height))
    floats = Image.fromarray(source[:, :, 0].astype(np.float32))  # on bytes Pillow rounds between its two passes
    expected = np.asarray(floats.resize((spec.out_width, spec.out_height), Image.Resampling.LANCZOS)).clip(0, 255)
    assert np.abs(made[:, :, 0] - expected).max() <= 0.5 + 1e-3
