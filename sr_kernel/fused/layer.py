"""Convolutions with what follows them, packed for `conv.cu` and launched on planes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from sr_kernel.fused.plane import STEP, Extent, Plane
from sr_kernel.fused.program import CHUNK, GROUP_PX, Geometry, Program, start

_SEGMENT = 8
"""channels that the swizzle of shared memory moves together, of 16 bytes"""
_GROUPS = {8: 3, 32: 2, 64: 2}
"""groups of warps that multiply, by outputs: a third has no registers left beside the sums of 32"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What a convolution is added to: `base + alpha * (plane + alpha * conv)`, or without `base` the inner sum."""

    plane: Plane
    alpha: float
    base: Plane | None = None


class FusedConv:
    """A convolution of 64, 32 or 8 outputs over a plane of 64 channels, and maybe some of a second one."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        slope: Tensor | None,
        *,
        extra: int = 0,
        phase: tuple[int, int] | None = None,
    ) -> None:
        """weight (out, in, taps, taps) in half precision; bias (out,); slope (out,) below zero, None for no activation.

        `in` are up to 64 channels of the first plane, or those 64 and `extra` of the second. 3 taps lie around a pixel.
        2 give, in `phase` (row, column), pixels of an output of twice the size: they lie before or after the pixel.
        """
        self.out, into, self.taps = weight.shape[:3]
        self.bfloat = weight.dtype == torch.bfloat16
        self.phase = phase
        self.source_steps = -(-(into - extra) // STEP)
        self.extra_steps = extra // STEP
        self.weight = packed(weight, CHUNK * (1 + -(-extra // CHUNK)))
        self.bias = bias.float().contiguous()
        self.slope = torch.ones_like(self.bias) if slope is None else slope.float().contiguous()

    def __call__(
        self, x: Plane, out: Plane, *, extra: Plane | None = None, at: int = 0, residual: Residual | None = None
    ) -> None:
        """Fills channels `at ...` of `out`. What is read must not be what is written."""
        launch(self, x, out, x if extra is None else extra, at, residual)


class FusedDoubling:
    """A 3x3 convolution over a plane of which every pixel counts as 2 x 2 equal ones.

    Each of the four pixels of a cell sees 2 x 2 pixels of the small plane: taps on the same one are added up before.
    """

    def __init__(self, weight: Tensor, bias: Tensor, slope: Tensor | None) -> None:
        """As of FusedConv; weight (out, in, 3, 3)."""
        self._phases = [
            FusedConv(_phase(weight, row, column), bias, slope, phase=(row, column))
            for row in (0, 1)
            for column in (0, 1)
        ]

    def __call__(self, x: Plane, out: Plane) -> None:
        """Fills `out`, of twice the size."""
        for conv in self._phases:
            conv(x, out)


def _phase(weight: Tensor, row: int, column: int) -> Tensor:
    """2x2 taps of the pixels of a cell that lie at (row, column) in it, added up in fp32 and rounded once."""
    return _summed(_summed(weight.float(), 2, row), 3, column).to(weight.dtype)


def _summed(weight: Tensor, axis: int, phase: int) -> Tensor:
    """Three taps as two: in phase 0 the last two fall on the same pixel, in phase 1 the first two."""
    first, middle, last = weight.unbind(axis)
    return torch.stack([first, middle + last] if phase == 0 else [first + middle, last], axis)


def packed(weight: Tensor, channels: int) -> Tensor:
    """Weights as they lie in shared memory, [chunk, row, column, out, 64], channels filled up with zeros to `channels`.

    Segments of 8 channels of an output are swizzled as the tensor cores read them: number s is at s xor (out mod 8).
    """
    out, into, taps = weight.shape[:3]
    whole = torch.zeros(out, channels, taps, taps, dtype=weight.dtype, device=weight.device)
    whole[:, :into] = weight
    cut = whole.view(out, -1, CHUNK // _SEGMENT, _SEGMENT, taps, taps).permute(1, 4, 5, 0, 2, 3)
    rows, segments = torch.arange(out)[:, None], torch.arange(CHUNK // _SEGMENT)[None]
    return cut[:, :, :, rows, segments ^ (rows % 8)].reshape(-1, taps, taps, out, CHUNK).contiguous()


def launch(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
    """One program over all images. Raises ValueError for planes whose pixels 32 bits do not count."""
    if max(x.extent.pixels, out.extent.pixels) >= 1 << 31:
        raise ValueError(f"{out.extent} has more pixels than a fused kernel counts")
    program = program_of(conv, residual)
    processors = _multiprocessors(out.data.device)
    first = out if residual is None else residual.plane
    second = first if residual is None or residual.base is None else residual.base
    geometry = geometry_of(conv, x.extent, out, at, residual, processors * program.groups)
    blocks = min(processors, -(-geometry.lines // (geometry.share * program.groups)))
    pointers = (conv.weight, conv.bias, conv.slope, first.data, second.data, out.data)
    start(program, (x.data, extra.data), pointers, geometry, blocks)


def program_of(conv: FusedConv, residual: Residual | None) -> Program:
    return Program(
        outputs=conv.out,
        taps=conv.taps,
        source_steps=conv.source_steps,
        extra_steps=conv.extra_steps,
        mode=0 if residual is None else 1 if residual.base is None else 2,
        bfloat=conv.bfloat,
        groups=_GROUPS[conv.out],
    )


def geometry_of(
    conv: FusedConv, extent: Extent, out: Plane, at: int, residual: Residual | None, groups: int
) -> Geometry:
    """Where `groups` groups of warps find and put the pixels of images of an extent."""
    blocks = -(-extent.width // GROUP_PX)
    lines = extent.count * blocks * extent.height
    row, column = conv.phase or (0, 0)
    step, pitch = (1, extent.pitch) if conv.phase is None else (2, out.extent.pitch)
    return Geometry(
        height=extent.height,
        width=extent.width,
        blocks=blocks,
        lines=lines,
        share=-(-lines // groups),
        first_row=-1 if conv.phase is None else row - 1,
        first_column=-1 if conv.phase is None else column - 1,
        out_first=(1 + row) * pitch + 1 + column,
        out_image=(out.extent.height + 1) * pitch,
        out_row=step * pitch,
        out_step=step,
        out_channels=out.data.shape[1],
        out_at=at,
        alpha=1.0 if residual is None else residual.alpha,
    )


@lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    count: int = cast("Any", torch.cuda).get_device_properties(device).multi_processor_count
    return count
