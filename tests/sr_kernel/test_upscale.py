"""Seams do not exist: however a picture is cut, batched and ordered, its bytes are those of the whole."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel import forward
from sr_kernel.archs import ARCHS, RRDBNet
from sr_kernel.archs.output import Output, WholeOutput
from sr_kernel.backend import Backend, DeviceMemoryError, Fetch, PrecisionError, memory_errors
from sr_kernel.fidelity import PixelStats
from sr_kernel.models import ModelSpec
from sr_kernel.passes import PassFigures
from sr_kernel.pixels import cut_window
from sr_kernel.tiles import Box, Mode, PicturePlan, Strategy, Tile
from sr_kernel.upscale import Restored, Settings, Upscaler
from tests.networks import (
    SMALL,
    SmallMemory,
    plan_of,
    random_picture,
    rrdb_spec,
    same,
    seeded_state,
    seeded_upscaler,
    srvgg_spec,
)
from tests.precision import HALF, PRECISIONS, Precision

OFFICIAL_BLOCK = rrdb_spec(4, features=64, blocks=1, growth=32)
RRDBS = [rrdb_spec(4), rrdb_spec(2), rrdb_spec(1), OFFICIAL_BLOCK]


def restore_windows(
    upscaler: Upscaler, rgb: NDArray[np.uint8 | np.uint16], plan: PicturePlan, wanted: Settings, order: list[int]
) -> Restored:
    """A picture by `restore_windows`, its windows in any order, `wanted.batch` a call."""
    pixels = np.zeros((plan.spec.out_height, plan.spec.out_width, 3), rgb.dtype)
    stats = PixelStats()
    for start in range(0, len(order), wanted.batch):
        tiles = [plan.tiles[index] for index in order[start : start + wanted.batch]]
        windows = [cut_window(rgb, tile.read) for tile in tiles]
        for tile, result in zip(
            tiles, upscaler.restore_windows(windows, tiles, [plan] * len(tiles), wanted), strict=True
        ):
            pixels[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1] = result.pixels
            stats += result.stats
    return Restored(pixels=pixels, stats=stats, finite=True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_srvgg_in_tiles_equals_the_whole(precision: Precision) -> None:
    spec = srvgg_spec(features=64, convs=16)
    upscaler, rgb = seeded_upscaler(spec), random_picture(157, 131)
    whole = upscaler.restore(rgb, plan_of(spec, 157, 131), Settings(precision=precision))
    assert whole.pixels.std() > 20
    for tile_px in (32, 64, 100, 256):
        plan = plan_of(spec, 157, 131, tile_px=tile_px)
        assert (plan.mode, plan.strategy) == (Mode.EXACT, Strategy.WINDOWS)
        assert same(upscaler.restore(rgb, plan, Settings(precision=precision)), whole), tile_px


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", RRDBS, ids=lambda spec: f"{spec.name} of {spec.features}")
def test_rrdb_with_a_banded_tail_equals_the_whole(spec: ModelSpec, precision: Precision) -> None:
    upscaler, rgb = seeded_upscaler(spec), random_picture(67, 61)
    whole = upscaler.restore(rgb, plan_of(spec, 67, 61), Settings(precision=precision))
    assert whole.pixels.std() > 5
    for tile_px in (16, 32):
        plan = plan_of(spec, 67, 61, tile_px=tile_px)
        assert (plan.mode, plan.strategy) == (Mode.EXACT, Strategy.BODY)
        assert len(plan.tiles) > 1 or tile_px * spec.align_px >= 64
        assert same(upscaler.restore(rgb, plan, Settings(precision=precision)), whole), tile_px


@pytest.mark.parametrize("spec", [rrdb_spec(4, blocks=1), rrdb_spec(2, blocks=1)], ids=lambda spec: spec.name)
def test_rrdb_in_exact_windows_equals_the_whole_body(spec: ModelSpec) -> None:
    upscaler, rgb = seeded_upscaler(spec), random_picture(131, 101)
    whole = upscaler.restore(rgb, plan_of(spec, 131, 101), Settings(precision=HALF))
    windows = plan_of(spec, 131, 101, tile_px=32, exact_px=1)
    assert (windows.mode, windows.strategy) == (Mode.EXACT, Strategy.WINDOWS)
    assert len(windows.tiles) > 1
    assert same(upscaler.restore(rgb, windows, Settings(precision=HALF)), whole)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_batch_and_order_change_no_byte(precision: Precision) -> None:
    spec = srvgg_spec()
    upscaler, rgb = seeded_upscaler(spec), random_picture(150, 90)
    plan = plan_of(spec, 150, 90, tile_px=32)
    whole = upscaler.restore(rgb, plan_of(spec, 150, 90), Settings(precision=precision))
    order = list(range(len(plan.tiles)))
    for batch in (1, 3, 8):
        assert same(restore_windows(upscaler, rgb, plan, Settings(precision=precision, batch=batch), order), whole)
        random.Random(batch).shuffle(order)


def test_batch_and_order_change_no_figure() -> None:
    spec = srvgg_spec()
    upscaler, rgb = seeded_upscaler(spec), random_picture(300, 90)
    plan = plan_of(spec, 300, 90, tile_px=64)
    order = list(range(len(plan.tiles)))
    expected = upscaler.restore(rgb, plan, Settings(precision="fp32")).stats
    assert expected.blocks.count > 4
    for batch in (3, 8):
        random.Random(batch).shuffle(order)
        assert restore_windows(upscaler, rgb, plan, Settings(precision="fp32", batch=batch), order).stats == expected


def test_windows_of_different_pictures_share_a_batch() -> None:
    spec = srvgg_spec()
    upscaler, pictures = seeded_upscaler(spec), [random_picture(60, 50, seed) for seed in range(3)]
    plan, settings = plan_of(spec, 60, 50), Settings(precision=HALF, batch=8)
    results = upscaler.restore_windows(pictures, [plan.tiles[0]] * 3, [plan] * 3, settings)
    for rgb, result in zip(pictures, results, strict=True):
        assert np.array_equal(result.pixels, upscaler.restore(rgb, plan, settings).pixels)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(SMALL)),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    tile_px=st.integers(16, 64),
    precision=st.sampled_from(PRECISIONS),
    outscale=st.sampled_from([None, None, 3.5, 0.7]),
    batch=st.sampled_from([1, 4]),
)
def test_no_size_has_seams(
    name: str, width: int, height: int, tile_px: int, precision: Precision, outscale: float | None, batch: int
) -> None:
    spec, upscaler = SMALL[name]
    rgb, wanted = random_picture(width, height), Settings(precision=precision, batch=batch)
    scale = float(outscale or spec.scale)
    whole = upscaler.restore(rgb, plan_of(spec, width, height, outscale=scale), wanted)
    cut = plan_of(spec, width, height, tile_px=tile_px, outscale=scale)
    assert whole.pixels.shape == (max(1, int(height * scale)), max(1, int(width * scale)), 3)
    assert same(upscaler.restore(rgb, cut, wanted), whole)


@pytest.mark.parametrize("resize", ["lanczos", "official"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resized_tiles_equal_the_resized_whole(
    resize: Literal["lanczos", "official"], dtype: type[np.uint8] | type[np.uint16]
) -> None:
    spec = srvgg_spec()
    upscaler, rgb = seeded_upscaler(spec), random_picture(101, 83, dtype=dtype)
    wanted = Settings(precision="fp32", resize=resize)
    for outscale in (3.5, 1.3, 5.0):
        whole = upscaler.restore(rgb, plan_of(spec, 101, 83, outscale=outscale), wanted)
        assert whole.pixels.dtype == dtype
        for tile_px in (24, 50):
            plan = plan_of(spec, 101, 83, tile_px=tile_px, outscale=outscale)
            assert same(upscaler.restore(rgb, plan, wanted), whole)


@pytest.mark.parametrize("spec", [rrdb_spec(2), rrdb_spec(1)], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("width", "height"), [(33, 27), (8, 5), (3, 2)])
def test_odd_sizes_are_reflected_as_upstream_does(spec: ModelSpec, width: int, height: int) -> None:
    rgb, align = random_picture(width, height), spec.align_px
    made = seeded_upscaler(spec).restore(rgb, plan_of(spec, width, height), Settings(precision="fp32"))
    padded = np.pad(rgb, ((0, -height % align), (0, -width % align), (0, 0)), mode="reflect")
    expected = network_levels(spec, padded)[: height * spec.scale, : width * spec.scale]
    assert np.abs(made.pixels.astype(int) - expected).max() <= 1


def network_levels(spec: ModelSpec, rgb: NDArray[np.uint8 | np.uint16]) -> NDArray[np.int64]:
    """The network on a whole picture, by itself, as upstream's arithmetic has it."""
    x = torch.from_numpy(rgb.astype(np.float32) / np.iinfo(rgb.dtype).max).permute(2, 0, 1).unsqueeze(0)
    network = ARCHS[spec.arch].make(spec, seeded_state(spec), torch.empty(0), trimmed=False)
    with torch.inference_mode():
        made = network(x, Box(x0=0, y0=0, x1=rgb.shape[1], y1=rgb.shape[0]))[0]
    return (made.clamp(0, 1).numpy() * np.iinfo(rgb.dtype).max).round().astype(np.int64)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    spec = srvgg_spec()
    rgb = random_picture(40, 30, dtype=np.uint16)
    made = seeded_upscaler(spec).restore(rgb, plan_of(spec, 40, 30), Settings(precision="fp32"))
    assert made.pixels.dtype == np.uint16
    assert len(np.unique(made.pixels & 0xFF)) == 256, "the low bytes are alive"
    assert np.abs(made.pixels.astype(int) - network_levels(spec, rgb)).max() <= 1


