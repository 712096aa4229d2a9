"""Pictures as the networks want them and back: gray, alpha, depth, HWC arrays and NCHW tensors.

The only place where channel order or depth changes. Arrays are HWC, uint8 or uint16, RGB; depth is decided by the
type, never by the values, and 16-bit pictures stay in 16 bits all the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.tiles import Box

Pixels = NDArray[np.uint8 | np.uint16]

FILL_BLOCK_PX = 64
"""`fill_transparent` looks no further than aligned blocks of this side"""

_LUMA_RGB = (9798, 19235, 3735)
_LUMA_BITS = 15
"""OpenCV's RGB2GRAY for 8 and 16 bits (modules/imgproc/src/color_rgb.simd.hpp, RY15, GY15, BY15, gray_shift)"""
_LUMA_STRIP_PX = 1 << 16
"""pixels converted at once, whose 32-bit sums stay in the cache: 1.6 ms a megapixel, of 2^20 at once 2.7"""
_DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """A picture taken apart into what a network restores: three colour channels, and alpha by itself."""

    rgb: Pixels
    """HWC, 3 channels, contiguous; gray is repeated"""
    alpha: Pixels | None
    """HWC, 1 channel, contiguous; None for opaque pictures"""
    gray: bool
    """whether `rgb` is one channel repeated"""


def top_level(dtype: np.dtype[Any]) -> int:
    """The largest sample of a depth: 255 or 65535. Raises ValueError for anything but uint8 and uint16."""
    if dtype not in _DTYPES:
        raise ValueError(f"pixels are uint8 or uint16, not {dtype}")
    return int(np.iinfo(dtype).max)


def split_planes(pixels: Pixels) -> Planes:
    """Gray, gray + alpha, RGB or RGBA, HWC, as planes. Raises ValueError for other shapes and types."""
    top_level(pixels.dtype)
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise ValueError(f"pixels are HWC with 1..4 channels, not of shape {pixels.shape}")
    channels = pixels.shape[2]
    gray = channels <= 2
    rgb = expand_gray(pixels[:, :, :1]) if gray else np.ascontiguousarray(pixels[:, :, :3])
    alpha = None if channels % 2 else np.ascontiguousarray(pixels[:, :, -1:])
    return Planes(rgb=rgb, alpha=alpha, gray=gray)


def merge_planes(rgb: Pixels, alpha: Pixels | None, gray: bool) -> Pixels:
    """The inverse of `split_planes` after restoration: HWC with 1..4 channels.

    `alpha` has one channel, or three when the network restored it as a gray picture.
    """
    colour = luma(rgb) if gray else rgb
    if alpha is None:
        return colour
    return np.concatenate([colour, luma(alpha) if alpha.shape[2] == 3 else alpha], axis=2)


def expand_gray(plane: Pixels) -> Pixels:
    """HW1 repeated to a contiguous HW3."""
    return np.repeat(plane, 3, axis=2)


