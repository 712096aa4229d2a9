from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from farm.tasks.lane import Job, Lane, LaneStopped, ModelRef
from sr_kernel.tiles import PicturePlan, PictureSpec, Tile, plan_picture
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file

from ..seeded import save_srvgg

REF = ModelRef(model="tiny", sha256="", denoise=1.0)
FP32 = Settings(precision="fp32", batch=3)


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    path = save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)
    return Upscaler.load(describe_file(path), path)


@pytest.fixture
def lane(upscaler: Upscaler) -> Iterator[Lane]:
    lane = Lane(lambda ref: upscaler)
    yield lane
    lane.stop()
    assert lane.join(10)


def plan_of(rgb: NDArray[np.uint8]) -> PicturePlan:
    return plan_picture(
        PictureSpec(
            width=rgb.shape[1],
            height=rgb.shape[0],
            scale=4,
            outscale=4.0,
            halo_px=4,
            align_px=1,
            whole_body=False,
            tile_px=32,
            exact_px=1,
        )
    )


def job_of(rgb: NDArray[np.uint8], out: NDArray[np.uint8], model: ModelRef = REF) -> Job:
    def emit(tile: Tile, made: NDArray[Any]) -> None:
        out[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1] = made

    plan = plan_of(rgb)
    return Job(model=model, rgb=rgb, y0=0, plan=plan, tiles=plan.tiles, settings=FP32, emit=emit)


def picture(seed: int, width: int = 70, height: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pictures_that_share_batches_come_out_as_if_alone(lane: Lane, upscaler: Upscaler) -> None:
    sources = [picture(seed, 70, 50 + 7 * (seed % 2)) for seed in range(6)]
    outs = [np.zeros((4 * rgb.shape[0], 4 * rgb.shape[1], 3), np.uint8) for rgb in sources]
    futures = [lane.submit(job_of(rgb, out)) for rgb, out in zip(sources, outs, strict=True)]
    for rgb, out, future in zip(sources, outs, futures, strict=True):
        restored = future.result(60)
        alone = upscaler.restore(rgb, plan_of(rgb), FP32)
        assert (out == alone.pixels).all()
        assert restored.stats == alone.stats
        assert restored.finite
        assert restored.infer_s > 0


def test_a_picture_that_fails_takes_nobody_with_it(upscaler: Upscaler) -> None:
    def resident(ref: ModelRef) -> Upscaler:
        if ref.model == "broken":
            raise MemoryError("no room for this one")
        return upscaler

    lane = Lane(resident)
    sources = [picture(seed) for seed in range(3)]
    outs = [np.zeros((200, 280, 3), np.uint8) for _ in sources]
    models = [REF, ModelRef(model="broken", sha256="", denoise=1.0), REF]
    futures = [lane.submit(job_of(*both, model)) for *both, model in zip(sources, outs, models, strict=True)]
    assert futures[0].result(60).finite
    with pytest.raises(MemoryError, match="no room"):
        futures[1].result(60)
    assert futures[2].result(60).finite
    lane.stop()
    assert lane.join(10)


def test_a_stopped_lane_lets_everybody_go(upscaler: Upscaler) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def resident(ref: ModelRef) -> Upscaler:
        entered.set()
        go_on.wait(30)
        return upscaler

    lane = Lane(resident)
    outs = [np.zeros((200, 280, 3), np.uint8) for _ in range(3)]
    futures = [lane.submit(job_of(picture(seed), out)) for seed, out in enumerate(outs)]
    assert entered.wait(30)
    lane.stop()
    go_on.set()
    assert lane.join(30)
    for future in futures:
        with pytest.raises(LaneStopped):
            future.result(5)
    with pytest.raises(LaneStopped):
        lane.submit(job_of(picture(9), outs[0])).result(5)
    called = lane.call(lambda: 1)
    with pytest.raises(LaneStopped):
        called.result(5)


def test_a_call_runs_between_forward_passes(lane: Lane) -> None:
    assert lane.call(lambda: threading.current_thread().name).result(10) == "lane"


def test_calls_and_pictures_take_turns(lane: Lane) -> None:
    """Frames of a film come as calls, one after the other without end; a picture beside it must get on."""
    order: list[str] = []
    held = threading.Event()
    lane.call(held.wait)
    calls = [lane.call(lambda: order.append("call")) for _ in range(6)]
    rgb = np.zeros((8, 8, 3), np.uint8)
    plan = plan_of(rgb)
    job = Job(
        model=REF, rgb=rgb, y0=0, plan=plan, tiles=plan.tiles, settings=FP32, emit=lambda *_: order.append("picture")
    )
    restored = lane.submit(job)
    held.set()
    restored.result(10)
    for call in calls:
        call.result(10)
    assert order.index("picture") <= 1
