"""Single frames of films as RGB and as luma, in numpy: for callers that have no business with torch.

The bytes are those of `sr_kernel.colour.to_rgb`, which is the faster one where many frames are converted: both are
products, sums and roundings of float32, each an operation of its own (ITU-T H.273, 8.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sr_kernel.layout import MATRICES, FrameLayout

Plane = NDArray[np.uint8] | NDArray[np.uint16]
_LUMA_RGB = (9798, 19235, 3735)
_LUMA_BITS = 15
"""those of `sr_kernel.pixels.luma`"""
_STRIP_PX = 1 << 17
"""pixels that are converted at once: their few float32 planes stay in the cache"""


def frame_rgb(planes: Sequence[Plane], layout: FrameLayout) -> Plane:
    """The colours of a frame, HW3: uint8 of layouts of 8 bits, else uint16 of 0..65535. Alpha is left out.

    `planes`: of the layout, HW each. Subsampled chroma is interpolated linearly at its siting, borders repeated.
    """
    _check(planes, layout)
    dtype = np.uint8 if layout.depth == 8 else np.uint16
    made = cast("Plane", np.empty((layout.height, layout.width, 3), dtype))
    for y0, y1 in _strips(layout):
        for channel, levels in enumerate(_levels(planes, layout, y0, y1)):
            made[y0:y1, :, channel] = levels
    return made


def frame_luma(planes: Sequence[Plane], layout: FrameLayout) -> Plane:
    """The luma of a frame, HW, in the depth of its layout: the plane itself, or OpenCV's gray of RGB."""
    _check(planes, layout)
    if layout.model != "rgb":
        return planes[0]
    total = np.full((layout.height, layout.width), 1 << (_LUMA_BITS - 1), np.uint32)
    for plane, weight in zip(planes, _LUMA_RGB, strict=False):
        total += np.multiply(plane, weight, dtype=np.uint32)
    return cast("Plane", (total >> _LUMA_BITS).astype(planes[0].dtype))


def luma_range(layout: FrameLayout) -> tuple[int, int]:
    """Sample of black, and how many samples up white is, of what `frame_luma` gives."""
    if layout.full_range or layout.model == "rgb":
        return 0, (1 << layout.depth) - 1
    return 16 << layout.depth - 8, 219 << layout.depth - 8


def _check(planes: Sequence[Plane], layout: FrameLayout) -> None:
    found = [plane.shape[::-1] for plane in planes]
    if found != list(layout.plane_sizes):
        raise ValueError(f"planes of {found} are not of {layout}")


def _strips(layout: FrameLayout) -> Iterator[tuple[int, int]]:
    """Half-open ranges of rows that cover a frame; all but the last are whole rows of chroma."""
    step = 1 << layout.chroma_shift[1]
    rows = max(1, _STRIP_PX // layout.width // step) * step
    for y0 in range(0, layout.height, rows):
        yield y0, min(y0 + rows, layout.height)


def _levels(planes: Sequence[Plane], layout: FrameLayout, y0: int, y1: int) -> Iterator[NDArray[Any]]:
    """Whole levels of R, G and B of some rows."""
    top = 255 if layout.depth == 8 else 65_535
    black, span = luma_range(layout)
    if layout.model == "rgb":
        yield from (_rescaled(plane[y0:y1], span, top) for plane in planes[:3])
    elif layout.model == "gray" and (black, span) == (0, top):
        yield from (planes[0][y0:y1],) * 3
    else:
        luma = (planes[0][y0:y1].astype(np.float32) - np.float32(black)) * np.float32(top / span)
        offsets = _offsets(planes, layout, y0, y1, top) if layout.model == "yuv" else (np.float32(0),) * 3
        for offset in offsets:
            yield np.clip(np.rint(offset + luma), 0, top)


def _rescaled(samples: NDArray[Any], top: int, new_top: int) -> NDArray[Any]:
    """Integers of 0..top as whole numbers of 0..new_top; themselves where these are equal."""
    return samples if top == new_top else np.rint(samples.astype(np.float32) * np.float32(new_top / top))


def _offsets(
    planes: Sequence[Plane], layout: FrameLayout, y0: int, y1: int, top: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """What chroma adds to luma in R, G and B."""
    kr, kb = MATRICES[layout.matrix]
    kg = 1 - kr - kb
    depth = layout.depth
    neutral, span = 1 << depth - 1, (1 << depth) - 1 if layout.full_range else 224 << depth - 8
    across, down = layout.chroma_shift
    weight = (2 << across if across else 1) * (2 << down if down else 1)
    u, v = (_enlarged(plane, layout, y0, y1) - np.float32(neutral * weight) for plane in planes[1:3])
    gain = top / (span * weight)
    red, blue = 2 * (1 - kr) * gain, 2 * (1 - kb) * gain
    green = u * np.float32(-blue * kb / kg) + v * np.float32(-red * kr / kg)
    return v * np.float32(red), green, u * np.float32(blue)


def _enlarged(plane: Plane, layout: FrameLayout, y0: int, y1: int) -> NDArray[np.float32]:
    """Some rows of a chroma plane at luma's size, times the weights of the interpolation, which are whole numbers."""
    across, down = layout.chroma_shift
    first, last = y0 >> down, -(-y1 >> down)
    rows = np.clip(np.arange(first - 1, last + 1), 0, plane.shape[0] - 1)
    padded = np.pad(plane[rows].astype(np.float32), ((0, 0), (1, 1)), mode="edge")
    tall = _spread(padded, 1 << down, layout.siting == "topleft")
    return _spread(tall.T, 1 << across, layout.siting != "center").T[: y1 - y0, : layout.width]


def _spread(padded: NDArray[np.float32], step: int, cosited: bool) -> NDArray[np.float32]:
    """Linear interpolation of n rows to n * step, times 2 * step; where step is 1 the rows themselves.

    `padded` has the rows' neighbours at both ends. A row lies on the first of its `step` places or amid them.
    """
    near = padded[1:-1]
    if step == 1:
        return near
    made = np.empty((len(near) * step, near.shape[1]), np.float32)
    for phase in range(step):
        ahead = 2 * phase if cosited else 2 * phase - (step - 1)
        place = made[phase::step]
        np.multiply(near, np.float32(2 * step - abs(ahead)), out=place)
        if ahead:
            place += (padded[2:] if ahead > 0 else padded[:-2]) * np.float32(abs(ahead))
    return made
