"""What `sr_kernel.fused.look` is told of windows; no Triton."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sr_kernel.tiles import Box

_COLUMNS = 5


def can_look(scale: int, align_px: int) -> bool:
    """Whether the kernel cuts blocks of this network: sides that are powers of two."""
    return scale in (1, 2, 4) and align_px in (1, 2, 4) and scale * align_px <= 4


def table_of(keeps: Sequence[Box], scale: int) -> NDArray[np.int64]:
    """int64 (windows, 5): left, top, width and height of what is kept, and where its samples begin."""
    table, first = np.empty((len(keeps), _COLUMNS), np.int64), 0
    for row, keep in zip(table, keeps, strict=True):
        row[:] = keep.x0, keep.y0, keep.width, keep.height, first
        first += keep.area_px * scale * scale * 3
    return table
