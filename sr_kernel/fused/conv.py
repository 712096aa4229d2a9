"""A 3x3 convolution with what follows it, in one kernel for NVIDIA GPUs of capability 9: written in Gluon, Triton's
lower language.

Activations are planes of half-precision pixels with a border of zeros, flat: pixel (y, x) of image n lies at
`(n * (height + 1) + y + 1) * pitch + x + 1` with `pitch = width + 1`. One zero column serves as the right border of a
row and the left border of the next, one zero row likewise, so that a tap is an offset and no load needs a mask.

A program owns BM pixels of a row and walks down `rows` rows. Every input row is brought to shared memory once a column
tap and enters three accumulators, for the output rows above, at and below it: three loads a pixel where an implicit
GEMM by taps needs nine, which the path from L2 to shared memory could not feed. All weights stay in shared memory.

Three roles share a program: one warp fills a ring of stages (TMA), two warpgroups multiply half of the pixels each.
They wait for each other only through the ring, so that one stores its rows while the tensor cores work for the other.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false
# pyright: reportAssignmentType=false
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals

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

ROLE_WARPS = 4
"""warps of each role; the one that copies uses a single thread of them"""
_sync = getattr(gl, "barrier", None) or gl.thread_barrier


@gluon.jit
def _tile_of(tile, blocks, strips, rows, height, width, BM: gl.constexpr):
    """First column, flat index of the first pixel, and number of rows of a tile."""
    x0 = (tile % blocks) * BM
    line = tile // blocks
    y0 = (line % strips) * rows
    flat = ((line // strips) * (height + 1) + y0 + 1) * (width + 1) + x0 + 1
    return x0, flat, gl.minimum(rows, height - y0)


@gluon.jit
def _copy(
    src, ext, weights, kernel, left, middle, right, full, empty, loaded, height, width, rows, strips, blocks,
    tiles_total, SRC_CHUNKS: gl.constexpr, EXT_CHUNKS: gl.constexpr, KC: gl.constexpr, N: gl.constexpr,
    BM: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Brings the weights, then every input row's chunks, each for three column taps, as stages become free."""
    CHUNKS: gl.constexpr = SRC_CHUNKS + EXT_CHUNKS
    mbarrier.expect(loaded, 9 * CHUNKS * KC * N * 2)
    for tap in range(9 * CHUNKS):
        tma.async_copy_global_to_shared(weights, [tap * KC, 0], loaded, kernel.index(tap))
    slot = 0
    phase = 1  # of a new barrier the phase before its first counts as over: every stage is free
    for tile in range(gl.program_id(0), tiles_total, gl.num_programs(0)):
        _, flat, most = _tile_of(tile, blocks, strips, rows, height, width, BM)
        for row in range(most + 2):
            pixel = flat + (row - 1) * (width + 1)
            for chunk in range(CHUNKS):
                mbarrier.wait(empty.index(slot), phase)
                bar = full.index(slot)
                mbarrier.expect(bar, 3 * BM * KC * 2)
                if chunk < SRC_CHUNKS:
                    tma.async_copy_global_to_shared(src, [pixel - 1, chunk * KC], bar, left.index(slot))
                    tma.async_copy_global_to_shared(src, [pixel, chunk * KC], bar, middle.index(slot))
                    tma.async_copy_global_to_shared(src, [pixel + 1, chunk * KC], bar, right.index(slot))
                else:
                    channel = (chunk - SRC_CHUNKS) * KC
                    tma.async_copy_global_to_shared(ext, [pixel - 1, channel], bar, left.index(slot))
                    tma.async_copy_global_to_shared(ext, [pixel, channel], bar, middle.index(slot))
                    tma.async_copy_global_to_shared(ext, [pixel + 1, channel], bar, right.index(slot))
                slot += 1
                if slot == STAGES:
                    slot = 0
                    phase ^= 1
    mbarrier.wait(empty.index(slot), phase)  # one stage more than is multiplied: who multiplies reads one ahead
    mbarrier.expect(full.index(slot), BM * KC * 2)
    tma.async_copy_global_to_shared(src, [0, 0], full.index(slot), left.index(slot))


