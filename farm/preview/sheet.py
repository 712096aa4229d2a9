"""The pairs as one PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farm.media.sheet import Cell, draw_sheet, shortened
from farm.preview.pairs import ROLE_NAMES, Shown
from farm.sample import DegradeOptions

_TWO_COLUMNS_FROM = 7
"""pairs: three pictures are wider than high, and many of them would make a ribbon"""


def sheet_of(title: str, shown: Sequence[Shown], options: DegradeOptions) -> bytes:
    """Every picture at the crop's size, pixel by pixel; low-quality ones enlarged by repeating pixels."""
    names = ", ".join(ROLE_NAMES[role] for role in options.roles)
    cells = [
        Cell(
            title=shortened(one.title),
            lines=one.lines,
            pictures=tuple(_enlarged(pixels, options.gt_px) for _, pixels in one.pictures),
            notice=one.notice,
        )
        for one in shown
    ]
    return draw_sheet(
        f"{title}: {names}",
        cells,
        picture_px=options.gt_px,
        pictures=len(options.roles),
        columns=2 if len(cells) >= _TWO_COLUMNS_FROM else 1,
    )


def _enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """To the crop's side, which is a multiple of the picture's own."""
    times = side // pixels.shape[0]
    return pixels.repeat(times, axis=0).repeat(times, axis=1)
