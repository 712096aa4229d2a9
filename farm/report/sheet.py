"""The sample as one PNG: source and output of each row side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farm.media.sheet import Cell, draw_sheet, shortened
from farm.report.shown import Pair, Rgb, Shown
from farm.report.words import figure

PICTURE_PX = 288
"""side of every picture"""
_THREE_COLUMNS_FROM = 9


def sheet_of(title: str, shown: Sequence[Shown]) -> bytes:
    """Needs a font on the machine; without one, words are boxes."""
    cells = [
        Cell(
            title=shortened(one.title),
            lines=(_line(one),),
            pictures=_pictures(one.pair) if one.pair else (),
            notice=one.notice,
        )
        for one in shown
    ]
    cells = cells or [Cell(title="", notice="no row of this run can be shown")]
    columns = 3 if len(cells) >= _THREE_COLUMNS_FROM else min(2, len(cells))
    return draw_sheet(f"{title}: source, restored", cells, picture_px=PICTURE_PX, pictures=2, columns=columns)


def _line(one: Shown) -> str:
    row = one.row
    made = " ".join(filter(None, (row.model, f"x{row.scale}" if row.scale and "x" not in row.scale else row.scale)))
    consistency = row.figures.get("consistency")
    believed = f"suspect: {row.suspect}" if row.suspect else ""
    return ", ".join(filter(None, (made, f"{figure(consistency)} dB" if consistency is not None else "", believed)))


def _pictures(pair: Pair) -> tuple[Rgb, Rgb]:
    return _square(pair.before), _square(pair.after)


def _square(pixels: Rgb) -> Rgb:
    """Bilinear to the side of the sheet's pictures, a narrower one in the middle of paper."""
    height, width, _ = pixels.shape
    scale = PICTURE_PX / max(height, width)
    made = _resized(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
    square = np.full((PICTURE_PX, PICTURE_PX, 3), 250, np.uint8)
    top, left = (PICTURE_PX - made.shape[0]) // 2, (PICTURE_PX - made.shape[1]) // 2
    square[top : top + made.shape[0], left : left + made.shape[1]] = made
    return square


def _resized(pixels: Rgb, height: int, width: int) -> Rgb:
    """As a browser enlarges and makes smaller: bilinear, over the mean of whole pixels where it gets smaller."""
    step = max(1, int(min(pixels.shape[0] / height, pixels.shape[1] / width)))
    if step > 1:
        rows, columns = pixels.shape[0] // step * step, pixels.shape[1] // step * step
        blocks = pixels[:rows, :columns].reshape(rows // step, step, columns // step, step, 3)
        pixels = blocks.mean((1, 3)).round().astype(np.uint8)
    y, x = _places(pixels.shape[0], height), _places(pixels.shape[1], width)
    y0, x0 = y.astype(np.int64), x.astype(np.int64)
    y1, x1 = np.minimum(y0 + 1, pixels.shape[0] - 1), np.minimum(x0 + 1, pixels.shape[1] - 1)
    down, across = (y - y0)[:, None, None], (x - x0)[None, :, None]
    source = pixels.astype(np.float64)
    top = source[y0][:, x0] * (1 - across) + source[y0][:, x1] * across
    bottom = source[y1][:, x0] * (1 - across) + source[y1][:, x1] * across
    return np.rint(top * (1 - down) + bottom * down).astype(np.uint8)


def _places(source: int, made: int) -> NDArray[np.float64]:
    """Where the middles of `made` pixels lie among those of `source`."""
    return np.clip((np.arange(made) + 0.5) * source / made - 0.5, 0, source - 1)
