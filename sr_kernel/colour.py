"""Planes of a frame to RGB levels and back, on any device, to the same bytes on each.

All arithmetic is products, sums and roundings of float32, each an operation of its own, which IEEE 754 defines to the
last bit; what is summed in another way (chroma taps, with integer weights below 2^24) is exact. So neither strips nor
memory layout nor device decides a byte. Formulas are those of ITU-T H.273, 8.3.

Levels are uint8, 0..255, for layouts of 8 bits and uint16, 0..65535, for deeper ones; what is made from levels looks
at their type only, so depths of source and target differ freely.

On one core of an EPYC (Zen 4) a 640x480 4:2:0 frame takes 1.5 ms to RGB, a 2560x1920 picture 14 ms to 4:2:0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.layout import MATRICES, FrameLayout
from sr_kernel.pixels import Pixels, store

Planes = tuple[NDArray[np.uint8] | NDArray[np.uint16], ...]
"""Planes of one frame, HW each, as its FrameLayout says"""

_LUMA_RGB = (9798, 19235, 3735)
_LUMA_BITS = 15
"""those of `sr_kernel.pixels.luma`, which a test compares: the gray of a frame is the gray of its picture"""
_CACHED_PX = 1 << 18
"""pixels of a strip on a CPU, whose few float32 planes stay in a cache: of 2^15 to 2^19 the fastest"""
_LAUNCHED_PX = 1 << 22
"""pixels of a strip on any other device, where a strip costs the launch of some dozens of kernels"""


def level_dtype(layout: FrameLayout) -> torch.dtype:
    """What the levels of a layout are kept in, and its planes' samples as well."""
    return torch.uint8 if layout.depth == 8 else torch.uint16


def to_rgb(planes: Sequence[Tensor], layout: FrameLayout, out: Tensor | None = None) -> Tensor:
    """The colour planes of a frame as RGB levels (H, W, 3), uint8 or uint16 by the layout's depth, on their device.

    Writes into `out` where it is given. Subsampled chroma is interpolated linearly at its siting, borders repeated.
    """
    shape = (layout.height, layout.width, 3)
    made = torch.empty(shape, dtype=level_dtype(layout), device=planes[0].device) if out is None else out
    if layout.model == "gray":
        gray = _luma_levels(planes[0], layout)
        return made.copy_(gray.unsqueeze(2).expand(shape))
    if layout.model == "rgb":
        for channel, plane in enumerate(planes):
            made[:, :, channel].copy_(_rescaled(plane, _top(layout.depth), _level_top(made.dtype)))
        return made
    for y0, y1 in _strips(layout, made.device):
        for channel, levels in enumerate(_yuv_to_rgb(planes, layout, y0, y1, _level_top(made.dtype))):
            made[y0:y1, :, channel].copy_(levels)
    return made


def from_rgb(rgb: Tensor, layout: FrameLayout) -> tuple[Tensor, ...]:
    """RGB levels (H, W, 3), uint8 or uint16, as the colour planes of a layout of that size, on their device.

    Chroma is the mean of the pixels that it stands for: of all under it where it lies between them, else by a tent
    ([1 2 1] / 4 for 4:2:0) around the one that it lies on, the adjoint of linear interpolation. Borders are repeated.
    """
    if tuple(rgb.shape) != (layout.height, layout.width, 3):
        raise ValueError(f"a picture of {tuple(rgb.shape)} is not {layout}")
    made = tuple(
        torch.empty((height, width), dtype=level_dtype(layout), device=rgb.device)
        for width, height in layout.colour_sizes
    )
    if layout.model == "rgb":
        for channel, plane in enumerate(made):
            plane.copy_(_rescaled(rgb[:, :, channel], _level_top(rgb.dtype), _top(layout.depth)))
        return made
    for y0, y1 in _strips(layout, rgb.device):
        if layout.model == "gray":
            made[0][y0:y1].copy_(_gray_samples(rgb[y0:y1], layout))
        else:
            _rgb_to_yuv(rgb, layout, y0, y1, made)
    return made