@gluon.jit
def _taken(
    left, middle, right, full, empty, slot, phase, HALF: gl.constexpr, M: gl.constexpr, operand: gl.constexpr
):  # fmt: skip
    """The three column taps of a stage in registers, and the stage given back."""
    mbarrier.wait(full.index(slot), phase)
    a = left.index(slot).slice(HALF * M, M, dim=0).load(operand)
    b = middle.index(slot).slice(HALF * M, M, dim=0).load(operand)
    c = right.index(slot).slice(HALF * M, M, dim=0).load(operand)
    _sync()
    mbarrier.arrive(empty.index(slot), count=1)
    return a, b, c


@gluon.jit
def _multiply(
    kernel, left, middle, right, full, empty, loaded, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride,
    out_offset, alpha, height, width, rows, strips, blocks, tiles_total, chunks, N: gl.constexpr,
    BM: gl.constexpr, STAGES: gl.constexpr, MODE: gl.constexpr, HALF: gl.constexpr, ROLE_WARPS: gl.constexpr,
):  # fmt: skip
    """One warpgroup's half of the pixels of every tile.

    Pixels go through registers: each serves three products, and read from shared memory three times they, not the
    tensor cores, would set the pace. The next stage is read while this one is multiplied.

    `chunks` is no constant: where ptxas sees a loop of one turn it finds the accumulators moved between products, and
    waits for every single one.
    """
    M: gl.constexpr = BM // 2
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [ROLE_WARPS, 1], [16, N, 16])
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=layout, k_width=2)
    mbarrier.wait(loaded, 0)
    slot = 0
    phase = 0
    a, b, c = _taken(left, middle, right, full, empty, slot, phase, HALF, M, operand)
    for tile in range(gl.program_id(0), tiles_total, gl.num_programs(0)):
        x0, flat, most = _tile_of(tile, blocks, strips, rows, height, width, BM)
        above = gl.zeros([M, N], gl.float32, layout)
        here = gl.zeros([M, N], gl.float32, layout)
        below = gl.zeros([M, N], gl.float32, layout)
        for row in range(most + 2):
            above = here
            here = below
            below = gl.zeros([M, N], gl.float32, layout)
            for chunk in range(chunks):
                w = chunk * 9
                for kx in gl.static_range(3):
                    if kx == 0:
                        pixels = a
                    elif kx == 1:
                        pixels = b
                    else:
                        pixels = c
                    above = warpgroup_mma(pixels, kernel.index(w + 6 + kx), above, is_async=True)
                    here = warpgroup_mma(pixels, kernel.index(w + 3 + kx), here, is_async=True)
                    below = warpgroup_mma(pixels, kernel.index(w + kx), below, is_async=True)
                slot += 1
                if slot == STAGES:
                    slot = 0
                    phase ^= 1
                d, e, f = _taken(left, middle, right, full, empty, slot, phase, HALF, M, operand)
                above, here, below, a, b, c = warpgroup_mma_wait(0, deps=[above, here, below, a, b, c])
                a = d
                b = e
                c = f
            if row >= 2:
                _store_row(
                    above, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
                    flat + (row - 2) * (width + 1) + HALF * M, x0 + HALF * M, width, alpha, N, M, MODE, ROLE_WARPS,
                )  # fmt: skip


