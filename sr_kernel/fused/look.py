"""What follows a network, in one pass over its output: samples of 8 bits, means over source pixels, sums of blocks.

The same numbers as `sr_kernel.forward` and `sr_kernel.believable.sums` make of an output step by step: every rounding
is done once and in the same order, and all that is added up is whole numbers. One program has one block; where a window
ends inside a block its pixels count, the block does not.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportArgumentType=false, reportUnknownMemberType=false
# pyright: reportCallIssue=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# pyright: reportUntypedFunctionDecorator=false, reportIndexIssue=false, reportOptionalSubscript=false
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false
# ruff: noqa: N803 - constants of a kernel are written in capitals

from __future__ import annotations

import logging
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from sr_kernel.believable.sums import BlockSums, Form

_LOG = logging.getLogger("sr_kernel")
_ROWS = 4
"""source rows at a time; a multiple of every lattice"""


@triton.jit
def _nearest(levels):
    """0 <= levels < 2**22 rounded to even, as torch rounds: what is added leaves no bit for a fraction."""
    return (levels + 12582912.0) - 12582912.0


@triton.jit(
    do_not_specialize=[
        "made_image", "made_row", "x_image", "x_colour", "x_row", "x_column", "means_image", "means_row", "across",
    ],
    do_not_specialize_on_alignment=["made", "x", "table", "samples", "means", "totals", "fine", "waves", "phases"],
)  # fmt: skip
def _look(
    made, x, table, samples, means, totals, fine, waves, phases, made_image, made_row, x_image, x_colour, x_row,
    x_column, means_image, means_row, across,
    SIDE: tl.constexpr, WIDE: tl.constexpr, SCALE: tl.constexpr, PERIOD: tl.constexpr, ROWS: tl.constexpr,
    HIGH: tl.constexpr,
):  # fmt: skip
    """Block `program_id(0)` of window `program_id(1)`; see `looked` for what the pointers point to."""
    block, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    left, top = tl.load(table + image * 5), tl.load(table + image * 5 + 1)
    width, height = tl.load(table + image * 5 + 2), tl.load(table + image * 5 + 3)
    first = tl.load(table + image * 5 + 4)
    x0, y0 = (block % across) * SIDE, (block // across) * SIDE
    whole = ((x0 + SIDE <= width) & (y0 + SIDE <= height)).to(tl.int32)
    slot = image * tl.num_programs(0) + block
    stride = tl.num_programs(1).to(tl.int64) * tl.num_programs(0) * (2 * SIDE * 3)
    xs, ox = x0 + tl.arange(0, SIDE), tl.arange(0, WIDE)
    across_there = (xs < width)[None, :]
    wide_there = (x0 * SCALE + ox < width * SCALE)[None, :]
    cells = tl.zeros([PERIOD, PERIOD], tl.int32)
    wrong = tl.zeros([SIDE], tl.int32)
    for c in range(3):
        fine_x = tl.zeros([WIDE], tl.int32)
        wave_diff, wave_was = tl.zeros([SIDE], tl.int32), tl.zeros([SIDE], tl.int32)
        away, squares = tl.zeros([SIDE], tl.int32), tl.zeros([SIDE], tl.int32)
        for r in range(0, SIDE, ROWS):
            rows = r + tl.arange(0, ROWS)
            ys = y0 + rows
            there = (ys < height)[:, None] & across_there
            from_x = (left + xs)[None, :] * (SCALE * 3) + c
            corner = made + image * made_image + (top + ys)[:, None] * (SCALE * made_row) + from_x
            total = tl.zeros([ROWS, SIDE], tl.float32)
            for dx in tl.static_range(SCALE):
                column = tl.zeros([ROWS, SIDE], tl.float32)
                for dy in tl.static_range(SCALE):
                    one = tl.load(corner + dy * made_row + dx * 3, mask=there, other=0.0)
                    # What is not finite is not its own difference from itself; a clamp would hide it.
                    wrong += tl.sum((one - one != 0.0).to(tl.int32), 0)
                    column += tl.minimum(tl.maximum(one, 0.0), 1.0)
                total += column
            mean = total * (255.0 / (SCALE * SCALE))
            tl.store(means + image * means_image + ys[:, None] * means_row + xs[None, :] * 3 + c, mean, mask=there)
            at = x + image * x_image + c * x_colour + (top + ys)[:, None] * x_row + (left + xs)[None, :] * x_column
            was = _nearest(tl.load(at, mask=there, other=0.0) * 255.0).to(tl.int32)
            diff = _nearest(mean).to(tl.int32) - was
            wave_diff += tl.sum(diff, 0)
            wave_was += tl.sum(was, 0)
            away += tl.sum(tl.abs(diff), 0)
            squares += tl.sum(diff * diff, 0)
            along_y = waves + slot * (2 * SIDE * 3) + SIDE * 3 + rows * 3 + c
            tl.store(along_y, tl.sum(diff, 1) * whole)
            tl.store(along_y + stride, tl.sum(was, 1) * whole)
            oy = (y0 + r) * SCALE + tl.arange(0, HIGH)
            shown = (oy < height * SCALE)[:, None] & wide_there
            place = (top * SCALE + oy)[:, None] * made_row + ((left + x0) * SCALE + ox)[None, :] * 3 + c
            level = tl.load(made + image * made_image + place, mask=shown, other=0.0)
            level = _nearest(tl.minimum(tl.maximum(level, 0.0), 1.0) * 255.0).to(tl.int32)
            spot = first + (oy[:, None] * (width * SCALE) + x0 * SCALE + ox[None, :]) * 3 + c
            tl.store(samples + spot, level.to(tl.uint8), mask=shown)
            fine_x += tl.sum(level, 0)
            fine_y = fine + slot * (2 * WIDE * 3) + WIDE * 3 + (r * SCALE + tl.arange(0, HIGH)) * 3 + c
            tl.store(fine_y, tl.sum(level, 1) * whole)
            cut = tl.reshape(level, [HIGH // PERIOD, PERIOD, WIDE // PERIOD, PERIOD])
            cells += tl.sum(tl.sum(cut, 2), 0)
        tl.store(fine + slot * (2 * WIDE * 3) + ox * 3 + c, fine_x * whole)
        along_x = waves + slot * (2 * SIDE * 3) + tl.arange(0, SIDE) * 3 + c
        tl.store(along_x, wave_diff * whole)
        tl.store(along_x + stride, wave_was * whole)
        tl.store(totals + slot * 14 + c, tl.sum(wave_was, 0))
        tl.store(totals + slot * 14 + 3 + c, tl.sum(wave_was, 0) + tl.sum(wave_diff, 0))
        tl.store(totals + slot * 14 + 6 + c, tl.sum(away, 0))
        tl.store(totals + slot * 14 + 9 + c, tl.sum(squares, 0))
    tl.store(totals + slot * 14 + 12, tl.sum(wrong, 0))
    tl.store(totals + slot * 14 + 13, whole)
    lattice = tl.arange(0, PERIOD)[:, None] * PERIOD + tl.arange(0, PERIOD)[None, :]
    tl.store(phases + slot * (PERIOD * PERIOD) + lattice, cells * whole)


@triton.jit
def _one(out):
    tl.store(out, 1)


def can_compile(device: torch.device) -> bool:
    """Whether a kernel of one line can be made and run; if not, which is told, torch does the same in steps."""
    try:
        with torch.cuda.device(device):
            out = torch.zeros(1, dtype=torch.int32, device=device)
            _one[(1,)](out)
            return bool(out.item() == 1)
    except Exception as error:  # whatever a compiler, a linker or a cache folder has to say
        _LOG.warning("Triton makes no kernels here (%s): what follows a network runs step by step, slower", error)
        return False


def looked(made: Tensor, x: Tensor, table: Tensor, scale: int, align_px: int) -> tuple[Tensor, Tensor, BlockSums]:
    """Samples, means and block sums of windows.

    `made`: a network's output (N, H * scale, W * scale, 3), fp32; `x`: its source (N, 3, H, W), fp32, 0..1; `table`: as
    `sr_kernel.fused.table.table_of` says, on the device. Returns uint8 (N * H * W * scale**2 * 3,), filled window after
    window with the rows of what is kept; fp32 (N, H, W, 3), each filled from its corner with as many rows and columns
    as are kept; the sums.
    """
    form = Form.of(scale, align_px)
    count, _, height, width = x.shape
    across, down = -(-width // form.side), -(-height // form.side)
    blocks, like = count * across * down, {"dtype": torch.int32, "device": made.device}
    samples = torch.empty(made.numel(), dtype=torch.uint8, device=made.device)
    means = torch.empty((count, height, width, 3), dtype=torch.float32, device=made.device)
    sums = BlockSums(
        form=form,
        windows=count,
        totals=torch.empty((blocks, 14), **like),
        fine=torch.empty((blocks, 2, form.wide, 3), **like),
        waves=torch.empty((2, blocks, 2, form.side, 3), **like),
        phases=torch.empty((blocks, form.period, form.period), **like),
    )
    with torch.cuda.device(made.device) if made.is_cuda else nullcontext():
        _look[(across * down, count)](
            made, x, table, samples, means, sums.totals, sums.fine, sums.waves, sums.phases, made.stride(0),
            made.stride(1), *x.stride(), means.stride(0), means.stride(1), across, SIDE=form.side, WIDE=form.wide,
            SCALE=scale, PERIOD=form.period, ROWS=_ROWS, HIGH=_ROWS * scale, enable_fp_fusion=False,
        )  # fmt: skip
    return samples, means, sums
