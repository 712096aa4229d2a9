"""A device that runs out of memory (R14): smaller batches, then that picture fails; never other bytes, never another's.

With --trials N: N devices whose room is drawn, from less than one window to all that is asked of them, each under a
lane with pictures of drawn sizes that share batches, and of two networks. The allocator that refuses stands before the
network, as torch's does, and refuses with either of its two errors.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from farm.tasks.lane import Job, Lane, ModelRef
from sr_kernel.backend import DeviceMemoryError
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import PicturePlan, Tile
from sr_kernel.upscale import Settings, Upscaler

from ..networks import SmallMemory, plan_of, random_picture, rrdb_spec, seeded_state, seeded_upscaler, srvgg_spec
from .record import Note

SHORT = 4
PICTURES = 4
NOTHING_PX = 64
"""no part of a window that is worth its halo is as small"""
SPECS = {spec.name: spec for spec in (srvgg_spec(), rrdb_spec(2, blocks=0), rrdb_spec(4, blocks=1))}
HALF: Literal["bf16"] = "bf16"
ERRORS: tuple[type[RuntimeError], ...] = (torch.OutOfMemoryError, RuntimeError)


@dataclass(frozen=True)
class Asked:
    """One picture under a lane."""

    rgb: NDArray[Any]
    plan: PicturePlan
    out: NDArray[Any]

    def job(self, model: ModelRef, settings: Settings) -> Job:
        def emit(tile: Tile, made: NDArray[Any]) -> None:
            self.out[tile.out.y0 : tile.out.y1, tile.out.x0 : tile.out.x1] = made

        plan = self.plan
        return Job(model=model, rgb=self.rgb, y0=0, plan=plan, tiles=plan.tiles, settings=settings, emit=emit)

    def largest_px(self) -> int:
        """Of its windows."""
        return max(tile.read.area_px for tile in self.plan.tiles)


def draw(spec: ModelSpec, chance: random.Random) -> list[Asked]:
    asked: list[Asked] = []
    tile_px = chance.choice((32, 48, 64))
    for _ in range(PICTURES):
        width, height = chance.randint(24, 150), chance.randint(24, 150)
        rgb = random_picture(width, height, chance.randrange(1 << 20))
        shape = (spec.scale * height, spec.scale * width, 3)
        asked.append(Asked(rgb, plan_of(spec, width, height, tile_px=tile_px, exact_px=1), np.zeros(shape, np.uint8)))
    return asked


def test_little_memory_changes_no_byte_and_fails_nobody_but_who_does_not_fit(
    trials: int, chance: random.Random, note: Note
) -> None:
    met: Counter[str] = Counter()
    for at in range(trials or SHORT):
        spec = chance.choice(list(SPECS.values()))
        settings = Settings(precision=chance.choice(("fp32", HALF)), batch=chance.choice((1, 2, 4, 8)))
        asked = draw(spec, chance)
        windows = sorted(one.largest_px() for one in asked)
        device = SmallMemory(spec, seeded_state(spec), "cpu")
        some = chance.randint(NOTHING_PX + 1, windows[-1]), chance.choice(windows), chance.randint(1, 8) * windows[-1]
        device.limit_px = NOTHING_PX if at == 0 else chance.choice(some)
        device.error = chance.choice(ERRORS)
        told = f"device {at}: {spec.name}, {settings}, {device.limit_px} px, windows up to {windows}"
        met.update(check(Upscaler(spec, device), asked, settings, device, seeded_upscaler(spec), told))
        met["refused"] += device.refused
    assert met["whole"] > 0
    assert met["failed"] >= PICTURES
    note(devices=trials or SHORT, met=dict(met))


def check(
    small: Upscaler, asked: list[Asked], settings: Settings, device: SmallMemory, large: Upscaler, told: str
) -> Counter[str]:
    """Who fits comes out as on a device with room for all; who does not is told so."""
    lane, met = Lane(lambda ref: small), Counter[str]()
    ref = ModelRef(model="small", sha256="", denoise=1.0)
    try:
        jobs = [one.job(ref, settings) for one in asked]
        for job in jobs:
            lane.submit(job)
        for one, job in zip(asked, jobs, strict=True):
            try:
                job.wait()
            except DeviceMemoryError:
                assert device.limit_px < one.largest_px(), f"{told}: {one.rgb.shape} was refused"
                met["failed"] += 1
            else:
                assert device.limit_px > NOTHING_PX, f"{told}: {one.rgb.shape} went through"
                assert (one.out == large.restore(one.rgb, one.plan, settings).pixels).all(), told
                met["whole" if device.limit_px >= one.largest_px() else "in halves"] += 1
    finally:
        lane.stop()
        assert lane.join(60)
    return met
