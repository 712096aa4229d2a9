"""The alpha channel: resized by Lanczos, or kept solid where the source is solid after a network has restored it.

A network gives 254 here and 1 there where a mask was 255 and 0, which shows as a veil. So a rule with a small radius:
an output pixel whose source pixel and all neighbours within `SOLID_RADIUS_PX` are opaque is opaque, and likewise for
clear. The rule looks no further than any halo, hence any window and any band give the same bytes; and windows that are
solid throughout need no network at all.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sr_kernel.resample import Resampler
from sr_kernel.tiles import Box, PictureSpec

Plane = NDArray[Any]
"""HW1, uint8 or uint16"""

SOLID_RADIUS_PX = 2


def solid_value(window: Plane) -> int | None:
    """0 or the largest value when the whole window has it, else None."""
    first = int(window[0, 0, 0])
    if first not in (0, np.iinfo(window.dtype).max):
        return None
    return first if bool((window == first).all()) else None


def keep_solid(out: Plane, source: Plane, source_y0: int, spec: PictureSpec, out_rows: tuple[int, int]) -> Plane:
    """Write 0 and the largest value into `out` wherever `source` is solid around the pixel; gives `out` back.

    `source` holds picture rows from `source_y0` on, at least SOLID_RADIUS_PX beyond what `out_rows` needs or up to the
    picture's border; `out` holds `out_rows`.
    """
    largest = np.iinfo(source.dtype).max
    rows = _nearest(out_rows[0], out_rows[1], spec.height, spec.out_height) - source_y0
    columns = _nearest(0, spec.out_width, spec.width, spec.out_width)
    plane, target = source[:, :, 0], out[:, :, 0]
    for value in (0, largest):
        solid = _eroded(plane == value)
        if solid.any():
            np.putmask(target, solid.take(columns, 1).take(rows, 0), value)  # both at once is ten times slower
    return out


def upscale_alpha(source: Plane, source_y0: int, spec: PictureSpec, out_rows: tuple[int, int]) -> Plane:
    """The alpha plane resized straight to the output's size by antialiased Lanczos, rounded and clamped, HW1."""
    largest = float(np.iinfo(source.dtype).max)
    resampler = Resampler(spec.width, spec.height, spec.out_width, spec.out_height, "lanczos")
    window = torch.from_numpy(source[:, :, 0].astype(np.float32))[None, None]
    box = Box(x0=0, y0=out_rows[0], x1=spec.out_width, y1=out_rows[1])
    made = resampler.apply(window, (0, source_y0), box)[0, 0]
    levels = cast("NDArray[np.float32]", made.clamp_(0, largest).round_().numpy())
    return levels.astype(source.dtype)[:, :, None]


def _nearest(start: int, stop: int, length: int, out_length: int) -> NDArray[np.int64]:
    """The source pixel that holds the centre of each output pixel."""
    return (2 * np.arange(start, stop, dtype=np.int64) + 1) * length // (2 * out_length)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where the mask is true within SOLID_RADIUS_PX in both directions; beyond the border counts as true."""
    for axis in (0, 1):
        shrunk = mask.copy()
        for shift in range(1, SOLID_RADIUS_PX + 1):
            if shift >= mask.shape[axis]:
                break
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            shrunk[tuple(behind)] &= mask[tuple(ahead)]
            shrunk[tuple(ahead)] &= mask[tuple(behind)]
        mask = shrunk
    return mask
