"""The source's low frequencies are kept, and nothing else is changed, whatever the cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sr_kernel.backend import Backend
from sr_kernel.colour_match import RADIUS_PX, SIGMA_PX, ColourMatch
from sr_kernel.frames import FrameUpscaler
from sr_kernel.layout import FrameLayout
from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.tiles import COLOUR_REACH_PX, Box, Mode, Strategy
from sr_kernel.upscale import Restored, Settings, Upscaler
from tests.networks import SMALL, plan_of, random_picture, rrdb_spec, same, seeded_state, seeded_upscaler, srvgg_spec
from tests.outside import data_folder, real_picture
from tests.precision import PRECISIONS, Precision

KEPT = Settings(precision="fp32", keep_colour=True)
PLAIN = Settings(precision="fp32")
Picture = NDArray[np.uint8 | np.uint16]


def kept_plan(spec: ModelSpec, width: int, height: int, **changes: object):
    return plan_of(spec, width, height, colour_px=COLOUR_REACH_PX, **changes)  # pyright: ignore[reportArgumentType]


def photo(width: int, height: int, dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> Picture:
    """Slopes, edges and grain, away from black and white, where clamping would hide what a network shifts."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(0.03 * (c + 1) * x + 0.05 * y) + 0.3 * ((x // 7 + y // (5 + c)) % 2) for c in range(3)]
    grain = np.random.default_rng(3).normal(0, 6, (height, width, 3))
    levels = np.clip(118 + 40 * np.stack(waves, axis=2) + grain, 30, 225)
    return np.rint(levels * (np.iinfo(dtype).max / 255)).astype(dtype)


def tinting(spec: ModelSpec, levels: float) -> Upscaler:
    """A network that enlarges, adds a little texture and `levels` of red."""
    state = seeded_state(spec)
    last = f"body.{2 * spec.blocks + 2}"
    state[f"{last}.weight"] *= 0.1
    state[f"{last}.bias"].zero_()
    state[f"{last}.bias"][: spec.scale**2] = levels / 255
    return Upscaler(spec, Backend(spec, state, "cpu"))


def shrunk(pixels: Picture, scale: int) -> NDArray[np.float64]:
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    means = pixels.reshape(height, scale, width, scale, 3).astype(np.float64).mean(axis=(1, 3))
    return means * (255 / np.iinfo(pixels.dtype).max)


def low(picture: NDArray[np.float64], sigma_px: float = 8) -> NDArray[np.float64]:
    return cv2.GaussianBlur(picture, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)


def shift(made: Restored, rgb: Picture, scale: int) -> NDArray[np.float64]:
    """Difference of colour in the low frequencies at the source's size, in levels of 255."""
    source = rgb.astype(np.float64) * (255 / np.iinfo(rgb.dtype).max)
    return low(shrunk(made.pixels, scale)) - low(source)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tint_is_taken_back_and_detail_is_left_alone(dtype: type[np.uint8] | type[np.uint16]) -> None:
    spec, rgb = srvgg_spec(), photo(110, 90, dtype)
    upscaler = tinting(spec, 12)
    plain = upscaler.restore(rgb, plan_of(spec, 110, 90, tile_px=64), PLAIN)
    kept = upscaler.restore(rgb, kept_plan(spec, 110, 90, tile_px=64), KEPT)
    assert np.abs(shift(plain, rgb, 4)[..., 0]).min() > 10
    assert np.abs(shift(kept, rgb, 4)).max() < 1
    fine = [one.pixels.astype(np.float64) * (255 / np.iinfo(dtype).max) for one in (plain, kept)]
    detail = [one - low(one, 32) for one in fine]
    assert detail[0].std() > 5
    assert np.abs(detail[1] - detail[0]).max() <= (1 if dtype == np.uint16 else 2), "8 bits round each of the two"
    assert kept.stats.fidelity < 1.5 < 3.5 < plain.stats.fidelity, "what is measured is what is published"


def test_sixteen_bits_keep_their_depth() -> None:
    spec, rgb = srvgg_spec(), photo(60, 50, np.uint16)
    made = tinting(spec, 12).restore(rgb, kept_plan(spec, 60, 50), KEPT).pixels
    assert made.dtype == np.uint16
    assert len(np.unique(made & 0xFF)) == 256, "the low bytes are alive"


