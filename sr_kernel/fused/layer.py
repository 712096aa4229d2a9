"""Convolutions with what follows them, packed for `sr_kernel.fused.conv` and launched on planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from sr_kernel.fused.plane import Extent, Plane

BLOCK_PX = 128
"""pixels of a row that a program computes: two warpgroups of 64"""
INPUT_CHANNELS = 16
"""the least that a tensor core takes at once: pictures have 3, or 12 unshuffled ones"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a convolution is cut so that weights and stages fit 227 KB of shared memory."""

    source: int
    """chunks of the first input"""
    extra: int
    """chunks of the second"""
    chunk: int
    """channels"""
    stages: int
    """chunks, for three column taps each, that are on their way or being multiplied"""


# Channels of the first and of the second input, and channels out, to the cut.
SHAPES: Mapping[tuple[int, int, int], Shape] = {
    (16, 0, 64): Shape(source=1, extra=0, chunk=16, stages=6),
    (64, 0, 64): Shape(source=1, extra=0, chunk=64, stages=2),
    (64, 0, 32): Shape(source=1, extra=0, chunk=64, stages=3),
    (64, 32, 32): Shape(source=2, extra=1, chunk=32, stages=6),
    (64, 64, 32): Shape(source=1, extra=1, chunk=64, stages=3),
    (64, 96, 32): Shape(source=2, extra=3, chunk=32, stages=5),
    (64, 128, 32): Shape(source=1, extra=2, chunk=64, stages=2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What a convolution is added to: `base + alpha * (plane + alpha * conv)`, or without `base` the inner sum."""

    plane: Plane
    alpha: float
    base: Plane | None = None


class FusedConv:
    """A 3x3 convolution of 64 or 32 outputs over one plane, or two planes side by side."""

    def __init__(self, weight: Tensor, bias: Tensor, slope: Tensor | None, *, source: int, extra: int = 0) -> None:
        """weight (out, in, 3, 3) in half precision; bias (out,); slope (out,) below zero, None for no activation.

        `source` and `extra` are the channels of the planes, `in` together or more, when the rest counts as zero.
        """
        out, into = weight.shape[:2]
        self.out = out
        self.shape = SHAPES[source, extra, out]
        padded = torch.zeros(out, source + extra, 3, 3, dtype=weight.dtype, device=weight.device)
        padded[:, :into] = weight
        # (out, chunk, channel, ky, kx) -> (chunk, ky, kx, channel, out)
        cut = padded.view(out, -1, self.shape.chunk, 3, 3).permute(1, 3, 4, 2, 0)
        self.weight = cut.reshape(-1, out).contiguous()
        self.bias = bias.float().contiguous()
        self.slope = torch.ones_like(self.bias) if slope is None else slope.float().contiguous()

    def __call__(
        self, x: Plane, out: Plane, *, extra: Plane | None = None, at: int = 0, residual: Residual | None = None
    ) -> None:
        """Fills channels `at ...` of `out`. What is read must not be what is written."""
        launch(self, x, out, x if extra is None else extra, at, residual)


def launch(conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
    """One kernel over all images."""
    from sr_kernel.fused import conv as module  # Triton is there on GPU machines only

    kernels: Any = module  # what a compiler makes of a function has no type of ours

    shape, extent = conv.shape, x.extent
    programs = _multiprocessors(out.data.device)
    blocks = -(-extent.width // BLOCK_PX)
    rows = rows_of(extent, blocks, programs)
    strips = -(-extent.height // rows)
    tiles = extent.count * strips * blocks
    mode = 0 if residual is None else 1 if residual.base is None else 2
    first = out if residual is None else residual.plane
    second = first if residual is None or residual.base is None else residual.base
    kernels.conv_rows[(min(tiles, programs),)](
        _described(x.data, BLOCK_PX, shape.chunk),
        _described(extra.data, BLOCK_PX, shape.chunk),
        _described(conv.weight, shape.chunk, conv.out),
        conv.bias,
        conv.slope,
        first.data,
        second.data,
        out.data,
        out.data.shape[1],
        at,
        1.0 if residual is None else residual.alpha,
        extent.height,
        extent.width,
        rows,
        strips,
        blocks,
        tiles,
        shape.source + shape.extra,
        SRC_CHUNKS=shape.source,
        EXT_CHUNKS=shape.extra,
        KC=shape.chunk,
        N=conv.out,
        BM=BLOCK_PX,
        STAGES=shape.stages,
        MODE=mode,
        ROLE_WARPS=kernels.ROLE_WARPS,
        num_warps=kernels.ROLE_WARPS,
    )


@lru_cache(maxsize=4096)
def rows_of(extent: Extent, blocks: int, programs: int) -> int:
    """Rows of a strip that take least time: strips come in waves of one a multiprocessor, and compute two rows more."""

    def cost(rows: int) -> int:
        return -(-extent.count * blocks * -(-extent.height // rows) // programs) * (rows + 3)

    return min({-(-extent.height // strips) for strips in range(1, extent.height + 1)}, key=cost)


@lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    count: int = cast("Any", torch.cuda).get_device_properties(device).multi_processor_count
    return count


def _described(data: Tensor, rows: int, columns: int) -> Any:
    """A tensor for the copy engine, in blocks of rows x columns, swizzled as the tensor cores read it."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    block = [rows, columns]
    layouts, descriptors = cast("Any", gl.NVMMASharedLayout), cast("Any", TensorDescriptor)
    layout = layouts.get_default_for(block, gl.float16)  # of any type of two bytes
    made: Any = descriptors.from_tensor(data, block, layout)
    return made
