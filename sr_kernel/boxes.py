"""Boxes of pixels: counted from elsewhere, joined, grown, halved. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from sr_kernel.tiles import Box


def shifted(box: Box, origin: Box) -> Box:
    """`box` counted from the corner of `origin`."""
    return Box(x0=box.x0 - origin.x0, y0=box.y0 - origin.y0, x1=box.x1 - origin.x0, y1=box.y1 - origin.y0)


def moved(box: Box, origin: Box) -> Box:
    """`box`, counted from the corner of `origin`, counted from where that is counted from."""
    return Box(x0=box.x0 + origin.x0, y0=box.y0 + origin.y0, x1=box.x1 + origin.x0, y1=box.y1 + origin.y0)


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all."""
    return Box(
        x0=min(box.x0 for box in boxes),
        y0=min(box.y0 for box in boxes),
        x1=max(box.x1 for box in boxes),
        y1=max(box.y1 for box in boxes),
    )


def aligned(box: Box, align: int) -> Box:
    """`box` grown to multiples of `align`."""
    return Box(
        x0=box.x0 // align * align,
        y0=box.y0 // align * align,
        x1=-(-box.x1 // align) * align,
        y1=-(-box.y1 // align) * align,
    )


def halves(box: Box, align: int) -> tuple[tuple[Box, Box], int]:
    """`box` cut across its longer side, and the axis of (N, h, w, 3) along which the halves join."""
    if box.width >= box.height:
        middle = (box.x0 + box.x1) // (2 * align) * align
        left = Box(x0=box.x0, y0=box.y0, x1=middle, y1=box.y1)
        return (left, Box(x0=middle, y0=box.y0, x1=box.x1, y1=box.y1)), 2
    middle = (box.y0 + box.y1) // (2 * align) * align
    top = Box(x0=box.x0, y0=box.y0, x1=box.x1, y1=middle)
    return (top, Box(x0=box.x0, y0=middle, x1=box.x1, y1=box.y1)), 1