def test_a_picture_whose_colours_are_right_is_not_touched() -> None:
    """A flat picture through a network that only enlarges: its means are the source's."""
    spec, rgb = srvgg_spec(), np.full((40, 50, 3), (200, 130, 40), np.uint8)
    state = seeded_state(spec)
    for name in (f"body.{2 * spec.blocks + 2}.weight", f"body.{2 * spec.blocks + 2}.bias"):
        state[name].zero_()
    upscaler = Upscaler(spec, Backend(spec, state, "cpu"))
    assert np.array_equal(
        upscaler.restore(rgb, kept_plan(spec, 50, 40), KEPT).pixels, np.broadcast_to(rgb[0, 0], (160, 200, 3))
    )


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(sorted(SMALL)),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    tile_px=st.integers(16, 48),
    exact_px=st.sampled_from([1, 1 << 22]),
    precision=st.sampled_from(PRECISIONS),
    outscale=st.sampled_from([None, None, 3.5, 0.7]),
    tta=st.sampled_from([False, False, True]),
    batch=st.sampled_from([1, 4]),
)
def test_no_cut_changes_a_byte(
    name: str,
    width: int,
    height: int,
    tile_px: int,
    exact_px: int,
    precision: Precision,
    outscale: float | None,
    tta: bool,
    batch: int,
) -> None:
    spec, upscaler = SMALL[name]
    rgb, scale = random_picture(width, height), float(outscale or spec.scale)
    wanted = Settings(precision=precision, keep_colour=True, tta=tta)
    whole = upscaler.restore(rgb, kept_plan(spec, width, height, outscale=scale), wanted)
    cut = kept_plan(spec, width, height, tile_px=tile_px, exact_px=exact_px, outscale=scale)
    assert same(upscaler.restore(rgb, cut, dataclasses.replace(wanted, batch=batch)), whole)


def test_windows_equal_a_body_that_runs_whole() -> None:
    spec, rgb = rrdb_spec(4, blocks=1), photo(131, 101)
    upscaler = seeded_upscaler(spec)
    body, windows = kept_plan(spec, 131, 101, tile_px=32), kept_plan(spec, 131, 101, tile_px=32, exact_px=1)
    assert (body.strategy, windows.strategy) == (Strategy.BODY, Strategy.WINDOWS)
    assert len(windows.tiles) > 1
    assert same(upscaler.restore(rgb, body, KEPT), upscaler.restore(rgb, windows, KEPT))


def test_bounded_windows_keep_colours_too() -> None:
    spec, rgb = rrdb_spec(4, blocks=4), photo(120, 90)
    plan = kept_plan(spec, 120, 90, tile_px=48, exact_px=1, max_exact_halo_px=1, bounded_halo_px=8)
    assert plan.mode is Mode.BOUNDED
    assert len(plan.tiles) > 1
    upscaler = seeded_upscaler(spec)
    made = upscaler.restore(rgb, plan, KEPT)
    assert np.abs(shift(made, rgb, 4)).mean() < 0.3 * np.abs(shift(upscaler.restore(rgb, plan, PLAIN), rgb, 4)).mean()


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4, blocks=1)], ids=lambda spec: spec.name)
def test_frames_are_matched_as_pictures_are(spec: ModelSpec) -> None:
    layout, rgb = FrameLayout(width=93, height=70, model="rgb"), photo(93, 70)
    plan, upscaler = kept_plan(spec, 93, 70, tile_px=24), seeded_upscaler(spec)
    assert len(plan.tiles) > 1
    target = dataclasses.replace(layout, width=plan.spec.out_width, height=plan.spec.out_height)
    planes = tuple(np.ascontiguousarray(rgb[:, :, channel]) for channel in range(3))
    frame = FrameUpscaler(upscaler, plan, layout, target, KEPT).start([planes]).frames()[0]
    assert np.array_equal(np.stack(frame.planes, axis=2), upscaler.restore(rgb, plan, KEPT).pixels)


def test_a_plan_without_context_for_it_is_refused() -> None:
    spec = srvgg_spec()
    with pytest.raises(ValueError, match="keeping colours looks 19 px far, the plan holds 0"):
        seeded_upscaler(spec).restore(photo(30, 20), plan_of(spec, 30, 20), KEPT)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_correction_is_a_gaussian_enlarged_smoothly(scale: int) -> None:
    width, height = 70, 45
    difference = np.random.default_rng(5).normal(0, 9, (height, width, 3)).astype(np.float32)
    whole = Box(x0=0, y0=0, x1=width, y1=height)
    made = ColourMatch(width, height, scale).correction(torch.from_numpy(difference), whole).numpy()
    steps = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    kernel = np.exp(-0.5 * (steps / SIGMA_PX) ** 2)
    sums = [
        cv2.sepFilter2D(one, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        for one in (difference.astype(np.float64), np.ones((height, width)))
    ]
    expected = cv2.resize(sums[0] / sums[1][..., None], (width * scale, height * scale), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)


def test_real_pictures_keep_their_colours() -> None:
    path: Path = data_folder() / "weights" / "realesr-animevideov3.pth"
    spec = MODELS["animevideov3"]
    upscaler = Upscaler.load(spec, path)
    rgb = np.ascontiguousarray(
        np.asarray(Image.open(real_picture("Blake_Lively.jpg")).convert("RGB"))[150:310, 150:310]
    )
    before = np.abs(shift(upscaler.restore(rgb, plan_of(spec, 160, 160), PLAIN), rgb, 4))
    after = np.abs(shift(upscaler.restore(rgb, kept_plan(spec, 160, 160), KEPT), rgb, 4))
    print(f"before {before.mean():.2f} / {before.max():.1f}, after {after.mean():.2f} / {after.max():.1f}")
    assert before.mean() > 1
    assert before.max() > 3
    assert after.mean() < 0.2
    assert after.max() < 1.5
