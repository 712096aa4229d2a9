"""What a GPU must give: the CPU's picture within half precision's error, and the same bytes for one shape of batch."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
import pytest
import torch

from sr_kernel.backend import Backend, fused_fault, supports_bf16
from sr_kernel.colour import frame_to_rgb, rgb_to_frame
from sr_kernel.frames import FrameUpscaler
from sr_kernel.hardware import FUSED_CAPABILITY
from sr_kernel.layout import FrameLayout
from sr_kernel.models import ModelSpec
from sr_kernel.pixels import cut_window
from sr_kernel.tiles import COLOUR_REACH_PX
from sr_kernel.upscale import Restored, Settings, Upscaler
from tests.networks import plan_of, random_picture, rrdb_spec, seeded_state, seeded_upscaler, srvgg_spec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]

SPECS = [srvgg_spec(), rrdb_spec(4), rrdb_spec(2)]


FULL = [srvgg_spec(features=64), srvgg_spec(2, features=64), rrdb_spec(4, features=64, growth=32)]
FULL += [rrdb_spec(2, features=64, growth=32), rrdb_spec(1, features=64, blocks=1, growth=32)]
hopper = pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability(0)[0] != FUSED_CAPABILITY,
    reason=f"the fused kernels are for GPUs of capability {FUSED_CAPABILITY}",
)


def cuda_upscaler(spec: ModelSpec, kernel: Literal["plain", "fused"] = "plain") -> Upscaler:
    return Upscaler(spec, Backend(spec, seeded_state(spec), "cuda:0", kernel))


@hopper
def test_the_fused_kernels_pass_their_trial() -> None:
    assert fused_fault(torch.device("cuda:0")) == ""


@hopper
@pytest.mark.parametrize(("precision", "levels"), [("fp16", 2), ("bf16", 8)])
@pytest.mark.parametrize("spec", FULL, ids=lambda spec: spec.name)
def test_fused_kernels_give_the_cpus_picture(spec: ModelSpec, precision: Literal["fp16", "bf16"], levels: int) -> None:
    upscaler = cuda_upscaler(spec, "fused")
    for width, height, tile_px in ((97, 61, 4096), (300, 131, 64)):
        rgb = random_picture(width, height)
        plan = plan_of(spec, width, height, tile_px=tile_px)
        expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
        made = upscaler.restore(rgb, plan, Settings(precision=precision, batch=4))
        again = upscaler.restore(rgb, plan, Settings(precision=precision, batch=4))
        assert made.finite
        assert np.array_equal(made.pixels, again.pixels)
        assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max() <= levels


@hopper
@pytest.mark.parametrize("spec", [srvgg_spec(features=64), rrdb_spec(blocks=2, features=64, growth=32)], ids=str)
def test_fused_windows_do_not_depend_on_their_neighbours(spec: ModelSpec) -> None:
    """Other windows of a batch, other tile sizes, and picture after picture of other sizes: the same bytes."""
    upscaler, rgb = cuda_upscaler(spec, "fused"), random_picture(500, 300)
    made = [
        upscaler.restore(rgb, plan_of(spec, 500, 300, tile_px=tile), Settings(precision="fp16", batch=batch)).pixels
        for tile, batch in ((64, 8), (128, 4), (4096, 1), (64, 8))
    ]
    for other in made[1:]:
        assert np.array_equal(made[0], other)


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("fp16", 2)])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_gpu_agrees_with_the_cpu(spec: ModelSpec, precision: Literal["fp32", "fp16"], levels: int) -> None:
    rgb, plan = random_picture(97, 61), plan_of(spec, 97, 61)
    expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
    made = cuda_upscaler(spec).restore(rgb, plan, Settings(precision=precision))
    assert made.finite
    assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max() <= levels


def test_order_and_short_batches_change_no_byte() -> None:
    spec = srvgg_spec()
    upscaler, rgb, wanted = cuda_upscaler(spec), random_picture(200, 150), Settings(precision="fp16", batch=8)
    plan = plan_of(spec, 200, 150, tile_px=32)
    expected = upscaler.restore(rgb, plan, wanted).pixels
    order = list(range(len(plan.tiles)))
    random.Random(0).shuffle(order)
    for start in range(0, len(order), 3):  # batches of 3, filled up to 8
        tiles = [plan.tiles[index] for index in order[start : start + 3]]
        windows = [cut_window(rgb, tile.read) for tile in tiles]
        results = upscaler.restore_windows(windows, tiles, [plan] * len(tiles), wanted)
        for tile, result in zip(tiles, results, strict=True):
            assert np.array_equal(result.pixels, expected[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1])


def test_sixteen_bit_windows_reach_the_device_whole() -> None:
    spec = srvgg_spec()
    rgb, plan = random_picture(60, 40, dtype=np.uint16), plan_of(spec, 60, 40)
    expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
    made = cuda_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
    assert made.pixels.dtype == np.uint16
    assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max() <= 8


def test_resized_output_is_made_on_the_device() -> None:
    spec = srvgg_spec()
    rgb, plan = random_picture(60, 40), plan_of(spec, 60, 40, outscale=3.5)
    expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
    made = cuda_upscaler(spec).restore(rgb, plan, Settings(precision="fp32"))
    assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max() <= 1


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize(("tta", "keep_colour"), [(True, False), (False, True), (True, True)])
def test_turns_and_kept_colours_agree_with_the_cpu(spec: ModelSpec, tta: bool, keep_colour: bool) -> None:
    rgb = random_picture(97, 61)
    plan = plan_of(spec, 97, 61, tile_px=32, colour_px=COLOUR_REACH_PX)
    expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32", tta=tta, keep_colour=keep_colour))
    for precision, levels in (("fp32", 1), ("fp16", 2)):
        wanted = Settings(precision=precision, batch=4, tta=tta, keep_colour=keep_colour)
        made = cuda_upscaler(spec).restore(rgb, plan, wanted)
        assert made.finite
        assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max() <= levels


def test_native_bf16_is_what_the_device_says() -> None:
    assert supports_bf16("cuda:0") == (torch.cuda.get_device_capability(0) >= (8, 0))


def test_closing_gives_the_memory_back() -> None:
    before = torch.cuda.memory_allocated()
    upscaler = cuda_upscaler(srvgg_spec())
    upscaler.restore(random_picture(30, 30), plan_of(srvgg_spec(), 30, 30), Settings(precision="fp16"))
    upscaler.close()
    assert torch.cuda.memory_allocated() <= before


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_frames_of_a_film_are_the_pictures_of_a_gpu(spec: ModelSpec) -> None:
    """Planes to planes on the device: the picture of each frame within a level, whatever shares its batch."""
    plan = plan_of(spec, 70, 50, tile_px=32)
    source = FrameLayout(width=70, height=50, chroma_shift=(1, 1))
    target = FrameLayout(width=plan.spec.out_width, height=plan.spec.out_height, chroma_shift=(1, 1))
    settings = Settings(precision="fp16", batch=4)
    upscaler = cuda_upscaler(spec)
    frames = [rgb_to_frame(random_picture(70, 50, seed=seed), source) for seed in range(3)]
    together = FrameUpscaler(upscaler, plan, source, target, settings).start(frames).frames()
    for planes, restored in zip(frames, together, strict=True):
        picture = upscaler.restore(frame_to_rgb(planes, source), plan, settings)
        for made, wanted in zip(restored.planes, rgb_to_frame(picture.pixels, target), strict=True):
            np.testing.assert_allclose(made.astype(int), wanted.astype(int), atol=1)
    assert together[0].change_in is None
    assert together[1].change_in is not None


@pytest.mark.parametrize("kernel", ["plain", pytest.param("fused", marks=hopper)])
def test_frames_together_have_the_bytes_that_each_has_alone(kernel: Literal["plain", "fused"]) -> None:
    """Four fill three passes of eight windows; one leaves slots to copies."""
    spec = srvgg_spec(features=64)
    plan = plan_of(spec, 90, 60, tile_px=32)
    assert len(plan.tiles) == 6
    source = FrameLayout(width=90, height=60, chroma_shift=(1, 1))
    target = FrameLayout(width=plan.spec.out_width, height=plan.spec.out_height, chroma_shift=(1, 1))
    frames = [rgb_to_frame(random_picture(90, 60, seed=seed), source) for seed in range(4)]
    upscaler, wanted = cuda_upscaler(spec, kernel), Settings(precision="fp16", batch=8)
    for _ in range(3):  # as it is, recorded, replayed
        together = FrameUpscaler(upscaler, plan, source, target, wanted).start(frames).frames()
        one_by_one = FrameUpscaler(upscaler, plan, source, target, wanted)
        for made, planes in zip(together, frames, strict=True):
            (alone,) = one_by_one.start([planes]).frames()
            assert all(map(np.array_equal, made.planes, alone.planes))
            assert (made.stats, made.change_in, made.change_out) == (alone.stats, alone.change_in, alone.change_out)


@pytest.mark.parametrize("kernel", ["plain", pytest.param("fused", marks=hopper)])
@pytest.mark.parametrize("number", range(3))
def test_what_is_recorded_gives_the_bytes_of_its_first_run(kernel: Literal["plain", "fused"], number: int) -> None:
    """Run as it is, then recorded, then replayed; shapes, pictures and depths take turns meanwhile."""
    spec = (SPECS if kernel == "plain" else FULL)[number]
    upscaler, sizes = cuda_upscaler(spec, kernel), ((97, 61), (200, 131), (64, 64), (131, 200))
    first: dict[object, Restored] = {}
    for turn in range(5):
        for width, height in sizes if turn % 2 else reversed(sizes):
            for changes in ({}, {"outscale": 2.5}):
                rgb, plan = random_picture(width, height), plan_of(spec, width, height, tile_px=64, **changes)
                made = upscaler.restore(rgb, plan, Settings(precision="fp16", batch=4))
                expected = first.setdefault((width, height, *changes), made)
                assert np.array_equal(made.pixels, expected.pixels)
                assert made.stats == expected.stats
    assert upscaler.backend.recorder is not None
    assert upscaler.backend.recorder.count > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("tta", [False, True])
def test_one_kernel_counts_and_rounds_as_step_by_step(
    spec: ModelSpec, tta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, wanted = random_picture(300, 170), Settings(precision="fp16", batch=4, tta=tta)
    for tile_px in (64, 4096):
        plan = plan_of(spec, 300, 170, tile_px=tile_px)
        made = cuda_upscaler(spec).restore(rgb, plan, wanted)
        with monkeypatch.context() as patched:
            patched.setattr(Backend, "compiles", False)
            expected = cuda_upscaler(spec).restore(rgb, plan, wanted)
        assert made.stats.blocks.count > 0 or tile_px == 64  # bands of a body may be lower than a block
        assert made.stats == expected.stats
        assert np.array_equal(made.pixels, expected.pixels)


def test_results_that_travel_are_not_those_of_what_was_started_next() -> None:
    spec = srvgg_spec()
    upscaler, wanted = cuda_upscaler(spec), Settings(precision="fp16", batch=2)
    plan = plan_of(spec, 300, 200)
    pictures = [random_picture(300, 200, seed=seed) for seed in range(12)]
    alone = [upscaler.restore(rgb, plan, wanted).pixels for rgb in pictures]
    started = [upscaler.start_windows([rgb], plan.tiles, [plan], wanted) for rgb in pictures]
    for one, expected in zip(started, alone, strict=True):
        assert np.array_equal(one.results()[0].pixels, expected)


def test_a_recording_that_finds_no_memory_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = srvgg_spec()
    upscaler, rgb, plan = cuda_upscaler(spec), random_picture(97, 61), plan_of(spec, 97, 61)
    wanted = Settings(precision="fp16")
    expected = upscaler.restore(rgb, plan, wanted).pixels

    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no memory for a graph")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_begin", refuse)
    for _ in range(3):
        assert np.array_equal(upscaler.restore(rgb, plan, wanted).pixels, expected)
    assert upscaler.backend.recorder is not None
    assert upscaler.backend.recorder.count == 0


@hopper
def test_bands_of_several_heights_are_recorded_with_all_that_they_write_to() -> None:
    """1000x750 has bands of two heights: what one of them was written to must be nobody else's while it is replayed."""
    spec = rrdb_spec(4, features=64, growth=32)
    upscaler, wanted = cuda_upscaler(spec, "fused"), Settings(precision="fp16")
    sizes = ((1000, 750), (256, 528), (96, 64))
    first = {}
    for _ in range(5):
        for width, height in sizes:
            made = upscaler.restore(random_picture(width, height), plan_of(spec, width, height, tile_px=256), wanted)
            assert np.array_equal(made.pixels, first.setdefault((width, height), made.pixels))
            noise = [torch.rand(1 << 24, device="cuda:0") for _ in range(8)]
            del noise


def test_a_recording_whose_memory_ends_on_the_way_leaves_nothing_unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in ("plain", "fused") if torch.cuda.get_device_capability(0)[0] == FUSED_CAPABILITY else ("plain",):
        spec = rrdb_spec(4, features=64, growth=32)
        upscaler, rgb, plan = cuda_upscaler(spec, kernel), random_picture(97, 61), plan_of(spec, 97, 61)
        wanted = Settings(precision="fp16")
        expected = upscaler.restore(rgb, plan, wanted).pixels
        upscaler.restore(random_picture(64, 48), plan_of(spec, 64, 48), wanted)
        network = type(upscaler.backend.network("fp16"))
        real = network._enlarged

        def refuse(self: object, x: torch.Tensor) -> torch.Tensor:
            if torch.cuda.is_current_stream_capturing():
                raise torch.OutOfMemoryError("no memory for the tail")
            return real(self, x)  # noqa: B023

        with monkeypatch.context() as patched:
            patched.setattr(network, "_enlarged", refuse)
            for _ in range(3):
                assert np.array_equal(upscaler.restore(rgb, plan, wanted).pixels, expected)
        assert upscaler.backend.recorder is not None
        assert upscaler.backend.recorder.count == 0
