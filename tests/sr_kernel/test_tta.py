"""Turns are averaged as the portable program averages them, whatever the cut, and hold little memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.archs import RRDBNet
from sr_kernel.backend import Backend
from sr_kernel.frames import FrameUpscaler
from sr_kernel.layout import FrameLayout
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box, PicturePlan, Strategy
from sr_kernel.tta import TURNS
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import load_state
from tests.basicsr_reference import reference_network
from tests.networks import SMALL, plan_of, random_picture, rrdb_spec, same, seeded_state, seeded_upscaler, srvgg_spec
from tests.outside import data_folder
from tests.precision import PRECISIONS, Precision

SPECS = [srvgg_spec(), rrdb_spec(4), rrdb_spec(2), rrdb_spec(1)]


def reference_mean(spec: ModelSpec, state: dict[str, Tensor], rgb: NDArray[np.uint8 | np.uint16]) -> NDArray[np.int64]:
    """The mean over eight transforms through basicsr's own network, of the whole picture, in levels."""
    network = reference_network(spec, state)
    x = torch.from_numpy(rgb.astype(np.float32) / np.iinfo(rgb.dtype).max).permute(2, 0, 1).unsqueeze(0)
    outputs: list[Tensor] = []
    with torch.inference_mode():
        for quarter in range(4):
            for flipped in (False, True):
                turned = torch.rot90(x.flip(3) if flipped else x, quarter, (2, 3)).contiguous()
                made = torch.rot90(network(turned), -quarter, (2, 3))
                outputs.append(made.flip(3) if flipped else made)
    mean = torch.stack(outputs).mean(0)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return np.rint(mean * np.iinfo(rgb.dtype).max).astype(np.int64)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("tile_px", [16, 4096])
def test_turns_are_the_mean_of_basicsr_over_eight_transforms(spec: ModelSpec, tile_px: int) -> None:
    rgb = random_picture(44, 36)
    made = seeded_upscaler(spec).restore(
        rgb, plan_of(spec, 44, 36, tile_px=tile_px), Settings(precision="fp32", tta=True)
    )
    expected = reference_mean(spec, seeded_state(spec), rgb)
    assert np.abs(made.pixels.astype(np.int64) - expected).max() <= 1
    plain = seeded_upscaler(spec).restore(rgb, plan_of(spec, 44, 36), Settings(precision="fp32"))
    assert np.abs(plain.pixels.astype(np.int64) - expected).max() > 4, "a mean over turns is another picture"


def test_turns_of_real_weights_are_the_mean_of_basicsr() -> None:
    path = data_folder() / "weights" / "realesr-animevideov3.pth"
    upscaler = Upscaler.load(spec := srvgg_spec(features=64, convs=16), path)
    y, x = np.mgrid[0:40, 0:56]
    rgb = np.stack([128 + 100 * np.sin(x / (3 + c)) * np.cos(y / 5) for c in range(3)], axis=2).astype(np.uint8)
    made = upscaler.restore(rgb, plan_of(spec, 56, 40, tile_px=16), Settings(precision="fp32", tta=True))
    assert np.abs(made.pixels.astype(np.int64) - reference_mean(spec, load_state(path, spec), rgb)).max() <= 1