def test_bounded_windows_stay_within_the_measured_bound() -> None:
    """Halo 8 against a radius of 64; farther out influence fades fast, which is why a bound can be small."""
    spec = rrdb_spec(4, blocks=4)
    upscaler, rgb = seeded_upscaler(spec), random_picture(120, 90)
    exact = upscaler.restore(rgb, plan_of(spec, 120, 90), Settings(precision="fp32"))
    plan = plan_of(spec, 120, 90, tile_px=48, exact_px=1, max_exact_halo_px=1, bounded_halo_px=8)
    assert plan.mode is Mode.BOUNDED
    made = upscaler.restore(rgb, plan, Settings(precision="fp32"))
    difference = np.abs(made.pixels.astype(int) - exact.pixels.astype(int))
    assert 0 < difference.max() <= 8
    order = list(reversed(range(len(plan.tiles))))
    assert same(restore_windows(upscaler, rgb, plan, Settings(precision="fp32", batch=4), order), made)


def test_half_floats_are_refused_on_a_cpu() -> None:
    spec = srvgg_spec()
    with pytest.raises(PrecisionError, match="fp16 on a CPU"):
        seeded_upscaler(spec).restore(random_picture(9, 9), plan_of(spec, 9, 9), Settings(precision="fp16"))


def test_bf16_is_refused_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr_kernel.backend.cpu_runs_bf16", lambda: False)
    spec = srvgg_spec()
    with pytest.raises(PrecisionError, match="no bf16 on this processor"):
        seeded_upscaler(spec).restore(random_picture(9, 9), plan_of(spec, 9, 9), Settings(precision="bf16"))


