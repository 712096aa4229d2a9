"""What a network has made of windows: all of it, or what it takes to make any part of it when that part is asked for.

On a CPU what follows a network goes through its output strip by strip. Strips that are made one by one are still in the
cache when they are looked at, and the fp32 picture, the largest thing of a window, is never written to memory, unless
turns, kept colours or resizing look at all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sr_kernel.tiles import Box


class Output(Protocol):
    """Some windows' output in fp32, about 0..1, not clamped. Boxes are in source pixels, from the corner of what was
    asked of the network."""

    def part(self, index: int, box: Box) -> Tensor:
        """What `box` covers of one window, (h * scale, w * scale, 3): the caller's, to work on."""
        ...

    def whole(self) -> Tensor:
        """Of all windows (N, h * scale, w * scale, 3): the caller's, to work on."""
        ...


@dataclass(frozen=True, slots=True)
class WholeOutput:
    """All there already. Parts are views."""

    made: Tensor
    """(N, h * scale, w * scale, 3)"""
    scale: int

    def part(self, index: int, box: Box) -> Tensor:
        return part_of(self.made[index], box, self.scale)

    def whole(self) -> Tensor:
        return self.made


@dataclass(frozen=True, slots=True)
class PartwiseOutput:
    """Any part is made of what lies in it alone."""

    hidden: Tensor
    """(N, C, h, w), the network's last layer"""
    x: Tensor
    """(N, 3, h, w), the source"""
    enlarge: Callable[[Tensor, Tensor], Tensor]
    """parts of both as (n, h' * scale, w' * scale, 3)"""

    def part(self, index: int, box: Box) -> Tensor:
        rows, columns = slice(box.y0, box.y1), slice(box.x0, box.x1)
        one = slice(index, index + 1)
        return self.enlarge(self.hidden[one, :, rows, columns], self.x[one, :, rows, columns])[0]

    def whole(self) -> Tensor:
        return self.enlarge(self.hidden, self.x)


def part_of(made: Tensor, box: Box, scale: int) -> Tensor:
    """What `box`, in source pixels, covers of an output (h, w, 3)."""
    return made[box.y0 * scale : box.y1 * scale, box.x0 * scale : box.x1 * scale]