def test_the_eight_turns_are_all_different_and_come_back() -> None:
    picture = torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4)
    seen = {tuple(turn.window(picture)[0, 0].flatten().tolist()) for turn in TURNS}
    assert len(seen) == len(TURNS) == 8
    for turn in TURNS:
        output = turn.window(picture).permute(0, 2, 3, 1)
        assert torch.equal(turn.back(output), picture.permute(0, 2, 3, 1))
        part = turn.box(Box(x0=1, y0=2, x1=3, y1=5), 4, 5)
        turned = turn.window(picture)[..., part.y0 : part.y1, part.x0 : part.x1].permute(0, 2, 3, 1)
        assert torch.equal(turn.back(turned), picture[..., 2:5, 1:3].permute(0, 2, 3, 1))


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(sorted(SMALL)),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    tile_px=st.integers(16, 40),
    exact_px=st.sampled_from([1, 1 << 22]),
    precision=st.sampled_from(PRECISIONS),
    outscale=st.sampled_from([None, None, 2.5]),
    batch=st.sampled_from([1, 4]),
)
def test_no_cut_changes_a_byte_of_the_mean(
    name: str,
    width: int,
    height: int,
    tile_px: int,
    exact_px: int,
    precision: Precision,
    outscale: float | None,
    batch: int,
) -> None:
    spec, upscaler = SMALL[name]
    rgb, scale = random_picture(width, height), float(outscale or spec.scale)
    whole = upscaler.restore(rgb, plan_of(spec, width, height, outscale=scale), Settings(precision=precision, tta=True))
    cut = plan_of(spec, width, height, tile_px=tile_px, exact_px=exact_px, outscale=scale)
    assert same(upscaler.restore(rgb, cut, Settings(precision=precision, tta=True, batch=batch)), whole)


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4), rrdb_spec(2)], ids=lambda spec: spec.name)
def test_the_mean_of_a_turned_picture_is_the_turned_mean(spec: ModelSpec) -> None:
    """What makes it worth eight times the work: no direction is preferred. Sums in another order differ by rounding."""
    upscaler, rgb = seeded_upscaler(spec), random_picture(30, 22)
    wanted = Settings(precision="fp32", tta=True)
    made = upscaler.restore(rgb, plan_of(spec, 30, 22), wanted).pixels.astype(int)
    turned = np.ascontiguousarray(np.rot90(rgb))
    other = upscaler.restore(turned, plan_of(spec, 22, 30), wanted).pixels.astype(int)
    assert np.abs(np.rot90(made) - other).max() <= 1


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4, blocks=1), rrdb_spec(2)], ids=lambda spec: spec.name)
def test_frames_are_turned_as_pictures_are(spec: ModelSpec) -> None:
    layout = FrameLayout(width=33, height=20, model="rgb")
    plan, upscaler, wanted = (
        plan_of(spec, 33, 20, tile_px=16),
        seeded_upscaler(spec),
        Settings(precision="fp32", tta=True),
    )
    target = dataclasses.replace(layout, width=plan.spec.out_width, height=plan.spec.out_height)
    rgb = random_picture(33, 20)
    planes = tuple(np.ascontiguousarray(rgb[:, :, channel]) for channel in range(3))
    frame = FrameUpscaler(upscaler, plan, layout, target, wanted).start([planes]).frames()[0]
    assert np.array_equal(np.stack(frame.planes, axis=2), upscaler.restore(rgb, plan, wanted).pixels)


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4)], ids=lambda spec: spec.name)
def test_infinity_in_one_turn_is_told(spec: ModelSpec) -> None:
    state = seeded_state(spec)
    state["conv_last.bias" if spec.arch == "rrdb" else f"body.{2 * spec.blocks + 2}.bias"][-1] = float("inf")
    upscaler = Upscaler(spec, Backend(spec, state, "cpu"))
    wanted = Settings(precision="fp32", tta=True)
    assert not upscaler.restore(random_picture(20, 20), plan_of(spec, 20, 20), wanted).finite


def test_one_body_at_a_time_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of eight turns side by side would take four times what the fp32 output takes."""
    import weakref

    spec, alive = rrdb_spec(4), list[weakref.ref[Tensor]]()
    most, run = 0, RRDBNet.body

    def counted(network: RRDBNet, x: Tensor) -> Tensor:
        nonlocal most
        most = max(most, sum(one() is not None for one in alive))
        alive.append(weakref.ref(made := run(network, x)))
        return made

    monkeypatch.setattr(RRDBNet, "body", counted)
    plan: PicturePlan = plan_of(spec, 40, 30, tile_px=16)
    assert plan.strategy is Strategy.BODY
    seeded_upscaler(spec).restore(random_picture(40, 30), plan, Settings(precision="fp32", tta=True))
    assert (len(alive), most) == (8, 0), "when a body begins, no features of another are held"
