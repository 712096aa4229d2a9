"""RRDBNet whose body runs in fused kernels: no copy of a channel slice, no pass for an activation or a residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.archs.layer import Conv, to_input
from sr_kernel.archs.rrdb import RESIDUAL, SLOPE, RRDBNet
from sr_kernel.fused.layer import FusedConv, FusedDoubling, Residual
from sr_kernel.fused.plane import Extent, Plane
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box

_TAILS = 4
"""sizes that the bands of a picture have: those at its borders hold less context, and bands differ by a row"""
_HALF = 32
"""outputs of a convolution whose weights would not fit shared memory at once"""
_COLOURS = 8
"""the fewest outputs that the tensor cores make"""


def _widened(conv: Conv, out: int) -> tuple[Tensor, Tensor]:
    """Weight and bias with outputs of zero behind those that there are."""
    weight, bias = conv.weight.new_zeros(out, *conv.weight.shape[1:]), conv.bias.new_zeros(out)
    weight[: len(conv.bias)], bias[: len(conv.bias)] = conv.weight, conv.bias
    return weight, bias


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planes:
    """What a body of one extent works in."""

    first: Plane
    trunks: tuple[Plane, Plane, Plane]
    growth: Plane
    """also what comes in, which is needed no more once there is growth"""


class FusedRRDBNet(RRDBNet):
    """As RRDBNet, for 64 features and growth 32, in half precision on a GPU of capability 9."""

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor) -> None:
        super().__init__(spec, state, like, trimmed=False)
        self._features, self._growth = spec.features, spec.growth
        self._enter_body = FusedConv(self._first.weight, self._first.bias, None)
        self._dense = [[self._packed(block[at : at + 5]) for at in (0, 5, 10)] for block in self._blocks]
        self._leave_body = FusedConv(self._body_end.weight, self._body_end.bias, None)
        slope = torch.full_like(self._ending.bias, SLOPE)
        self._doubling = [FusedDoubling(conv.weight, conv.bias, slope) for conv in self._enlarging]
        self._finishing = FusedConv(self._ending.weight, self._ending.bias, slope)
        self._colouring = FusedConv(*_widened(self._last, _COLOURS), None)
        self._blocks: list[list[Conv]] = []  # packed: nothing else reads them
        self._planes: _Planes | None = None
        self._tails: dict[Extent, tuple[Plane, Plane, Plane, Plane, Plane]] = {}
        """of the bands of one body, by their size"""

    def _packed(self, convs: list[Conv]) -> list[FusedConv]:
        """Four growing convolutions, and the closing one in two halves."""
        made: list[FusedConv] = []
        for index, conv in enumerate(convs[:4]):
            slope = torch.full_like(conv.bias, SLOPE)
            made.append(FusedConv(conv.weight, conv.bias, slope, extra=index * self._growth))
        last = convs[4]
        for at in range(0, self._features, _HALF):
            part = slice(at, at + _HALF)
            made.append(FusedConv(last.weight[part], last.bias[part], None, extra=4 * self._growth))
        return made

    @property
    def planes(self) -> object:
        """What is kept from call to call."""
        return (self._planes, tuple(self._tails.values()))

    def release(self) -> None:
        """Gives the planes back; the next call makes them anew."""
        self._planes = None
        self._tails.clear()

    def _body(self, x: Tensor, keep: Box | None) -> tuple[Tensor, Box]:
        del keep  # all of a window is computed: on a GPU bytes depend on shapes
        unit = to_input(x, self._dtype)
        if self.align > 1:
            unit = F.pixel_unshuffle(unit, self.align)
        count, _, height, width = unit.shape
        planes = self._buffers(Extent(count=count, height=height, width=width), unit)
        planes.growth.fill(unit.permute(0, 2, 3, 1))
        self._enter_body(planes.growth, planes.first)
        trunk = planes.first
        for block in self._dense:
            trunk = self._rrdb(block, trunk, planes)
        # Any trunk that is not read may take the result; the first picture is the residual.
        out = next(plane for plane in planes.trunks if plane is not trunk)
        self._leave_body(trunk, out, residual=Residual(plane=planes.first, alpha=1.0))
        features = out.images.permute(0, 3, 1, 2).clone(memory_format=torch.channels_last)
        return features, Box(x0=0, y0=0, x1=width * self.align, y1=height * self.align)

    def _enlarged(self, x: Tensor) -> Tensor:
        small, grown, large, other, colours = self._tail_buffers(x)
        small.images[:] = x.permute(0, 2, 3, 1)
        self._doubling[0](small, grown)
        self._doubling[1](grown, large)
        self._finishing(large, other)
        self._colouring(other, colours)
        return colours.images[..., :3]

    def _tail_buffers(self, x: Tensor) -> tuple[Plane, Plane, Plane, Plane, Plane]:
        """Planes of the body's size, of twice that, of four times, twice, and of colours."""
        count, features, height, width = x.shape
        once = Extent(count=count, height=height, width=width)
        if once not in self._tails:
            if len(self._tails) >= _TAILS:
                self._tails.clear()
            twice = Extent(count=count, height=2 * height, width=2 * width)
            whole = Extent(count=count, height=4 * height, width=4 * width)
            a, b = (Plane.zeros(extent, features, x) for extent in (once, twice))
            c, d = (Plane.zeros(whole, features, x) for _ in range(2))
            self._tails[once] = (a, b, c, d, Plane.zeros(whole, _COLOURS, x))
        return self._tails[once]

    def _rrdb(self, block: list[list[FusedConv]], entered: Plane, planes: _Planes) -> Plane:
        """Three dense blocks and the residual around them; the result lies in a trunk that is not `entered`."""
        one, two = [plane for plane in planes.trunks if plane is not entered][:2]
        self._dense_block(block[0], entered, one, planes.growth, None)
        self._dense_block(block[1], one, two, planes.growth, None)
        self._dense_block(block[2], two, one, planes.growth, entered)
        return one

    def _dense_block(self, convs: list[FusedConv], x: Plane, out: Plane, growth: Plane, base: Plane | None) -> None:
        for index, conv in enumerate(convs[:4]):
            conv(x, growth, extra=growth if index else None, at=index * self._growth)
        residual = Residual(plane=x, alpha=RESIDUAL, base=base)
        for index, conv in enumerate(convs[4:]):
            conv(x, out, extra=growth, at=index * _HALF, residual=residual)

    def _buffers(self, extent: Extent, x: Tensor) -> _Planes:
        """Planes of one extent, kept until another is asked for: their borders stay zero."""
        if self._planes is None or self._planes.first.extent != extent:
            self.release()  # tails are of this extent's or of another's: both at once are never needed
            like = torch.empty(0, dtype=self._dtype, device=x.device)
            first, a, b, c, growth = (
                Plane.zeros(extent, channels, like) for channels in (*[self._features] * 4, 4 * self._growth)
            )
            self._planes = _Planes(first=first, trunks=(a, b, c), growth=growth)
        return self._planes
