"""The curve of stored samples against powers of double precision, and resampling in linear light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_kernel.light import Light, gamma_of, linear_of
from sr_kernel.pixels import to_unit
from sr_kernel.resample import Resampler
from sr_kernel.tiles import Box
from sr_kernel.upscale import Settings
from tests.networks import plan_of, random_picture, rrdb_spec, seeded_upscaler, srvgg_spec

LIGHT = Light(torch.device("cpu"))
GRID = torch.cat([torch.linspace(0, 1, 1_000_003), torch.linspace(0, 0.05, 500_009)])


def test_both_directions_are_those_of_the_standard() -> None:
    known = {0.0: 0.0, 0.04045: 0.0031308, 0.5: 0.2140411, 1.0: 1.0}
    stored = torch.tensor(list(known))
    assert LIGHT.to_linear(stored).tolist() == pytest.approx(list(known.values()), abs=1e-6)
    for made, reference in ((LIGHT.to_linear(GRID), linear_of), (LIGHT.to_gamma(GRID), gamma_of)):
        assert np.abs(made.numpy() - reference(GRID.numpy().astype(np.float64))).max() < 6e-7


def test_both_directions_are_monotone_and_undo_each_other() -> None:
    rising = GRID.sort().values
    for made in (LIGHT.to_linear(rising), LIGHT.to_gamma(rising)):
        assert bool((made.diff() >= 0).all())
        assert (float(made[0]), float(made[-1])) == (0.0, 1.0)
    levels = torch.arange(65536, dtype=torch.float32)
    back = LIGHT.to_gamma(LIGHT.to_linear(levels / 65535)) * 65535
    assert float((back - levels).abs().max()) < 0.05, "a level of 16 bits is found again"


def test_what_lies_beyond_is_clamped_and_nothing_but_nan_becomes_nan() -> None:
    beyond = torch.tensor([-1e30, -0.01, 1.0001, 3.0, float("inf"), float("-inf")])
    for curve in (LIGHT.to_linear, LIGHT.to_gamma):
        assert curve(beyond).tolist() == [0, 0, 1, 1, 1, 0]
        assert bool(curve(torch.tensor([float("nan")])).isnan().all())


@settings(deadline=None)
@given(start=st.integers(0, 4000), length=st.integers(1, 70), step=st.integers(1, 5))
def test_a_sample_has_one_value_wherever_it_lies_in_memory(start: int, length: int, step: int) -> None:
    samples = torch.rand(6000, generator=torch.Generator().manual_seed(1))
    for curve in (LIGHT.to_linear, LIGHT.to_gamma):
        assert torch.equal(curve(samples[start : start + length : step]), curve(samples)[start : start + length : step])


def test_black_and_white_dots_shrink_to_half_the_light() -> None:
    dots = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(8, 8)[None, None]
    resampler, box = Resampler(16, 16, 4, 4, "lanczos"), Box(x0=1, y0=1, x1=3, y1=3)
    made = LIGHT.to_gamma(resampler.apply(LIGHT.to_linear(dots), (0, 0), box)) * 255
    assert float((made - 187.5).abs().max()) < 1, "and not to 128, half of the stored samples"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("outscale", [1.7, 3.5, 5.0])
def test_a_picture_is_resampled_in_linear_light_before_it_is_rounded(
    dtype: type[np.uint8] | type[np.uint16], outscale: float
) -> None:
    spec, top = srvgg_spec(), np.iinfo(dtype).max
    upscaler, rgb = seeded_upscaler(spec), random_picture(31, 23, dtype=dtype)
    plan = plan_of(spec, 31, 23, outscale=outscale)
    made = upscaler.restore(rgb, plan, Settings(precision="fp32", light="linear")).pixels
    x = to_unit(upscaler.backend.upload([rgb]), torch.float32)
    enlarged = upscaler.backend.run(x, Box(x0=0, y0=0, x1=31, y1=23), "fp32")[0].clamp(0, 1).permute(2, 0, 1)
    linear = torch.from_numpy(linear_of(enlarged.numpy().astype(np.float64)).astype(np.float32))
    width, height = plan.spec.out_width, plan.spec.out_height
    sized = Resampler(124, 92, width, height, "lanczos").apply(
        linear[None], (0, 0), Box(x0=0, y0=0, x1=width, y1=height)
    )
    expected = gamma_of(sized[0].permute(1, 2, 0).numpy().astype(np.float64).clip(0, 1)) * top
    assert np.abs(made - expected).max() < 0.51
    stored = upscaler.restore(rgb, plan, Settings(precision="fp32")).pixels
    assert not np.array_equal(made, stored)


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4, blocks=1)], ids=lambda spec: spec.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_change_no_byte_in_linear_light(spec, dtype) -> None:  # type: ignore[no-untyped-def]
    upscaler, rgb, wanted = (
        seeded_upscaler(spec),
        random_picture(101, 83, dtype=dtype),
        Settings(precision="fp32", light="linear", batch=2),
    )
    for outscale in (0.7, 3.3):
        whole = upscaler.restore(rgb, plan_of(spec, 101, 83, outscale=outscale), wanted)
        for tile_px in (16, 40):
            cut = upscaler.restore(rgb, plan_of(spec, 101, 83, tile_px=tile_px, outscale=outscale), wanted)
            assert np.array_equal(whole.pixels, cut.pixels)