def test_stats_are_sums_over_the_source_whatever_the_cut() -> None:
    spec = srvgg_spec()
    upscaler, rgb = seeded_upscaler(spec), random_picture(70, 50)
    stats = upscaler.restore(rgb, plan_of(spec, 70, 50, tile_px=16), Settings(precision="fp32")).stats
    mean = network_levels(spec, rgb).reshape(50, 4, 70, 4, 3).mean(axis=(1, 3))
    assert stats.samples == rgb.size
    assert stats.sum_in == int(rgb.astype(int).sum())
    assert abs(stats.sum_out - mean.sum()) < 0.01 * mean.sum()
    assert abs(stats.sum_abs_diff - np.abs(mean - rgb).sum()) < 0.01 * np.abs(mean - rgb).sum()


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4)], ids=lambda spec: spec.name)
def test_output_that_is_not_finite_is_told(spec: ModelSpec) -> None:
    state = seeded_state(spec)
    name = "conv_last.bias" if spec.arch == "rrdb" else f"body.{2 * spec.blocks + 2}.bias"
    for value in (float("nan"), float("inf"), float("-inf")):
        state[name][-1] = value
        upscaler = Upscaler(spec, Backend(spec, state, "cpu"))
        assert not upscaler.restore(random_picture(20, 20), plan_of(spec, 20, 20), Settings(precision="fp32")).finite


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("limit_px", [68 * 68 * 5, 68 * 68, 40 * 40])
@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(2, blocks=0)], ids=lambda spec: spec.name)
def test_out_of_memory_halves_and_changes_no_byte(spec: ModelSpec, limit_px: int, error: type[RuntimeError]) -> None:
    rgb = random_picture(180, 110)
    plan = plan_of(spec, 180, 110, tile_px=48, exact_px=1)
    expected = seeded_upscaler(spec).restore(rgb, plan, Settings(precision=HALF))
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.limit_px, backend.error = limit_px, error
    upscaler = Upscaler(spec, backend)
    assert same(upscaler.restore(rgb, plan, Settings(precision=HALF, batch=8)), expected)
    assert backend.refused > 0
    figures = upscaler.forward.passes.take()
    assert figures.out_of_memory >= backend.refused, "and each time is counted"
    assert figures.windows == len(plan.tiles)