def luma(rgb: Pixels) -> Pixels:
    """HW3 to HW1, in integers, equal to OpenCV's RGB2GRAY bit for bit; exact for a gray picture repeated."""
    height, width, _ = rgb.shape
    gray = np.empty((height, width, 1), dtype=rgb.dtype)
    step = max(1, _LUMA_STRIP_PX // max(width, 1))
    for y0 in range(0, height, step):
        strip = rgb[y0 : y0 + step]
        total = np.full(strip.shape[:2], 1 << (_LUMA_BITS - 1), dtype=np.uint32)
        for channel, weight in enumerate(_LUMA_RGB):
            total += np.multiply(strip[:, :, channel], weight, dtype=np.uint32)
        gray[y0 : y0 + step, :, 0] = total >> _LUMA_BITS
    return gray


def fill_transparent(rgb: Pixels, alpha: Pixels) -> Pixels:
    """`rgb` (HW3) with the hidden colour under alpha 0 (HW1) replaced by the visible colour nearby.

    A network spreads hidden colour over the edge of what is visible. A hidden pixel gets the mean of the finest block
    of side 2, 4, .. 64 around it that holds a visible pixel, weighted by alpha; 0 where there is none. Blocks are
    aligned to the picture's origin, so bands that start at a multiple of 64 rows, and end at one or at the picture's
    last row, give the rows of the whole picture. What was hidden never changes the result.
    """
    filled = rgb
    for y0 in range(0, rgb.shape[0], FILL_BLOCK_PX):
        rows = slice(y0, y0 + FILL_BLOCK_PX)
        hidden = alpha[rows] == 0
        if hidden.any():
            filled = rgb.copy() if filled is rgb else filled
            np.copyto(filled[rows], _block_colour(rgb[rows], alpha[rows]), where=hidden)
    return filled


def cut_window(pixels: Pixels, read: Box, first_row: int = 0) -> Pixels:
    """The window `read` of a picture extended to the right and downwards by reflection; a view where nothing is added.

    `pixels` holds the picture's full width, and its rows from `first_row` to the window's last row or to the
    picture's bottom. A side of one pixel is repeated.
    """
    inside = pixels[read.y0 - first_row : read.y1 - first_row, read.x0 : read.x1]
    below, right = read.height - inside.shape[0], read.width - inside.shape[1]
    if not below and not right:
        return inside
    return np.pad(inside, ((0, below), (0, right), (0, 0)), mode="reflect")


def stack_windows(windows: Sequence[Pixels], *, pinned: bool = False) -> Tensor:
    """Windows of one shape and type as one integer tensor NHWC in main memory, which owns its samples.

    `pinned`: in memory that a GPU reads by itself, where torch has one.
    """
    dtype: np.dtype[Any] = windows[0].dtype
    top_level(dtype)
    stacked = torch.empty((len(windows), *windows[0].shape), dtype=_DTYPES[dtype], pin_memory=pinned)
    into: Pixels = stacked.numpy()  # pyright: ignore[reportUnknownVariableType]
    np.stack(windows, out=into)
    return stacked


def to_unit(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """NHWC integers, uint8 or uint16, as NCHW of a float type in 0..1, channels last in memory, on their device.

    The division is done in float32 before rounding to `dtype`, so that 16-bit sources lose only what `dtype` lacks.
    """
    top = torch.iinfo(samples.dtype).max
    return samples.to(torch.float32).div_(top).to(dtype).permute(0, 3, 1, 2)


def to_levels(unit: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """NCHW floats as float32 levels 0..255 or 0..65535, clamped and rounded to even; upstream's order of steps.

    NaN stays NaN: whoever must not publish it looks before.
    """
    return unit.to(torch.float32).clamp(0, 1).mul_(top_level(dtype)).round_()


def to_samples(levels: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """NCHW float32 levels, which may overshoot, as contiguous integers NHWC on their device."""
    rounded = levels.round().clamp_(0, top_level(dtype))
    return integers(rounded, dtype).permute(0, 2, 3, 1).contiguous()


def integers(levels: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Whole numbers of a depth as its integers."""
    samples = torch.empty_like(levels, dtype=_DTYPES[dtype])
    store(levels, samples)
    return samples


def store(levels: Tensor, samples: Tensor) -> None:
    """Writes whole numbers into integers, uint8 or uint16."""
    if samples.dtype == torch.uint8 and samples.device.type == "cpu":
        levels = levels.to(torch.int16)  # torch makes bytes of floats one by one, of these many at once
    samples.copy_(levels)


def empty_samples(shape: Sequence[int], dtype: np.dtype[Any], device: torch.device) -> Tensor:
    """Integers of a depth whose values are yet to come."""
    return torch.empty(tuple(shape), dtype=_DTYPES[dtype], device=device)


def _block_colour(rgb: Pixels, alpha: Pixels) -> Pixels:
    """For each pixel of at most 64 rows the alpha-weighted mean colour of the finest block that has one, HW3."""
    sums = np.uint32 if rgb.dtype == np.uint8 else np.uint64  # 64 x 64 x 255 x 255 and 64 x 64 x 65535 x 65535 fit
    weight = np.moveaxis(alpha, 2, 0).astype(sums)
    colour = np.moveaxis(rgb, 2, 0) * weight
    levels: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for _ in range(FILL_BLOCK_PX.bit_length() - 1):
        colour, weight = _halved(colour), _halved(weight)
        levels.append((colour, weight))
    fill = np.zeros_like(_halved(colour), dtype=rgb.dtype)
    for colour, weight in reversed(levels):
        mean = (colour + weight // 2) // np.maximum(weight, 1)
        fill = np.where(weight > 0, mean.astype(rgb.dtype), _doubled(fill, weight.shape))
    return np.moveaxis(_doubled(fill, alpha.shape[:2]), 0, 2)


def _halved(blocks: NDArray[Any]) -> NDArray[Any]:
    """Sums of 2 x 2 neighbours, CHW, counting 0 beyond an odd side."""
    channels, height, width = blocks.shape
    total = np.zeros((channels, (height + 1) // 2, (width + 1) // 2), dtype=blocks.dtype)
    for y in (0, 1):
        for x in (0, 1):
            part = blocks[:, y::2, x::2]
            total[:, : part.shape[1], : part.shape[2]] += part
    return total


def _doubled(blocks: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Each block repeated 2 x 2, CHW, cut to the height and width that end `shape`."""
    return blocks.repeat(2, axis=1).repeat(2, axis=2)[:, : shape[-2], : shape[-1]]