def frame_to_rgb(planes: Planes, layout: FrameLayout) -> Pixels:
    """A frame in main memory as a picture HWC: gray stays one channel, alpha comes last; the bytes of `to_rgb`."""
    tensors = as_tensors(planes, layout.plane_sizes, layout)
    with torch.inference_mode():
        colour = tensors[: len(layout.colour_sizes)]
        gray = layout.model == "gray"
        rgb = _luma_levels(colour[0], layout).clone().unsqueeze(2) if gray else to_rgb(colour, layout)
        if layout.alpha:
            alpha = _rescaled(tensors[-1], _top(layout.depth), _level_top(rgb.dtype)).to(rgb.dtype)
            rgb = torch.cat([rgb, alpha.unsqueeze(2)], dim=2)
        return cast("Pixels", rgb.numpy())


def rgb_to_frame(pixels: Pixels, layout: FrameLayout) -> Planes:
    """A picture HWC with 1..4 channels, uint8 or uint16, as a frame in main memory; the bytes of `from_rgb`.

    Gray is repeated where the layout has colours and colours become gray where it has none. A missing alpha is opaque,
    one that the layout does not hold is left out.
    """
    channels = pixels.shape[2]
    with torch.inference_mode():
        levels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        rgb = levels[:, :, :3] if channels >= 3 else levels[:, :, :1].expand(-1, -1, 3)
        made = from_rgb(rgb, layout)
        if layout.alpha:
            top, depth_top = _level_top(levels.dtype), _top(layout.depth)
            alpha = torch.empty_like(made[0], memory_format=torch.contiguous_format)
            opaque = torch.full_like(alpha, depth_top, dtype=torch.float32)
            made = (*made, alpha.copy_(opaque if channels % 2 else _rescaled(levels[:, :, -1], top, depth_top)))
        return as_arrays(made)


def as_tensors(planes: Planes, sizes: Sequence[tuple[int, int]], layout: FrameLayout) -> list[Tensor]:
    """Arrays as tensors in main memory that share their samples where they can be shared.

    Raises ValueError for planes that are not of `sizes` (width, height) and of the layout's type.
    """
    dtype = np.dtype(np.uint8 if layout.depth == 8 else np.uint16)
    found = [(plane.shape[::-1], plane.dtype) for plane in planes]
    if found != [(size, dtype) for size in sizes]:
        raise ValueError(f"planes {found} are not of {layout}")
    # torch warns of arrays that cannot be written, and takes none that run backwards.
    return [torch.from_numpy(np.require(plane, requirements=["C", "W"])) for plane in planes]


def as_arrays(planes: Sequence[Tensor]) -> Planes:
    """Tensors of main memory as arrays of the same samples."""
    arrays: list[NDArray[np.uint8] | NDArray[np.uint16]] = [plane.numpy() for plane in planes]
    return tuple(arrays)


def _top(depth: int) -> int:
    return (1 << depth) - 1


def _level_top(dtype: torch.dtype) -> int:
    if dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"levels are uint8 or uint16, not {dtype}")
    return torch.iinfo(dtype).max


def _luma_range(layout: FrameLayout) -> tuple[int, int]:
    """Sample of black, and how many samples up white is."""
    return (0, _top(layout.depth)) if layout.full_range else (16 << layout.depth - 8, 219 << layout.depth - 8)


def _chroma_range(layout: FrameLayout) -> tuple[int, int]:
    """Sample of no colour, and how many samples the least and the largest are apart."""
    return 1 << layout.depth - 1, _top(layout.depth) if layout.full_range else 224 << layout.depth - 8


def _cosited(layout: FrameLayout) -> tuple[bool, bool]:
    """Whether a chroma sample lies on a luma sample, across and down, instead of amid those that it stands for."""
    return layout.siting != "center", layout.siting == "topleft"


