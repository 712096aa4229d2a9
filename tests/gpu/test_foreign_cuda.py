"""Networks written elsewhere on a GPU: the CPU's picture, and the same one each time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from sr_kernel.backend import Backend
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file, load_state
from tests.foreign_networks import SAMPLES, Sample
from tests.networks import plan_of, random_picture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one.id)
def test_every_architecture_gives_the_cpus_picture(tmp_path: Path, one: Sample) -> None:
    path = one.save(tmp_path)
    spec, state = describe_file(path), load_state(path, None)
    rgb = random_picture(150, 131)
    plan = plan_of(spec, 150, 131)
    expected = Upscaler(spec, Backend(spec, state, "cpu")).restore(rgb, plan, Settings(precision="fp32"))
    upscaler = Upscaler(spec, Backend(spec, state, "cuda:0"))
    precisions: list[tuple[Literal["fp32", "fp16", "bf16"], bool, float]] = [
        ("fp32", True, 0.2),
        ("fp16", spec.fp16, 1.0),
        ("bf16", spec.bf16, 4.0),
    ]
    for precision, supported, levels in precisions:
        if not supported:
            continue
        made = upscaler.restore(rgb, plan, Settings(precision=precision))
        again = upscaler.restore(rgb, plan, Settings(precision=precision))
        assert made.finite
        assert np.array_equal(made.pixels, again.pixels)
        assert np.abs(made.pixels.astype(int) - expected.pixels.astype(int)).mean() <= levels


def test_windows_of_convolutions_give_the_same_in_a_batch(tmp_path: Path) -> None:
    one = next(sample for sample in SAMPLES if sample.id == "SPAN")
    path = one.save(tmp_path)
    spec, state = describe_file(path), load_state(path, None)
    upscaler = Upscaler(spec, Backend(spec, state, "cuda:0"))
    rgb, plan = random_picture(150, 131), plan_of(spec, 150, 131, tile_px=32)
    whole = upscaler.restore(rgb, plan_of(spec, 150, 131), Settings(precision="fp16"))
    made = upscaler.restore(rgb, plan, Settings(precision="fp16", batch=4))
    assert np.abs(made.pixels.astype(int) - whole.pixels.astype(int)).max() <= 1
