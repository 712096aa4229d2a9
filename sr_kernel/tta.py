"""The eight flips and turns of a window through the network, and their mean.

A picture is turned as the network sees it: extended to multiples of the network's alignment, as a whole. A window of
the turned picture is then the turned window of the picture, its corner a multiple of the alignment again, so that the
mean depends on no cut. For sides that are no multiples of the alignment this means that in a flipped picture the
reflected extension lies left or above, and the pixel blocks of a x2 network lie as in the picture that is not flipped;
flipping first and extending then would shift the blocks by one pixel in half of the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sr_kernel.archs import RRDBNet
from sr_kernel.tiles import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One of the eight: first mirrored left to right, then top to bottom, then rows and columns exchanged."""

    mirrored: bool = False
    upended: bool = False
    transposed: bool = False

    def window(self, x: Tensor) -> Tensor:
        """A window (N, C, H, W) turned, channels last; itself where nothing turns."""
        flipped = [axis for axis, asked in ((3, self.mirrored), (2, self.upended)) if asked]
        if not flipped and not self.transposed:
            return x
        turned = x.flip(flipped) if flipped else x
        turned = turned.transpose(2, 3) if self.transposed else turned
        return turned.contiguous(memory_format=torch.channels_last)

    def box(self, box: Box, width: int, height: int) -> Box:
        """Where `box` of a window of `width` x `height` lies in the turned window."""
        x0, x1 = (width - box.x1, width - box.x0) if self.mirrored else (box.x0, box.x1)
        y0, y1 = (height - box.y1, height - box.y0) if self.upended else (box.y0, box.y1)
        return Box(x0=y0, y0=x0, x1=y1, y1=x1) if self.transposed else Box(x0=x0, y0=y0, x1=x1, y1=y1)

    def back(self, made: Tensor) -> Tensor:
        """An output (N, h, w, 3) of a turned window as of the window itself; a view or a copy."""
        straight = made.transpose(1, 2) if self.transposed else made
        flipped = [axis for axis, asked in ((2, self.mirrored), (1, self.upended)) if asked]
        return straight.flip(flipped) if flipped else straight


TURNS = tuple(
    Turn(mirrored=mirrored, upended=upended, transposed=transposed)
    for transposed in (False, True)
    for upended in (False, True)
    for mirrored in (False, True)
)
"""in the order in which they are added up; the first turns nothing"""


def mean_of_turns(run: Callable[[Tensor, Box], Tensor], x: Tensor, keep: Box) -> Tensor:
    """`run(x, keep)`, which gives (N, h, w, 3) in fp32 and owns it, averaged over the turns of x (N, 3, H, W).

    Two outputs are in memory at a time. Each sample is a sum in one order and an exact eighth of it: the same bytes
    whatever the window's shape, where those of `run` are.
    """
    height, width = x.shape[2:]
    total = run(x, keep)
    for turn in TURNS[1:]:
        total += turn.back(run(turn.window(x), turn.box(keep, width, height)))
    return total.mul_(1 / len(TURNS))


def canvas_of(network: RRDBNet, x: Tensor, parts: Sequence[Box], turns: Sequence[Turn]) -> Tensor:
    """The whole output of a picture x (1, 3, H, W), averaged over `turns`: (H * scale, W * scale, 3) in fp32.

    The body runs on the whole picture, one turn after another, the tail on `parts`, which cover the picture once, in
    source pixels. Besides the canvas, the memory is that of one body. What no part covers is 0.
    """
    height, width = x.shape[2:]
    canvas = x.new_zeros((height * network.scale, width * network.scale, 3))
    for turn in turns:
        _add_turn(canvas, network, x, parts, turn)
    return canvas.mul_(1 / len(turns))


def _add_turn(canvas: Tensor, network: RRDBNet, x: Tensor, parts: Sequence[Box], turn: Turn) -> None:
    """Adds one turn's output to the canvas; its features end with it."""
    (height, width), scale = x.shape[2:], network.scale
    whole = turn.box(Box(x0=0, y0=0, x1=width, y1=height), width, height)
    features = network.body(turn.window(x))
    for part in parts:
        made = network.tail(features, whole, turn.box(part, width, height))
        target = canvas[part.y0 * scale : part.y1 * scale, part.x0 * scale : part.x1 * scale]
        target += turn.back(made)[0]
