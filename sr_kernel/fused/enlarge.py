"""Pixel-shuffle of a network's last plane onto the nearest-enlarged picture, in one pass."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportArgumentType=false, reportUnknownMemberType=false
# pyright: reportCallIssue=false
# pyright: reportUntypedFunctionDecorator=false, reportIndexIssue=false, reportOptionalSubscript=false
# ruff: noqa: N803 - constants of a kernel are written in capitals

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sr_kernel.fused.plane import Plane
from sr_kernel.tiles import Box

_BLOCK = 1024


@triton.jit
def _enlarge(
    plane, x, out, pitch, image_stride, x_image, x_colour, x_row, x_column, keep_y, keep_x, height, width,
    CHANNELS: tl.constexpr, SCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """BLOCK samples of one row of the output (N, height * SCALE, width * SCALE, 3)."""
    row, image = tl.program_id(1), tl.program_id(2)
    sample = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = sample < width * SCALE * 3
    column, within = sample // (SCALE * 3), sample % (SCALE * 3)
    source_y, source_x = keep_y + row // SCALE, keep_x + column
    pixel = image.to(tl.int64) * image_stride + (source_y + 1) * pitch + source_x + 1
    channel = (row % SCALE) * SCALE * 3 + within
    residual = tl.load(plane + pixel * CHANNELS + channel, mask=there, other=0.0).to(tl.float32)
    colour = sample % 3
    place = image.to(tl.int64) * x_image + colour * x_colour + source_y * x_row + source_x * x_column
    base = tl.load(x + place, mask=there, other=0.0)
    first = (image.to(tl.int64) * height * SCALE + row) * width * SCALE * 3
    tl.store(out + first + sample, residual + base, mask=there)


def enlarge(plane: Plane, x: Tensor, keep: Box, scale: int) -> Tensor:
    """The part `keep` of a picture: channels (dy, dx, colour) of `plane` spread over scale x scale, plus `x` repeated.

    x (N, 3, H, W) in fp32 of the plane's extent; returns (N, keep.height * scale, keep.width * scale, 3), fp32.
    """
    extent = plane.extent
    shape = (extent.count, keep.height * scale, keep.width * scale, 3)
    out = torch.empty(shape, dtype=torch.float32, device=x.device)
    grid = (triton.cdiv(shape[2] * 3, _BLOCK), shape[1], extent.count)
    _enlarge[grid](
        plane.data, x, out, extent.pitch, (extent.height + 1) * extent.pitch, *x.stride(), keep.y0, keep.x0,
        keep.height, keep.width, CHANNELS=plane.data.shape[1], SCALE=scale, BLOCK=_BLOCK,
    )  # fmt: skip
    return out
