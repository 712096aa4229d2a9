"""No step takes a picture off its device, or brings constants of another: tried on a device that holds no values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sr_kernel.degrade.jpeg import jpeg_by_arithmetic
from sr_kernel.degrade.ops import blur, quantise, resize_by, resize_to, sharpen
from sr_kernel.degrade.recipe import Usm

Step = Callable[[Tensor], Tensor]


def by(mode: str) -> Step:
    return lambda pictures: resize_by(pictures, 0.5, mode)


def to(mode: str) -> Step:
    return lambda pictures: resize_to(pictures, 20, 30, mode)


STEPS: dict[str, tuple[Step, tuple[int, int]]] = {
    "blur": (lambda pictures: blur(pictures, torch.ones(3, 21, 21, device=pictures.device)), (64, 80)),
    "usm": (lambda pictures: sharpen(pictures, Usm()), (64, 80)),
    "quantise": (quantise, (64, 80)),
    "jpeg": (lambda pictures: jpeg_by_arithmetic(pictures, [30, 60.5, 95]), (64, 80)),
    **{f"by-{mode}": (by(mode), (32, 40)) for mode in ("area", "bilinear", "bicubic", "nearest")},
    **{f"to-{mode}": (to(mode), (20, 30)) for mode in ("area", "bilinear", "bicubic", "nearest", "matlab")},
}


@pytest.mark.parametrize("name", STEPS)
def test_a_batch_stays_on_its_device(name: str) -> None:
    step, size = STEPS[name]
    made = step(torch.empty(3, 3, 64, 80, device="meta"))
    assert made.device.type == "meta"
    assert made.shape == (3, 3, *size)