def test_how_full_batches_were_is_counted_and_said_once() -> None:
    spec = srvgg_spec()
    plan, upscaler = plan_of(spec, 180, 110, tile_px=48), seeded_upscaler(spec)
    upscaler.restore(random_picture(180, 110), plan, Settings(precision="fp32", batch=8))
    batches = -(-len(plan.tiles) // 8)
    assert upscaler.forward.passes.take() == PassFigures(windows=len(plan.tiles), slots=8 * batches)
    assert upscaler.forward.passes.take() == PassFigures()


class LikeGpu(Backend):
    """A CPU that is driven as a GPU is: batches filled up, halos kept, results fetched while the next batch runs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, seeded_state(spec), "cpu")
        self.shapes: set[tuple[int, ...]] = set()
        self.events: list[str] = []

    @property
    def static_shapes(self) -> bool:
        return True

    def output(self, x: Tensor, keep: Box, precision: str) -> Output:
        self.shapes.add(tuple(x.shape))
        made = super().output(x, keep, precision)
        return WholeOutput(made.whole(), self._spec.scale)  # as on a GPU

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        events = self.events
        events.append("fetch")

        class Noted(Fetch):
            def arrays(self) -> list[NDArray[Any]]:
                events.append("wait")
                return super().arrays()

        return Noted(tuple(tensors), None)


@pytest.mark.parametrize("outscale", [4.0, 3.5])
def test_filled_batches_have_one_shape_and_the_same_pixels(outscale: float) -> None:
    spec = srvgg_spec()
    rgb, plan = random_picture(150, 110), plan_of(spec, 150, 110, tile_px=32, outscale=outscale)
    assert len(plan.tiles) > 8
    assert len(plan.tiles) % 8
    backend = LikeGpu(spec)
    made = Upscaler(spec, backend).restore(rgb, plan, Settings(precision="fp32", batch=8))
    assert same(made, seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32")))
    assert {shape[0] for shape in backend.shapes} == {8}
    assert len(backend.shapes) == 1


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4)], ids=lambda spec: spec.name)
def test_a_batch_is_waited_for_once_and_after_the_next_was_started(spec: ModelSpec) -> None:
    rgb, plan = random_picture(90, 90), plan_of(spec, 90, 90, tile_px=24)
    backend = LikeGpu(spec)
    made = Upscaler(spec, backend).restore(rgb, plan, Settings(precision="fp32", batch=4))
    assert same(made, seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32")))
    batches = len(plan.tiles) if plan.strategy is Strategy.BODY else -(-len(plan.tiles) // 4)
    assert batches > 2
    assert backend.events == ["fetch", *["fetch", "wait"] * (batches - 1), "wait"]


class Crowded(LikeGpu):
    """A GPU whose memory recordings hold: from the `turn`th time of a `stage` on it refuses that, until they are let
    go."""

    def __init__(self, spec: ModelSpec, stage: str, turn: int) -> None:
        super().__init__(spec)
        self._stage, self._turn, self._full = stage, turn, False
        self.released = 0

    def meet(self, stage: str) -> None:
        if stage == self._stage:
            self._turn -= 1
            self._full = self._full or self._turn == 0
            if self._full:
                raise DeviceMemoryError("CUDA out of memory")

    def network(self, precision: str) -> Any:
        network, meet = cast("RRDBNet", super().network(precision)), self.meet

        class Watched:
            def body(self, x: Tensor) -> Tensor:
                meet("body")
                return network.body(x)

            def tail(self, features: Tensor, area: Box, keep: Box) -> Tensor:
                meet("tail")
                return network.tail(features, area, keep)

        return Watched()

    def upload(self, windows: Sequence[NDArray[Any]]) -> Tensor:
        self.meet("upload")
        return super().upload(windows)

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        self.meet("fetch")
        return super().fetch(tensors)

    def release(self) -> None:
        self._full = False
        self.released += 1
        super().release()


@pytest.mark.parametrize(
    ("stage", "turn"), [("upload", 1), ("body", 1), ("tail", 1), ("tail", 3), ("fetch", 1), ("fetch", 3)]
)
def test_a_picture_whose_body_is_whole_gets_the_memory_that_recordings_hold(stage: str, turn: int) -> None:
    spec = rrdb_spec(4)
    rgb, plan = random_picture(90, 90), plan_of(spec, 90, 90, tile_px=24)
    assert plan.strategy is Strategy.BODY
    device = Crowded(spec, stage, turn)
    upscaler = Upscaler(spec, device)
    made = upscaler.restore(rgb, plan, Settings(precision="fp32"))
    assert same(made, seeded_upscaler(spec).restore(rgb, plan, Settings(precision="fp32")))
    assert device.released == 1
    assert upscaler.forward.passes.take().out_of_memory == 1


def test_a_batch_that_did_not_fit_is_not_tried_again_until_another_model_was_asked_for() -> None:
    spec = srvgg_spec()
    rgb, plan = random_picture(180, 110), plan_of(spec, 180, 110, tile_px=48)
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.limit_px = 5 * plan.tiles[0].read.area_px
    upscaler, wanted = Upscaler(spec, backend), Settings(precision="fp32", batch=8)
    expected = seeded_upscaler(spec).restore(rgb, plan, wanted)
    assert same(upscaler.restore(rgb, plan, wanted), expected)
    refused = backend.refused
    assert refused > 0
    assert same(upscaler.restore(rgb, plan, wanted), expected)
    assert backend.refused == refused
    upscaler.release()
    assert same(upscaler.restore(rgb, plan, wanted), expected)
    assert backend.refused > refused


@pytest.mark.parametrize(("windows", "smaller"), [(8, False), (5, True), (0.75, True)])
def test_batches_and_windows_that_memory_did_not_hold_are_told(windows: float, smaller: bool) -> None:
    """On a GPU bytes depend on their shape."""
    spec = srvgg_spec()
    rgb, plan = random_picture(180, 110), plan_of(spec, 180, 110, tile_px=48)
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.limit_px = int(windows * plan.tiles[0].read.area_px)
    upscaler, cut = Upscaler(spec, backend), [cut_window(rgb, tile.read) for tile in plan.tiles[:8]]
    for _ in range(2):
        started = upscaler.start_windows(cut, plan.tiles[:8], [plan] * 8, Settings(precision="fp32", batch=8))
        assert started.smaller is smaller
        assert len(started.results()) == 8


@pytest.mark.parametrize("spec", [srvgg_spec(), rrdb_spec(4)], ids=lambda spec: spec.name)
def test_a_first_pass_on_a_gpu_that_takes_long_is_told_once(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, plan = random_picture(90, 90), plan_of(spec, 90, 90, tile_px=24)
    upscaler = Upscaler(spec, LikeGpu(spec))
    upscaler.restore(rgb, plan, Settings(precision="fp32"))
    assert upscaler.forward.passes.take().slow_s == 0
    monkeypatch.setattr(forward, "_SLOW_S", 0.0)
    upscaler.restore(rgb, plan, Settings(precision="fp32"))
    assert upscaler.forward.passes.take().slow_s == 0, "only what compiles is slow at first"
    upscaler.restore(rgb, plan, Settings(precision=HALF))
    assert upscaler.forward.passes.take().slow_s > 0
    on_cpu = seeded_upscaler(spec)
    on_cpu.restore(rgb, plan, Settings(precision="fp32"))
    assert on_cpu.forward.passes.take().slow_s == 0, "a CPU is waited for: its passes take as long as they compute"


def test_fp32_on_a_gpu_is_not_tf32_and_deterministic() -> None:
    settings = {name: getattr(torch.backends.cudnn, name) for name in ("benchmark", "deterministic")}
    every, convolutions = torch.backends.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    try:
        torch.backends.fp32_precision = "tf32"
        Backend(srvgg_spec(), {}, "cuda:0")
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
    finally:
        torch.backends.fp32_precision, torch.backends.cudnn.conv.fp32_precision = every, convolutions
        for name, value in settings.items():
            setattr(torch.backends.cudnn, name, value)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
        "cuda error out of memory",
    ],
)
def test_each_library_that_runs_out_of_memory_is_understood(message: str) -> None:
    with pytest.raises(DeviceMemoryError, match=r"(?i)CU"), memory_errors():
        raise RuntimeError(message)


def test_what_no_halving_helps_is_a_memory_error() -> None:
    spec = srvgg_spec()
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.limit_px = 100
    with pytest.raises(DeviceMemoryError):
        Upscaler(spec, backend).restore(
            random_picture(90, 90), plan_of(spec, 90, 90, tile_px=32), Settings(precision="fp32", batch=4)
        )


def test_bounded_windows_are_not_halved() -> None:
    """Their bytes depend on the window; they fail instead."""
    spec = rrdb_spec(4)
    plan = plan_of(spec, 90, 90, tile_px=32, exact_px=1, max_exact_halo_px=1, bounded_halo_px=8)
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.limit_px = 40 * 40
    with pytest.raises(DeviceMemoryError):
        Upscaler(spec, backend).restore(random_picture(90, 90), plan, Settings(precision="fp32"))


def test_other_errors_are_not_taken_for_memory() -> None:
    spec = srvgg_spec()
    backend = SmallMemory(spec, seeded_state(spec), "cpu")
    backend.error = type("OtherError", (RuntimeError,), {"__str__": lambda self: "mat1 and mat2 do not fit"})
    with pytest.raises(RuntimeError, match="do not fit"):
        Upscaler(spec, backend).restore(random_picture(20, 20), plan_of(spec, 20, 20), Settings(precision="fp32"))


def test_windows_that_were_cut_otherwise_are_refused() -> None:
    spec = srvgg_spec()
    plan = plan_of(spec, 40, 40)
    with pytest.raises(ValueError, match="is not what"):
        seeded_upscaler(spec).restore_windows(
            [random_picture(39, 40)], [plan.tiles[0]], [plan], Settings(precision="fp32")
        )


def test_body_emits_every_tile_once_and_in_order() -> None:
    spec = rrdb_spec(4)
    plan = plan_of(spec, 50, 64, tile_px=16)
    seen: list[Tile] = []
    seeded_upscaler(spec).restore_body(
        random_picture(50, 64), plan, Settings(precision=HALF), lambda tile, _: seen.append(tile)
    )
    assert tuple(seen) == plan.tiles


def test_a_loaded_model_answers_like_its_weights(tmp_path: Path) -> None:
    spec, path = srvgg_spec(), tmp_path / "net.pth"
    torch.save({"params": seeded_state(spec)}, path)
    upscaler = Upscaler.load(spec, path)
    assert (upscaler.spec, upscaler.device) == (spec, "cpu")
    rgb, plan = random_picture(30, 20), plan_of(spec, 30, 20)
    for precision in PRECISIONS:
        wanted = Settings(precision=precision)
        assert same(upscaler.restore(rgb, plan, wanted), seeded_upscaler(spec).restore(rgb, plan, wanted))
    upscaler.close()