@gluon.jit
def _store_row(
    acc, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset, flat, x0, width, alpha,
    N: gl.constexpr, M: gl.constexpr, MODE: gl.constexpr, ROLE_WARPS: gl.constexpr,
):  # fmt: skip
    """Bias, activation or residuals, and the store of a part of an output row."""
    columns = gl.arange(0, N, layout=gl.SliceLayout(0, acc.type.layout))
    made = acc + gl.load(bias_ptr + columns)[None, :]
    if MODE == 0:
        slope = gl.load(slope_ptr + columns)[None, :]
        made = gl.where(made >= 0, made, made * slope)
    dtype: gl.constexpr = out_ptr.dtype.element_ty
    store: gl.constexpr = gl.BlockedLayout([1, 8], [256 // N, N // 8], [ROLE_WARPS, 1], [1, 0])
    half = gl.convert_layout(made.to(dtype), store)
    lanes = gl.arange(0, M, layout=gl.SliceLayout(1, store))
    channels = gl.arange(0, N, layout=gl.SliceLayout(0, store))
    there = ((x0 + lanes) < width)[:, None]
    places = (flat + lanes).to(gl.int64)[:, None] * out_stride + out_offset + channels[None, :]
    if MODE >= 1:
        first = gl.load(res_ptr + places, mask=there, other=0.0)
        summed = first.to(gl.float32) + alpha * half.to(gl.float32)
        if MODE == 2:
            second = gl.load(res2_ptr + places, mask=there, other=0.0)
            summed = second.to(gl.float32) + alpha * summed
        half = summed.to(dtype)
    gl.store(out_ptr + places, half, mask=there)


@gluon.jit(do_not_specialize=["chunks", "height", "width", "rows", "strips", "blocks", "tiles_total"])
def conv_rows(
    src, ext, weights, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr, out_stride, out_offset,
    alpha, height, width, rows, strips, blocks, tiles_total, chunks,
    SRC_CHUNKS: gl.constexpr, EXT_CHUNKS: gl.constexpr, KC: gl.constexpr, N: gl.constexpr, BM: gl.constexpr,
    STAGES: gl.constexpr, MODE: gl.constexpr, ROLE_WARPS: gl.constexpr,
):  # fmt: skip
    """Tiles `program, program + programs, ...` of all images; see the module's text.

    `src` and `ext` describe flat activations [pixels, channels] in blocks [BM, KC]; of `src` the first SRC_CHUNKS * KC
    channels are read, of `ext` the first EXT_CHUNKS * KC. `weights` [9 * chunks * KC, N], tap by tap within each chunk.
    MODE 0 stores act(conv), 1 stores res + alpha * conv, 2 stores res2 + alpha * (res + alpha * conv); residuals lie as
    the output does, with `out_stride` channels a pixel, from channel `out_offset` on. `chunks` is
    SRC_CHUNKS + EXT_CHUNKS.
    """
    CHUNKS: gl.constexpr = SRC_CHUNKS + EXT_CHUNKS
    dtype: gl.constexpr = src.dtype
    kernel = gl.allocate_shared_memory(dtype, [9 * CHUNKS, KC, N], weights.layout)
    left = gl.allocate_shared_memory(dtype, [STAGES, BM, KC], src.layout)
    middle = gl.allocate_shared_memory(dtype, [STAGES, BM, KC], src.layout)
    right = gl.allocate_shared_memory(dtype, [STAGES, BM, KC], src.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    for stage in gl.static_range(STAGES):
        mbarrier.init(full.index(stage), count=1)
        mbarrier.init(empty.index(stage), count=2)
    mbarrier.init(loaded, count=1)
    fence_async_shared()
    gl.warp_specialize(
        [
            (
                _multiply,
                (
                    kernel, left, middle, right, full, empty, loaded, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr,
                    out_stride, out_offset, alpha, height, width, rows, strips, blocks, tiles_total, chunks, N, BM,
                    STAGES, MODE, 0, ROLE_WARPS,
                ),
            ),
            (
                _multiply,
                (
                    kernel, left, middle, right, full, empty, loaded, bias_ptr, slope_ptr, res_ptr, res2_ptr, out_ptr,
                    out_stride, out_offset, alpha, height, width, rows, strips, blocks, tiles_total, chunks, N, BM,
                    STAGES, MODE, 1, ROLE_WARPS,
                ),
            ),
            (
                _copy,
                (
                    src, ext, weights, kernel, left, middle, right, full, empty, loaded, height, width, rows, strips,
                    blocks, tiles_total, SRC_CHUNKS, EXT_CHUNKS, KC, N, BM, STAGES,
                ),
            ),
        ],
        [ROLE_WARPS, 1],
        [232, 40],
    )  # fmt: skip
