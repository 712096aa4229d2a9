"""Steps across the edges of windows: what an output is off from its source on one side, and on the other. No torch.

Whatever a network changes, it changes alike on both sides of an edge that only we know of; so the difference from the
source does not jump there more than it does beside it. Looked at is the median of the jumps along an edge, since a
contour of the picture that runs along an edge for a part of it is no seam, and only where the source is calm: where it
is not nobody sees a seam, and what the network made of the contours is larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_kernel.fidelity import STEP_UNITS, PixelStats
from sr_kernel.tiles import PictureSpec, Tile

Pixels = NDArray[Any]
REACH_PX = 3
"""source pixels that are looked at on either side of an edge: two jumps on each side are beside it"""
CALM_LEVELS = 12
"""an edge is judged at those of its pixels around which no channel of the source has a range of more"""
LEAST_PX = 16
"""pixels at which an edge must be judged"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A picture, or some of its rows, and its source."""

    spec: PictureSpec
    source: Pixels
    """HW3; its first row is row `source_y0` of the picture"""
    source_y0: int
    output: Pixels
    """HW3, all columns; its first row is row `output_y0` of the output"""
    output_y0: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Some source pixels of one axis, and the output pixels that cover them."""

    first: int
    last: int
    scale: float
    origin: int
    """output position of the first one at hand"""

    @property
    def outputs(self) -> slice:
        """Of the output pixels at hand."""
        start = int(np.floor(self.first * self.scale + 1e-6)) - self.origin
        return slice(max(0, start), int(np.ceil(self.last * self.scale - 1e-6)) - self.origin)

    def averaged(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """The mean of what lies over each source pixel, along the first axis of the `outputs`."""
        total = np.zeros((samples.shape[0] + 1, *samples.shape[1:]))
        np.cumsum(samples, axis=0, out=total[1:])
        bounds = np.arange(self.first, self.last + 1) * self.scale - (self.outputs.start + self.origin)
        bounds = bounds.clip(0, samples.shape[0])
        whole = np.minimum(bounds.astype(int), samples.shape[0] - 1)
        part = (bounds - whole).reshape(-1, *[1] * (samples.ndim - 1))
        return np.diff(total[whole] + part * samples[whole], axis=0) / self.scale


def seam_stats(canvas: Canvas, tiles: Sequence[Tile]) -> PixelStats:
    """`seams`, `seam` and `beside` of the edges that two of `tiles` share, and nothing else.

    Edges of bands, of which one side is elsewhere, are not looked at.
    """
    stats = PixelStats()
    for jumps in _edges(canvas, tiles):
        squares = np.round((jumps * STEP_UNITS) ** 2).astype(np.int64).sum(1)
        middle = int(squares[REACH_PX - 1])
        stats += PixelStats(seams=1, seam=middle, beside=int(squares.sum()) - middle)
    return stats


def _edges(canvas: Canvas, tiles: Sequence[Tile]) -> Iterator[NDArray[np.float64]]:
    """The median jumps around each edge that can be judged, (2 * REACH_PX - 1, 3), in 8-bit levels."""
    spec = canvas.spec
    starts = {(tile.keep.x0, tile.keep.y0) for tile in tiles}
    for tile in tiles:
        x0, y0, x1, y1 = tile.keep.x0, tile.keep.y0, tile.keep.x1, tile.keep.y1
        found: list[NDArray[np.float64] | None] = []
        if (x1, y0) in starts and REACH_PX <= x1 <= spec.width - REACH_PX:
            found.append(_jumps(canvas, (y0, y1), (x1 - REACH_PX, x1 + REACH_PX), across_x=True))
        if (x0, y1) in starts and REACH_PX <= y1 <= spec.height - REACH_PX:
            found.append(_jumps(canvas, (y1 - REACH_PX, y1 + REACH_PX), (x0, x1), across_x=False))
        yield from (jumps for jumps in found if jumps is not None)


def _jumps(
    canvas: Canvas, rows: tuple[int, int], columns: tuple[int, int], *, across_x: bool
) -> NDArray[np.float64] | None:
    """The median jumps around one edge; None where too little of it is calm."""
    spec, level = canvas.spec, 255 / np.iinfo(canvas.output.dtype).max
    source = canvas.source[rows[0] - canvas.source_y0 : rows[1] - canvas.source_y0, columns[0] : columns[1]]
    source = source.astype(np.float64) * level
    across = 1 if across_x else 0
    calm = np.ptp(source, axis=across).max(1) <= CALM_LEVELS
    if np.count_nonzero(calm) < LEAST_PX:
        return None
    down = _Span(*rows, spec.out_height / spec.height, canvas.output_y0)
    right = _Span(*columns, spec.out_width / spec.width, 0)
    output = down.averaged(canvas.output[down.outputs, right.outputs])
    output = right.averaged(output.swapaxes(0, 1)).swapaxes(0, 1)
    difference = np.moveaxis(output * level - source, across, 0)[:, calm]
    return np.median(np.diff(difference, axis=0), axis=1)
