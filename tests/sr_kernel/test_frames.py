"""A frame's planes are those of its picture, restored as pictures are, however frames share forward passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_kernel.archs.output import Output, WholeOutput
from sr_kernel.backend import Backend, DeviceMemoryError, Fetch
from sr_kernel.colour import Planes, frame_to_rgb, rgb_to_frame
from sr_kernel.frames import FrameUpscaler, RestoredFrame
from sr_kernel.layout import FrameLayout
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box, Mode, PicturePlan, Strategy
from sr_kernel.upscale import Settings, Upscaler
from tests.networks import SmallMemory, plan_of, rrdb_spec, seeded_state, seeded_upscaler, srvgg_spec
from tests.precision import HALF, PRECISIONS, Precision

YUV420 = FrameLayout(width=61, height=47, chroma_shift=(1, 1), matrix="bt601")
SRVGG, BODY, BODY_X2 = srvgg_spec(), rrdb_spec(4, blocks=1), rrdb_spec(2, blocks=1)


def film(layout: FrameLayout, count: int) -> list[Planes]:
    """Frames of noise that changes a little from one to the next."""
    top = (1 << layout.depth) - 1
    rng = np.random.default_rng(7)
    start = [rng.integers(0, top + 1, (height, width)) for width, height in layout.colour_sizes]
    return [
        tuple(
            np.clip(plane + rng.integers(-top // 20, top // 20, plane.shape) * (index > 0), 0, top).astype(
                np.uint8 if layout.depth == 8 else np.uint16
            )
            for plane in start
        )
        for index in range(count)
    ]


def enlarged(layout: FrameLayout, plan: PicturePlan, **changes: Any) -> FrameLayout:
    return dataclasses.replace(layout, width=plan.spec.out_width, height=plan.spec.out_height, **changes)


def restored(upscaler: FrameUpscaler, frames: Sequence[Planes], at_once: int) -> list[RestoredFrame]:
    parts = [frames[start : start + at_once] for start in range(0, len(frames), at_once)]
    return [frame for part in parts for frame in upscaler.start(part).frames()]


def same(made: RestoredFrame, expected: RestoredFrame) -> bool:
    facts = [(one.stats, one.finite, one.change_in, one.change_out) for one in (made, expected)]
    return facts[0] == facts[1] and all(map(np.array_equal, made.planes, expected.planes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    spec: ModelSpec = SRVGG
    source: FrameLayout = YUV420
    target: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """what differs from the source besides the size"""
    plan: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    resize: Literal["lanczos", "official"] = "lanczos"
    body: bool = False
    tiles: int = 1
    """at least"""


BOUNDED = {"tile_px": 16, "exact_px": 1, "max_exact_halo_px": 1, "bounded_halo_px": 8}
TENBIT = dataclasses.replace(YUV420, depth=10)
SMALL = FrameLayout(width=33, height=20, model="rgb", depth=12)
CASES = {
    "one window": Case(),
    "windows": Case(plan={"tile_px": 24}, tiles=2),
    "resampled": Case(plan={"tile_px": 24, "outscale": 2.5}, tiles=2),
    "resampled as upstream does": Case(plan={"tile_px": 24, "outscale": 3.5}, resize="official", tiles=2),
    "10 bits": Case(source=TENBIT, plan={"tile_px": 24}, tiles=2),
    "10 bits resampled": Case(source=TENBIT, plan={"outscale": 1.5}),
    "8 bits to 4:2:2 of 10": Case(target={"depth": 10, "chroma_shift": (1, 0)}),
    "body": Case(spec=BODY, plan={"tile_px": 16}, body=True, tiles=2),
    "body resampled": Case(spec=BODY, plan={"tile_px": 16, "outscale": 3.3}, body=True, tiles=2),
    "body of an odd size": Case(spec=BODY_X2, plan={"tile_px": 16}, body=True),
    "windows of an odd size": Case(spec=rrdb_spec(2, blocks=0), plan={"tile_px": 16, "exact_px": 1}, tiles=2),
    "bounded windows": Case(spec=rrdb_spec(1), source=TENBIT, plan=BOUNDED, tiles=2),
    "gray": Case(source=FrameLayout(width=33, height=20, model="gray", full_range=True)),
    "RGB to 4:4:4": Case(source=SMALL, target={"model": "yuv", "matrix": "bt2020"}),
    "smaller than its alignment": Case(spec=rrdb_spec(1, blocks=0), source=FrameLayout(width=1, height=2), body=True),
}


@pytest.mark.parametrize("name", CASES)
def test_planes_are_those_of_the_restored_picture(name: str) -> None:
    case = CASES[name]
    source, upscaler = case.source, seeded_upscaler(case.spec)
    plan = plan_of(case.spec, source.width, source.height, **case.plan)
    assert (plan.strategy is Strategy.BODY, plan.mode is Mode.BOUNDED) == (case.body, "bounded" in name)
    assert len(plan.tiles) >= case.tiles
    target, wanted = enlarged(source, plan, **case.target), Settings(precision=HALF, batch=3, resize=case.resize)
    frames = film(source, 2)
    made = FrameUpscaler(upscaler, plan, source, target, wanted).start(frames).frames()
    for frame, planes in zip(made, frames, strict=True):
        rgb = frame_to_rgb(planes, source)
        picture = upscaler.restore(np.repeat(rgb, 3, axis=2) if rgb.shape[2] == 1 else rgb, plan, wanted)
        expected = rgb_to_frame(picture.pixels, target)
        assert [plane.shape[::-1] for plane in frame.planes] == list(target.colour_sizes)
        assert all(np.array_equal(*pair) for pair in zip(frame.planes, expected, strict=True))
        assert (frame.stats, frame.finite) == (picture.stats, True)


@pytest.mark.parametrize("source", [YUV420, TENBIT, SMALL], ids=["8 bits", "10 bits", "RGB"])
@pytest.mark.parametrize("spec", [SRVGG, BODY, rrdb_spec(2, blocks=1)], ids=lambda spec: spec.name)
def test_frames_pass_twice_as_pictures_do(spec: ModelSpec, source: FrameLayout) -> None:
    """The first pass leaves odd sides, which a network of x2 has to have extended."""
    upscaler, frames, wanted = seeded_upscaler(spec), film(source, 3), Settings(precision="fp32", batch=3)
    between = (source.width * 3 // 2 | 1, source.height * 3 // 2 | 1)
    first = plan_of(spec, source.width, source.height, tile_px=24, out_size=between)
    last = plan_of(spec, *between, tile_px=24)
    target = enlarged(source, last)
    made = FrameUpscaler(upscaler, last, source, target, wanted, before=[first])
    found = restored(made, frames, 2)
    for frame, planes in zip(found, frames, strict=True):
        once = upscaler.restore(frame_to_rgb(planes, source), first, wanted)
        twice = upscaler.restore(once.pixels, last, wanted)
        expected = rgb_to_frame(twice.pixels, target)
        assert all(np.array_equal(*pair) for pair in zip(frame.planes, expected, strict=True))
        assert (frame.stats, frame.finite) == (twice.stats, True)
    one_pass = restored(FrameUpscaler(upscaler, first, source, enlarged(source, first), wanted), frames, 3)
    assert [frame.change_in for frame in found] == [frame.change_in for frame in one_pass]
    assert found[1].change_out is not None


def test_passes_that_do_not_fit_each_other_are_refused() -> None:
    plan, wanted = plan_of(SRVGG, 61, 47), Settings(precision="fp32")
    then = plan_of(SRVGG, 61, 47)
    with pytest.raises(ValueError, match="the next one reads"):
        FrameUpscaler(seeded_upscaler(SRVGG), then, YUV420, enlarged(YUV420, then), wanted, before=[plan])


@pytest.mark.parametrize("spec", [SRVGG, BODY], ids=lambda spec: spec.name)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_neither_batch_nor_grouping_changes_a_byte(precision: Precision, spec: ModelSpec) -> None:
    plan = plan_of(spec, 61, 47, tile_px=24)
    upscaler, target, frames = seeded_upscaler(spec), enlarged(YUV420, plan), film(YUV420, 5)

    def made(batch: int, at_once: int) -> list[RestoredFrame]:
        wanted = Settings(precision=precision, batch=batch)
        return restored(FrameUpscaler(upscaler, plan, YUV420, target, wanted), frames, at_once)

    expected = made(1, 1)
    for batch, at_once in ((1, 5), (3, 2), (8, 5), (64, 3)):
        assert all(map(same, made(batch, at_once), expected)), (batch, at_once)


def test_changes_are_those_of_light_from_frame_to_frame() -> None:
    plan, frames = plan_of(SRVGG, 61, 47, tile_px=24), film(YUV420, 3)
    frames.append(frames[2])
    target, upscaler = FrameLayout(width=244, height=188, model="rgb"), seeded_upscaler(SRVGG)
    made = restored(FrameUpscaler(upscaler, plan, YUV420, target, Settings(precision="fp32")), frames, 2)

    def change(rgb: list[np.ndarray[Any, Any]], index: int) -> float:
        light = [picture @ [0.25, 0.5, 0.25] for picture in rgb[index - 1 : index + 1]]
        return float(np.abs(light[1] - light[0]).mean())

    sources = [frame_to_rgb(planes, YUV420) for planes in frames]
    cells = [np.stack(one.planes, axis=2).reshape(47, 4, 61, 4, 3).mean(axis=(1, 3)) for one in made]
    assert (made[0].change_in, made[0].change_out) == (None, None)
    assert (made[3].change_in, made[3].change_out) == (0, 0)
    for index in (1, 2):
        assert made[index].change_in == pytest.approx(change(sources, index), abs=1 / 64)
        assert made[index].change_out == pytest.approx(change(cells, index), abs=0.2)
        assert change(sources, index) > 3


def test_out_of_memory_halves_and_changes_no_byte() -> None:
    plan, frames = plan_of(SRVGG, 61, 47, tile_px=12), film(YUV420, 4)
    assert len(plan.tiles) == 6
    target, wanted = enlarged(YUV420, plan), Settings(precision=HALF, batch=8)
    expected = restored(FrameUpscaler(seeded_upscaler(SRVGG), plan, YUV420, target, wanted), frames, 1)
    window = plan.tiles[0].read.area_px
    backend = SmallMemory(SRVGG, seeded_state(SRVGG), "cpu")
    small = FrameUpscaler(Upscaler(SRVGG, backend), plan, YUV420, target, wanted)
    backend.limit_px = 100
    with pytest.raises(DeviceMemoryError):
        small.start(frames)
    made: list[RestoredFrame] = []
    for index, limit_px in enumerate((4 * window, 2 * window, window, window * 3 // 4)):
        backend.limit_px, refused = limit_px, backend.refused
        made += small.start(frames[index : index + 1]).frames()
        assert backend.refused > refused
    assert all(map(same, made, expected)), "what failed before left no trace"


class LikeGpu(Backend):
    """Driven as a GPU is: batches filled up, halos kept. On the device `meta` no value can be read at all."""

    def __init__(self, spec: ModelSpec, device: str) -> None:
        super().__init__(spec, seeded_state(spec), device)
        self.shapes: set[tuple[int, ...]] = set()
        self.fetched: list[int] = []

    @property
    def static_shapes(self) -> bool:
        return True

    def output(self, x: Tensor, keep: Box, precision: str) -> Output:
        self.shapes.add(tuple(x.shape))
        made = super().output(x, keep, precision)
        return WholeOutput(made.whole(), self._spec.scale)  # as on a GPU

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        self.fetched.append(len(tensors))
        return super().fetch(tensors)


@pytest.mark.parametrize("outscale", [4.0, 3.5])
@pytest.mark.parametrize("spec", [SRVGG, BODY], ids=lambda spec: spec.name)
def test_starting_reads_nothing_from_the_device_and_fetches_once(spec: ModelSpec, outscale: float) -> None:
    plan, backend = plan_of(spec, 61, 47, tile_px=24, outscale=outscale), LikeGpu(spec, "meta")
    wanted = Settings(precision="fp32", batch=4)
    upscaler = FrameUpscaler(Upscaler(spec, backend), plan, YUV420, enlarged(YUV420, plan), wanted)
    for _ in range(2):
        started = upscaler.start(film(YUV420, 3))
    assert backend.fetched == [3 * 3 + 1] * 2
    assert {tensor.device.type for tensor in started.fetch.arriving} == {"meta"}
    with pytest.raises((TypeError, RuntimeError), match=r"[Mm]eta"):  # a device that holds no values gives none back
        started.frames()


class Crowded(LikeGpu):
    """A GPU whose memory recordings hold: it refuses a kind of copy until they are let go."""

    def __init__(self, stage: str) -> None:
        super().__init__(SRVGG, "cpu")
        self._stage, self._full, self.released = stage, True, 0

    def _meet(self, stage: str) -> None:
        if self._full and stage == self._stage:
            raise DeviceMemoryError("CUDA out of memory")

    def send(self, samples: Tensor) -> Tensor:
        self._meet("send")
        return super().send(samples)

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        self._meet("fetch")
        return super().fetch(tensors)

    def release(self) -> None:
        self._full = False
        self.released += 1
        super().release()


@pytest.mark.parametrize("stage", ["send", "fetch"])
def test_a_frame_by_itself_gets_the_memory_that_recordings_hold(stage: str) -> None:
    plan, frames = plan_of(SRVGG, 61, 47, tile_px=24), film(YUV420, 2)
    target, wanted = enlarged(YUV420, plan), Settings(precision="fp32", batch=8)
    backend = Crowded(stage)
    upscaler = FrameUpscaler(Upscaler(SRVGG, backend), plan, YUV420, target, wanted)
    with pytest.raises(DeviceMemoryError):
        upscaler.start(frames)
    assert backend.released == 0, "fewer frames are tried first, for which recordings may stay"
    made = restored(upscaler, frames, 1)
    expected = restored(FrameUpscaler(seeded_upscaler(SRVGG), plan, YUV420, target, wanted), frames, 1)
    assert all(map(same, made, expected))
    assert backend.released == 1


def test_frames_that_fill_passes_leave_no_slot_to_copies() -> None:
    plan, frames = plan_of(SRVGG, 61, 47, tile_px=12), film(YUV420, 4)
    assert len(plan.tiles) == 6
    target, wanted = enlarged(YUV420, plan), Settings(precision="fp32", batch=8)
    backend = LikeGpu(SRVGG, "cpu")
    upscaler = Upscaler(SRVGG, backend)
    made = restored(FrameUpscaler(upscaler, plan, YUV420, target, wanted), frames, 4)
    assert {shape[0] for shape in backend.shapes} == {8}
    figures = upscaler.forward.passes.take()
    assert (figures.windows, figures.slots) == (24, 24)
    assert all(map(same, made, restored(FrameUpscaler(upscaler, plan, YUV420, target, wanted), frames, 1)))


def test_short_batches_are_filled_up_over_frames() -> None:
    plan, frames = plan_of(SRVGG, 61, 47, tile_px=24), film(YUV420, 3)
    target, wanted = enlarged(YUV420, plan), Settings(precision="fp32", batch=8)
    backend = LikeGpu(SRVGG, "cpu")
    assert len(plan.tiles) % 8
    made = restored(FrameUpscaler(Upscaler(SRVGG, backend), plan, YUV420, target, wanted), frames, 3)
    expected = restored(FrameUpscaler(seeded_upscaler(SRVGG), plan, YUV420, target, wanted), frames, 3)
    assert all(map(same, made, expected))
    assert {shape[0] for shape in backend.shapes} == {8}


def test_a_frame_that_is_not_finite_is_told() -> None:
    state = seeded_state(SRVGG)
    state[f"body.{2 * SRVGG.blocks + 2}.bias"][-1] = float("nan")
    plan = plan_of(SRVGG, 61, 47, tile_px=24)
    broken = Upscaler(SRVGG, Backend(SRVGG, state, "cpu"))
    upscaler = FrameUpscaler(broken, plan, YUV420, enlarged(YUV420, plan), Settings(precision="fp32"))
    assert [frame.finite for frame in upscaler.start(film(YUV420, 2)).frames()] == [False, False]


def test_no_frames_are_no_frames_and_wrong_ones_are_refused() -> None:
    plan, wanted = plan_of(SRVGG, 61, 47), Settings(precision="fp32")
    target = enlarged(YUV420, plan)
    upscaler = FrameUpscaler(seeded_upscaler(SRVGG), plan, YUV420, target, wanted)
    assert upscaler.start([]).frames() == []
    with pytest.raises(ValueError, match="are not of"):
        upscaler.start([film(target, 1)[0]])
    for source, wrong in ((target, target), (YUV420, YUV420)):
        with pytest.raises(ValueError, match="pixels where this frame is"):
            FrameUpscaler(seeded_upscaler(SRVGG), plan, source, wrong, wanted)


def test_frames_of_one_thread_are_read_in_another() -> None:
    """The lane starts frames, an encoder's thread waits for them."""
    plan, frames = plan_of(SRVGG, 61, 47), film(YUV420, 2)
    upscaler = FrameUpscaler(seeded_upscaler(SRVGG), plan, YUV420, enlarged(YUV420, plan), Settings(precision="fp32"))
    first, second = (upscaler.start([planes]) for planes in frames)
    assert torch.is_inference_mode_enabled() is False
    assert second.frames()[0].change_in is not None
    assert first.frames()[0].change_in is None