def _strips(layout: FrameLayout, device: torch.device) -> Iterator[tuple[int, int]]:
    """Half-open ranges of rows that cover a frame; all but the last are whole rows of chroma."""
    step = 1 << layout.chroma_shift[1]
    pixels = _CACHED_PX if device.type == "cpu" else _LAUNCHED_PX
    rows = max(1, pixels // layout.width // step) * step
    for y0 in range(0, layout.height, rows):
        yield y0, min(y0 + rows, layout.height)


def _rescaled(samples: Tensor, top: int, new_top: int) -> Tensor:
    """Integers of 0..top as whole numbers of 0..new_top; themselves where these are equal."""
    if top == new_top:
        return samples
    return samples.to(torch.float32).mul_(new_top / top).round_()


def _luma_levels(plane: Tensor, layout: FrameLayout) -> Tensor:
    """The levels (H, W) of a gray frame."""
    black, span = _luma_range(layout)
    dtype = level_dtype(layout)
    if (black, span) == (0, _level_top(dtype)):
        return plane
    levels = plane.to(torch.float32).sub_(black).mul_(_level_top(dtype) / span)
    return levels.round_().clamp_(0, _level_top(dtype)).to(dtype)


def _gray_samples(rgb: Tensor, layout: FrameLayout) -> Tensor:
    """Samples (H, W) of a gray layout: `sr_kernel.pixels.luma`, in the layout's depth and range."""
    total = torch.full(rgb.shape[:2], 1 << (_LUMA_BITS - 1), dtype=torch.int32, device=rgb.device)
    for channel, weight in enumerate(_LUMA_RGB):
        total.add_(rgb[:, :, channel].to(torch.int32).mul_(weight))
    black, span = _luma_range(layout)
    levels, top = total.bitwise_right_shift_(_LUMA_BITS), _level_top(rgb.dtype)
    return levels if (black, span) == (0, top) else levels.to(torch.float32).mul_(span / top).add_(black).round_()


def _yuv_to_rgb(planes: Sequence[Tensor], layout: FrameLayout, y0: int, y1: int, top: int) -> Iterator[Tensor]:
    """Whole levels of R, G and B of some rows, float32 (y1 - y0, W) each."""
    kr, kb = MATRICES[layout.matrix]
    kg = 1 - kr - kb
    black, span = _luma_range(layout)
    luma = planes[0][y0:y1].to(torch.float32).sub_(black).mul_(top / span)
    neutral, chroma_span = _chroma_range(layout)
    weight = _spread_weight(layout)
    u, v = (_enlarged(plane, layout, y0, y1).sub_(neutral * weight) for plane in planes[1:])
    gain = top / (chroma_span * weight)
    red, blue = 2 * (1 - kr) * gain, 2 * (1 - kb) * gain
    green = u.mul(-blue * kb / kg).add_(v.mul(-red * kr / kg))
    for offset in (v.mul_(red), green, u.mul_(blue)):
        yield offset.add_(luma).round_().clamp_(0, top)


def _rgb_to_yuv(rgb: Tensor, layout: FrameLayout, y0: int, y1: int, made: Sequence[Tensor]) -> None:
    """Writes the samples of some rows, whole rows of chroma, into the planes."""
    kr, kb = MATRICES[layout.matrix]
    top, (black, span), (neutral, chroma_span) = _level_top(rgb.dtype), _luma_range(layout), _chroma_range(layout)
    padded, luma = _columns_apart(rgb, layout, y0, y1)
    gain, kg = span / top, 1 - kr - kb
    _store_apart(_dot(luma.unbind(1), (kr * gain, kg * gain, kb * gain), black, layout), made[0][y0:y1])
    down, co_down = 1 << layout.chroma_shift[1], _cosited(layout)[1]
    across, co_across = 1 << layout.chroma_shift[0], _cosited(layout)[0]
    sums = _merged(_collapse(padded, down, co_down), co_across).unbind()
    gain = chroma_span / (top * _collapsed_weight(across, co_across) * _collapsed_weight(down, co_down))
    rows = slice(y0 // down, -(-y1 // down))
    blue, red = gain / (2 * (1 - kb)), gain / (2 * (1 - kr))
    store(_dot(sums, (-kr * blue, -kg * blue, (1 - kb) * blue), neutral, layout), made[1][rows])
    store(_dot(sums, ((1 - kr) * red, -kg * red, -kb * red), neutral, layout), made[2][rows])


def _dot(
    rgb: Sequence[Tensor] | Tensor, weights: tuple[float, float, float], offset: int, layout: FrameLayout
) -> Tensor:
    """Samples of one plane, float32, from three planes. Products are no part of sums: no device may fuse the two."""
    total = rgb[0].mul(weights[0])
    for plane, weight in zip(rgb[1:], weights[1:], strict=True):
        total.add_(plane.mul(weight))
    levels = total.add_(offset).round_()
    # Only the strongest colours of a full range lie half a level beyond it.
    return levels.clamp_(0, _top(layout.depth)) if layout.full_range else levels


def _enlarged(plane: Tensor, layout: FrameLayout, y0: int, y1: int) -> Tensor:
    """Some rows of a chroma plane at luma's size, float32, times `_spread_weight`."""
    (across, down), (co_across, co_down) = layout.chroma_shift, _cosited(layout)
    height, width = plane.shape
    first, last = y0 >> down, -(-y1 >> down)
    above, below = max(first - 1, 0), min(last + 1, height)
    padded = torch.empty((last - first + 2, width + 2), dtype=torch.float32, device=plane.device)
    inside = (above - first + 1, below - first + 1), (1, width + 1)
    _part(padded, *inside).copy_(plane[above:below])
    _repeat_border(padded, *inside)
    wide = _spread(_spread(padded, -2, 1 << down, co_down), -1, 1 << across, co_across)
    return wide[: y1 - y0, : layout.width]


def _spread_weight(layout: FrameLayout) -> int:
    """What `_enlarged` multiplies by, at most 64, so that sums of 16-bit samples are exact."""
    across, down = layout.chroma_shift
    return (2 << across if across else 1) * (2 << down if down else 1)


def _spread(padded: Tensor, dim: int, step: int, cosited: bool) -> Tensor:
    """Linear interpolation of n samples to n * step, times 2 * step; where step is 1 the samples themselves.

    `padded` has the samples' neighbours at both ends. A sample lies on the first of its `step` places or amid them.
    """
    length = padded.shape[dim] - 2
    near = _every(padded, dim, 1, 1, length)
    if step == 1:
        return near
    made = padded.new_empty([side * step if axis == dim % 2 else side for axis, side in enumerate(near.shape)])
    for phase in range(step):
        ahead = 2 * phase if cosited else 2 * phase - (step - 1)
        place = _every(made, dim, phase, step, length)
        torch.mul(near, 2 * step - abs(ahead), out=place)
        if ahead:
            place.add_(_every(padded, dim, 2 if ahead > 0 else 0, 1, length), alpha=abs(ahead))
    return made


def _columns_apart(rgb: Tensor, layout: FrameLayout, y0: int, y1: int) -> tuple[Tensor, Tensor]:
    """Levels of some rows as float32 planes (n, 3, h, w) with all rows that chroma is the mean of, and of them those of
    the rows themselves (n, 3, y1 - y0, w).

    There are n columns for one of chroma: plane i has every n-th of them from the i-th on. What lies beyond the border
    is its repetition.
    """
    across, down = (1 << shift for shift in layout.chroma_shift)
    above = down - 1 if _cosited(layout)[1] else 0
    columns = -(-layout.width // across)
    shape = (across, 3, above + _round_up(y1 - y0, down), columns)
    padded = torch.empty(shape, dtype=torch.float32, device=rgb.device)
    first, end = max(y0 - above, 0), above + y1 - y0
    rows = slice(end - (y1 - first), end)
    for index, plane in enumerate(padded):
        own = rgb[first:y1, index::across]
        plane[:, rows, : own.shape[1]].copy_(own.permute(2, 0, 1))
        if own.shape[1] < columns:
            plane[:, rows, -1].copy_(rgb[first:y1, -1].t())
    padded[:, :, : rows.start] = padded[:, :, rows.start, None]
    padded[:, :, end:] = padded[:, :, end - 1, None]
    return padded, padded[:, :, above:end]


def _store_apart(levels: Tensor, plane: Tensor) -> None:
    """Writes whole numbers (n, h, w), every n-th column each, into rows of a plane."""
    across, width = len(levels), plane.shape[1]
    if across == 2 and width % 2 == 0 and sys.byteorder == "little":
        # Two neighbours as one integer: writing every other sample takes several times as long.
        pairs, bits = (torch.int16, 8) if plane.dtype == torch.uint8 else (torch.int32, 16)
        left, right = levels.to(pairs).unbind()
        plane.view(pairs).copy_(right.bitwise_left_shift_(bits).bitwise_or_(left))
        return
    for index, own in enumerate(levels):
        into = plane[:, index::across]
        store(own[:, : into.shape[1]], into)


def _collapse(padded: Tensor, step: int, cosited: bool) -> Tensor:
    """Weighted sums of n * step rows to n; where step is 1 the rows themselves.

    With `cosited` a tent around every first of `step` rows, of which `padded` has step - 1 more in front; else the
    plain sum. Exact: weights of both axes together are at most 256.
    """
    if step == 1:
        return padded
    reach = step - 1 if cosited else 0
    length = (padded.shape[-2] - reach) // step
    taps = [(tap, step - abs(tap - reach)) for tap in range(2 * step - 1)] if cosited else [(t, 1) for t in range(step)]
    total = _every(padded, -2, 0, step, length).clone()
    for tap, weight in taps[1:]:
        total.add_(_every(padded, -2, tap, step, length), alpha=weight)
    return total


def _merged(apart: Tensor, cosited: bool) -> Tensor:
    """As `_collapse`, of columns that lie apart (n, 3, h, w): those of chroma (3, h, w)."""
    step = len(apart)
    if step == 1:
        return apart[0]
    if not cosited:
        return sum(apart[2:], apart[0] + apart[1])
    total = apart[0] * step
    for index in range(1, step):
        total.add_(apart[index], alpha=step - index)
        total[..., 1:].add_(apart[index][..., :-1], alpha=index)
        total[..., 0].add_(apart[0][..., 0], alpha=index)  # left of the border
    return total


def _collapsed_weight(step: int, cosited: bool) -> int:
    """Sum of the weights of `_collapse`."""
    return step * step if cosited else step


def _every(planes: Tensor, dim: int, start: int, step: int, count: int) -> Tensor:
    """`count` rows (dim -2) or columns (dim -1) from `start`, one in `step`."""
    taken = slice(start, start + (count - 1) * step + 1, step)
    return planes[..., taken, :] if dim == -2 else planes[..., taken]


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _part(planes: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    return planes[..., slice(*rows), slice(*columns)]


def _repeat_border(planes: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Fills what lies outside of half-open ranges with the nearest sample inside."""
    (y0, y1), (x0, x1) = rows, columns
    planes[..., y0:y1, :x0] = planes[..., y0:y1, x0 : x0 + 1]
    planes[..., y0:y1, x1:] = planes[..., y0:y1, x1 - 1 : x1]
    planes[..., :y0, :] = planes[..., y0 : y0 + 1, :]
    planes[..., y1:, :] = planes[..., y1 - 1 : y1, :]
