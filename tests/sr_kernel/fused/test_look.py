"""The kernel that rounds and counts, run by Triton's interpreter, against the same steps in torch: equal bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from sr_kernel.believable.sums import Look, look_at, sums_of, sums_of_blocks
from sr_kernel.fused.table import can_look, table_of
from sr_kernel.pixels import to_samples
from sr_kernel.steps import means_of
from sr_kernel.tiles import Box

from ...runs import REPOSITORY

HEIGHT, WIDTH = 76, 92


def compare(scale: int, align_px: int) -> None:
    """Two windows of striped noise beyond both ends of the range: one kept in part, one whole with an infinity."""
    from sr_kernel.fused.look import looked

    random = np.random.default_rng(scale * 10 + align_px)
    levels = torch.from_numpy(random.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8))
    x = levels.float().div_(255).permute(0, 3, 1, 2)
    nearest = levels.float().div(255).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    made = nearest + 0.3 * torch.from_numpy(random.standard_normal(nearest.shape)).float()
    made += 0.2 * torch.sin(torch.arange(WIDTH * scale) * 0.7)[None, None, :, None]
    keeps = [Box(x0=3, y0=2, x1=WIDTH - 1, y1=HEIGHT - 5), Box(x0=0, y0=0, x1=WIDTH, y1=HEIGHT)]
    made[1, -1, -1, 2] = float("inf")
    samples, means, sums = looked(made, x, torch.from_numpy(table_of(keeps, scale)), scale, align_px)
    looks: list[Look] = []
    first = 0
    for index, keep in enumerate(keeps):
        rows, columns = (slice(a * scale, b * scale) for a, b in ((keep.y0, keep.y1), (keep.x0, keep.x1)))
        kept = made[index, rows, columns].clamp(0, 1)
        expected = to_samples((kept * 255).permute(2, 0, 1)[None], np.dtype(np.uint8))[0]
        last = first + expected.numel()
        assert torch.equal(samples[first:last].view(expected.shape), expected)
        mean = means_of(kept, scale)
        assert torch.equal(means[index, : keep.height, : keep.width], mean)
        source = x[index, :, keep.y0 : keep.y1, keep.x0 : keep.x1].permute(1, 2, 0)
        finite = torch.isfinite(made[index, rows, columns].sum())
        looks.append(look_at(expected, mean, source, finite, scale, align_px))
        first = last
    expected = sums_of(looks)
    assert expected[:, 8].tolist() != [0, 0], "no block"
    assert expected[:, 3].tolist() == [1, 0]
    assert torch.equal(sums_of_blocks(sums), expected)


@pytest.mark.skipif(find_spec("triton") is None, reason="torch of this platform comes without Triton")
@pytest.mark.parametrize(("scale", "align_px"), [(4, 1), (2, 2)])
def test_the_kernel_gives_what_the_steps_give(scale: int, align_px: int) -> None:
    assert can_look(scale, align_px)
    command = f"from tests.sr_kernel.fused.test_look import compare; compare({scale}, {align_px})"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    made = subprocess.run(
        [sys.executable, "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_networks_of_other_scales_are_left_to_torch() -> None:
    assert [(scale, align) for scale in (1, 2, 3, 4, 8) for align in (1, 2, 4, 8) if can_look(scale, align)] == [
        (1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1),
    ]  # fmt: skip
