"""What follows a network does not depend on the strips that it is done in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sr_kernel import steps
from sr_kernel.backend import Backend
from sr_kernel.fidelity import FINITE
from sr_kernel.job import Settings
from sr_kernel.tiles import COLOUR_REACH_PX, Box
from sr_kernel.upscale import Upscaler
from tests.networks import plan_of, random_picture, seeded_state, srvgg_spec


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("keep_colour", [False, True])
@pytest.mark.parametrize("outscale", [4.0, 2.5])
@pytest.mark.parametrize("tta", [False, True])
def test_strips_change_neither_pixels_nor_figures(
    dtype: type[np.integer], keep_colour: bool, outscale: float, tta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = srvgg_spec(4)
    upscaler = Upscaler(spec, Backend(spec, seeded_state(spec), "cpu"))
    rgb = random_picture(70, 150).astype(dtype) * (1 if dtype is np.uint8 else 257)
    plan = plan_of(spec, 70, 150, tile_px=64, outscale=outscale, colour_px=COLOUR_REACH_PX if keep_colour else 0)
    settings = Settings(precision="fp32", tta=tta, keep_colour=keep_colour)
    made = []
    for pixels in (1, 1 << 30):
        monkeypatch.setattr(steps, "_CACHED_PX", pixels)
        made.append(upscaler.restore(rgb, plan, settings))
    np.testing.assert_array_equal(made[0].pixels, made[1].pixels)
    assert made[0].stats == made[1].stats
    assert made[0].stats.samples == rgb.size


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_one_sample_that_is_no_number_is_seen_in_whichever_strip_it_is(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_CACHED_PX", 1)
    spec = srvgg_spec(4)
    plan = plan_of(spec, 40, 100, tile_px=128)
    (tile,) = plan.tiles
    job = steps.Job(tile=tile, plan=plan, dtype=np.dtype(np.uint8))
    for row in (0, 131, 399, None):
        output = torch.rand(400, 160, 3)
        if row is not None:
            output[row, 17, 1] = wrong

        def part(box: Box, output: torch.Tensor = output) -> torch.Tensor:
            return steps.part_of(output, box, 4)

        window = steps.Steps(spec).finish(part, torch.rand(3, 100, 40), tile.read, job, Settings(precision="fp32"))
        (made,) = steps.made_of([window])
        assert bool(made.sums[FINITE]) == (row is None)
