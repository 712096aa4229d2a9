from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from farm.tasks.lane import Job, Lane, LaneStopped, ModelRef
from sr_kernel.tiles import PicturePlan, PictureSpec, Strategy, Tile, plan_picture
from sr_kernel.upscale import Settings, Upscaler, WindowResult
from sr_kernel.weights import describe_file

from .. import networks
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
    jobs = [job_of(rgb, out) for rgb, out in zip(sources, outs, strict=True)]
    for job in jobs:
        lane.submit(job)
    for rgb, out, job in zip(sources, outs, jobs, strict=True):
        restored = job.wait()
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
    job = Job(model=REF, rgb=rgb, y0=0, plan=plan, tiles=plan.tiles, settings=FP32, emit=lambda *_: None)
    restored = lane.submit(job)
    restored.add_done_callback(lambda _: order.append("picture"))
    held.set()
    restored.result(10)
    for call in calls:
        call.result(10)
    assert order.index("picture") <= 1


class Beside:
    """An upscaler as that of a GPU: what it has begun it goes on with, and may fail at, while more is begun."""

    works_beside = True

    def __init__(self, real: Upscaler, failing: int = -1) -> None:
        self.real = real
        self.told: list[str] = []
        self._failing = failing
        """the start whose results do not come"""

    def start_windows(self, *given: Any) -> Beside.Started:
        return self._started(lambda: self.real.restore_windows(*given))

    def start_body(self, *given: Any) -> Beside.Started:
        return self._started(self.real.start_body(*given).results)

    def _started(self, results: Callable[[], list[WindowResult]]) -> Beside.Started:
        number = sum(one.startswith("begun") for one in self.told)
        self.told.append(f"begun {number}")
        return Beside.Started(self, number, results)

    @dataclass
    class Started:
        owner: Beside
        number: int
        real: Callable[[], list[WindowResult]]
        smaller: bool = False

        def results(self) -> list[WindowResult]:
            self.owner.told.append(f"asked {self.number}")
            if self.number == self.owner._failing:
                raise MemoryError("the device found no room")
            return self.real()


def through(device: Beside, sources: list[NDArray[np.uint8]], job_for: Callable[..., Job] = job_of):  # type: ignore[no-untyped-def]
    """Outputs of pictures that were all there before the first was begun; None for what failed."""
    lane, held = Lane(lambda _: cast("Upscaler", device)), threading.Event()
    lane.call(held.wait)
    outs = [np.zeros((4 * rgb.shape[0], 4 * rgb.shape[1], 3), np.uint8) for rgb in sources]
    jobs = [job_for(rgb, out) for rgb, out in zip(sources, outs, strict=True)]
    for job in jobs:
        lane.submit(job)
    held.set()
    made: list[NDArray[np.uint8] | None] = []
    for job, out in zip(jobs, outs, strict=True):
        try:
            restored = job.wait()
            assert restored.infer_s > 0
            made.append(out)
        except MemoryError:
            made.append(None)
    lane.stop()
    assert lane.join(10)
    return made


def test_a_device_gets_its_next_work_before_it_is_asked_for_the_last(upscaler: Upscaler) -> None:
    device, sources = Beside(upscaler), [picture(seed) for seed in range(4)]
    made = through(device, sources)
    for rgb, out in zip(sources, made, strict=True):
        assert (out == upscaler.restore(rgb, plan_of(rgb), FP32).pixels).all()
    count = sum(one.startswith("begun") for one in device.told)
    expected = [
        "begun 0",
        *(f"{word} {number + (word == 'begun')}" for number in range(count) for word in ("begun", "asked")),
    ]
    assert count > 3
    assert device.told == [one for one in expected if one != f"begun {count}"]


@pytest.mark.parametrize("failing", range(6))
def test_what_a_device_fails_at_takes_one_picture_and_all_others_are_whole(upscaler: Upscaler, failing: int) -> None:
    device, sources = Beside(upscaler, failing), [picture(seed) for seed in range(4)]
    made = through(device, sources)
    assert sum(out is None for out in made) == 1
    for rgb, out in zip(sources, made, strict=True):
        assert out is None or (out == upscaler.restore(rgb, plan_of(rgb), FP32).pixels).all()


def test_bodies_that_run_whole_follow_each_other_too() -> None:
    spec = networks.rrdb_spec()
    upscaler = networks.seeded_upscaler(spec)
    device, sources = Beside(upscaler), [picture(seed, 40 + seed, 30) for seed in range(3)]

    def job_for(rgb: NDArray[np.uint8], out: NDArray[np.uint8]) -> Job:
        plan = networks.plan_of(spec, rgb.shape[1], rgb.shape[0], tile_px=16)
        assert plan.strategy is Strategy.BODY
        return replace(job_of(rgb, out), plan=plan, tiles=plan.tiles)

    made = through(device, sources, job_for)
    for rgb, out in zip(sources, made, strict=True):
        plan = networks.plan_of(spec, rgb.shape[1], rgb.shape[0], tile_px=16)
        assert (out == upscaler.restore(rgb, plan, FP32).pixels).all()
    assert device.told == ["begun 0", "begun 1", "asked 0", "begun 2", "asked 1", "asked 2"]


def test_a_device_that_gives_one_result_too_few_fails_the_picture_and_not_the_lane(upscaler: Upscaler) -> None:
    class Short(Beside):
        def start_windows(self, *given: Any) -> Beside.Started:
            return self._started(lambda: self.real.restore_windows(*given)[:-1])

    lane = Lane(lambda ref: cast("Upscaler", Short(upscaler) if ref.model == "short" else upscaler))
    out = np.zeros((200, 280, 3), np.uint8)
    failing = job_of(picture(0), out, ModelRef(model="short", sha256="", denoise=1.0))
    lane.submit(failing)
    with pytest.raises(ValueError, match="zip"):
        failing.wait()
    good = job_of(picture(1), out)
    lane.submit(good)
    assert good.wait().finite
    lane.stop()
    assert lane.join(10)
