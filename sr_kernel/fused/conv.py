"""A 3x3 convolution with what follows it, in one kernel for NVIDIA GPUs of capability 9: written in Gluon, Triton's
lower language.

Activations are planes of half-precision pixels with a border of zeros, flat: pixel (y, x) of image n lies at
`(n * (height + 1) + y + 1) * pitch + x + 1` with `pitch = width + 1`. One zero column serves as the right border of a
row and the left border of the next, one zero row likewise, so that a tap is an offset and no load needs a mask.

A program owns BM pixels of a row and walks down `rows` rows. Every input row is brought to shared memory once a
column tap (TMA, a ring of stages) and enters three accumulators, for the output rows above, at and below it: three loads
a pixel where an implicit GEMM by taps needs nine, which the path from L2 to shared memory could not feed. All weights stay
in shared memory. The finished row is activated, or added to its residual, and stored while the next row is multiplied.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false
# ruff: noqa: N803 - constants of a kernel are written in capitals

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)


@gluon.jit
def _load_group(
    src, ext, left, middle, right, full, slot, flat, go, first, GROUP: gl.constexpr, SRC_CHUNKS: gl.constexpr,
    KC: gl.constexpr, BM: gl.constexpr,
):  # fmt: skip
    """Chunks `first`, `first + 1`, ... of one input row, each for three column taps, into a stage of the rings."""
    bar = full.index(slot)
    mbarrier.expect(bar, GROUP * 3 * BM * KC * 2, pred=go)
    for at in gl.static_range(GROUP):
        place = slot * GROUP + at
        channel = (first + at) * KC
        if first + at < SRC_CHUNKS:
            tma.async_copy_global_to_shared(src, [flat - 1, channel], bar, left.index(place), pred=go)
            tma.async_copy_global_to_shared(src, [flat, channel], bar, middle.index(place), pred=go)
            tma.async_copy_global_to_shared(src, [flat + 1, channel], bar, right.index(place), pred=go)
        else:
            channel -= SRC_CHUNKS * KC
            tma.async_copy_global_to_shared(ext, [flat - 1, channel], bar, left.index(place), pred=go)
            tma.async_copy_global_to_shared(ext, [flat, channel], bar, middle.index(place), pred=go)
            tma.async_copy_global_to_shared(ext, [flat + 1, channel], bar, right.index(place), pred=go)


@gluon.jit
def _finish_row(
    acc, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset, flat, x0, width, valid,
    alpha, N: gl.constexpr, BM: gl.constexpr, MODE: gl.constexpr, NUM_WARPS: gl.constexpr,
):  # fmt: skip
    """Bias, activation or residuals, and the store of one output row."""
    columns = gl.arange(0, N, layout=gl.SliceLayout(0, acc.type.layout))
    made = acc + gl.load(bias_ptr + columns)[None, :]
    if MODE == 0:
        slope = gl.load(slope_ptr + columns)[None, :]
        made = gl.where(made >= 0, made, made * slope)
    dtype: gl.constexpr = out_ptr.dtype.element_ty
    store: gl.constexpr = gl.BlockedLayout([1, 8], [256 // N, N // 8], [NUM_WARPS, 1], [1, 0])
    half = gl.convert_layout(made.to(dtype), store)
    lanes = gl.arange(0, BM, layout=gl.SliceLayout(1, store))
    channels = gl.arange(0, N, layout=gl.SliceLayout(0, store))
    there = ((x0 + lanes) < width)[:, None] & valid
    pixels = (flat + lanes).to(gl.int64)[:, None]
    if MODE >= 1:
        first = gl.load(res_ptr + pixels * out_stride + out_offset + channels[None, :], mask=there, other=0.0)
        summed = first.to(gl.float32) + alpha * half.to(gl.float32)
        if MODE == 2:
            second = gl.load(res2_ptr + pixels * out_stride + out_offset + channels[None, :], mask=there, other=0.0)
            summed = second.to(gl.float32) + alpha * summed
        half = summed.to(dtype)
    gl.store(out_ptr + pixels * out_stride + out_offset + channels[None, :], half, mask=there)


@gluon.jit
def conv_rows(
    src, ext, weights, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
    alpha, height, width, rows, strips, blocks, tiles_total,
    SRC_CHUNKS: gl.constexpr, EXT_CHUNKS: gl.constexpr, GROUP: gl.constexpr, KC: gl.constexpr, N: gl.constexpr,
    BM: gl.constexpr, STAGES: gl.constexpr, MODE: gl.constexpr, OVERLAP: gl.constexpr,
    NUM_WARPS: gl.constexpr,
):  # fmt: skip
    """Tiles `program, program + programs, ...` of all images; see the module's text.

    `src` and `ext` describe flat activations [pixels, channels] in blocks [BM, KC]; of `src` the first SRC_CHUNKS * KC channels are read, of `ext` the first EXT_CHUNKS * KC.
    `weights` [9 * chunks * KC, N], tap by tap within each chunk. Chunks are multiplied in groups of GROUP, each a step. MODE 0
    stores act(conv), 1 stores res + alpha * conv, 2 stores res2 + alpha * (res + alpha * conv); residuals lie as the
    output does, with `out_stride` channels a pixel, from channel `out_offset` on. OVERLAP, for rows of one step, stores
    a row while the next is multiplied. More steps in straight-line code make ptxas wait for every single product, so
    they are a loop, and rows are stored between.
    """
    CHUNKS: gl.constexpr = SRC_CHUNKS + EXT_CHUNKS
    GROUPS: gl.constexpr = CHUNKS // GROUP
    acc_layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [NUM_WARPS, 1], [16, N, 16])
    dtype: gl.constexpr = src.dtype
    kernel = gl.allocate_shared_memory(dtype, [9 * CHUNKS, KC, N], weights.layout)
    # Three allocations: copies into one would each be fenced off from the one before.
    left = gl.allocate_shared_memory(dtype, [GROUP * STAGES, BM, KC], src.layout)
    middle = gl.allocate_shared_memory(dtype, [GROUP * STAGES, BM, KC], src.layout)
    right = gl.allocate_shared_memory(dtype, [GROUP * STAGES, BM, KC], src.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
    mbarrier.init(loaded, count=1)
    fence_async_shared()
    mbarrier.expect(loaded, 9 * CHUNKS * KC * N * 2)
    for tap in gl.static_range(9 * CHUNKS):
        tma.async_copy_global_to_shared(weights, [tap * KC, 0], loaded, kernel.index(tap))
    mbarrier.wait(loaded, 0)

    pitch = width + 1
    slot = 0
    phase = 0
    for tile in range(gl.program_id(0), tiles_total, gl.num_programs(0)):
        x0 = (tile % blocks) * BM
        line = tile // blocks
        y0 = (line % strips) * rows
        base = ((line // strips) * (height + 1) + y0 + 1) * pitch + x0 + 1
        most = gl.minimum(rows, height - y0)
        steps = (most + 2) * GROUPS
        for step in gl.static_range(STAGES):
            _load_group(
                src, ext, left, middle, right, full, (slot + step) % STAGES, base + (step // GROUPS - 1) * pitch,
                step < steps, (step % GROUPS) * GROUP, GROUP, SRC_CHUNKS, KC, BM,
            )  # fmt: skip
        above = gl.zeros([BM, N], gl.float32, acc_layout)
        here = gl.zeros([BM, N], gl.float32, acc_layout)
        below = gl.zeros([BM, N], gl.float32, acc_layout)
        for row in range(most + 2):
            done = above
            above = here
            here = below
            below = gl.zeros([BM, N], gl.float32, acc_layout)
            for group in range(GROUPS):
                mbarrier.wait(full.index(slot), phase)
                for at in gl.static_range(GROUP):
                    for kx in gl.static_range(3):
                        if kx == 0:
                            a = left.index(slot * GROUP + at)
                        elif kx == 1:
                            a = middle.index(slot * GROUP + at)
                        else:
                            a = right.index(slot * GROUP + at)
                        w = (group * GROUP + at) * 9 + kx
                        above = warpgroup_mma(a, kernel.index(w + 6), above, is_async=True)
                        here = warpgroup_mma(a, kernel.index(w + 3), here, is_async=True)
                        below = warpgroup_mma(a, kernel.index(w), below, is_async=True)
                if OVERLAP:  # while the tensor cores work on this row
                    _finish_row(
                        done, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
                        base + (row - 3) * pitch, x0, width, row >= 3, alpha, N, BM, MODE, NUM_WARPS,
                    )  # fmt: skip
                above, here, below = warpgroup_mma_wait(0, deps=[above, here, below])
                ahead = row * GROUPS + group + STAGES
                _load_group(
                    src, ext, left, middle, right, full, slot, base + (ahead // GROUPS - 1) * pitch,
                    ahead < steps, (ahead % GROUPS) * GROUP, GROUP, SRC_CHUNKS, KC, BM,
                )  # fmt: skip
                slot += 1
                if slot == STAGES:
                    slot = 0
                    phase ^= 1
            if not OVERLAP:
                _finish_row(
                    above, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
                    base + (row - 2) * pitch, x0, width, row >= 2, alpha, N, BM, MODE, NUM_WARPS,
                )  # fmt: skip
        if OVERLAP:
            _finish_row(
                above, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
                base + (most - 1) * pitch, x0, width, most > 0, alpha, N, BM, MODE, NUM_WARPS,
            )  # fmt: skip
