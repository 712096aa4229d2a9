"""RRDBNet: residual-in-residual dense blocks at low resolution, then two times nearest x2 and a convolution.

After ESRGAN (Wang et al., 2018); the x2 and x1 forms first turn pixel blocks into channels (pixel-unshuffle). Pinned to
basicsr's implementation by test.

Each dense block works in one buffer of features + 4 * growth channels. Convolutions read a growing part of it and write
their result behind what they read, where the reference concatenates anew for every convolution. Same bytes; measured
on one core of Zen 4 in bf16, 64 + 4 * 32 channels: 152 ms against 168 ms a block on 256x256 pixels, 37 against 43 on
128x128.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.archs.layer import Conv, grow, input_gain, load_conv, to_input, trim
from sr_kernel.archs.streamed import StreamedConv, enlarged_into, leaky_into
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import TAIL_HALO, Box

RESIDUAL = 0.2
SLOPE = 0.2
_ENLARGED = 4
"""the tail's own factor"""
_RADIUS_OF_BLOCK = 15
_STREAMED_PX = 4096
"""pixels of the features in a band: of 768 to 8192 the fastest, at 256 in width"""


def rrdb_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every key of the state dict with its shape."""
    features, growth = spec.features, spec.growth
    convs = {"conv_first": (features, 3 * spec.align_px**2)}
    for block in range(spec.blocks):
        for rdb in (1, 2, 3):
            for index in range(5):
                out = growth if index < 4 else features
                convs[f"body.{block}.rdb{rdb}.conv{index + 1}"] = (out, features + index * growth)
    convs |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (features, features))
    convs["conv_last"] = (3, features)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, into) in convs.items():
        shapes |= {f"{name}.weight": (out, into, 3, 3), f"{name}.bias": (out,)}
    return shapes


class RRDBNet:
    """The network with fixed weights, in one precision on one device.

    `body` and `tail` are apart so that a picture's body can be run whole and its tail in bands; calling the network
    does both on a window.
    """

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor, *, trimmed: bool) -> None:
        """`state` as `rrdb_shapes` says; `like` gives device and precision; `trimmed` cuts the halo on the way."""
        self.scale = spec.scale
        self.align = spec.align_px
        self._dtype = like.dtype
        self._trimmed = trimmed
        self._width = spec.features + 4 * spec.growth
        self._first = load_conv(state, "conv_first", like, input_gain(like.dtype))
        names = [[f"body.{b}.rdb{r}.conv{c}" for r in (1, 2, 3) for c in range(1, 6)] for b in range(spec.blocks)]
        self._blocks = [[load_conv(state, name, like) for name in block] for block in names]
        self._body_end = load_conv(state, "conv_body", like)
        self._enlarging = [load_conv(state, name, like) for name in ("conv_up1", "conv_up2")]
        self._ending = load_conv(state, "conv_hr", like)
        self._last = load_conv(state, "conv_last", like)

    def __call__(self, x: Tensor, keep: Box) -> Tensor:
        """The part `keep` of a window, enlarged.

        x (N, 3, H, W), fp32, 0..1, channels last, sides multiples of `align`; keep in pixels of the window. Returns
        (N, h * scale, w * scale, 3) in fp32, about 0..1, not clamped, where w x h is the size of keep.
        """
        return self.tail(*self._body(x, keep if self._trimmed else None), keep)

    def body(self, x: Tensor) -> Tensor:
        """Features of a whole picture (N, 3, H, W) as above: (N, features, H / align, W / align)."""
        return self._body(x, None)[0]

    def tail(self, features: Tensor, area: Box, keep: Box) -> Tensor:
        """The part `keep` of the enlarged picture from the features of `area`, which holds keep and 2 around it.

        Boxes in source pixels, those of `area` multiples of `align`. Returns as calling the network does.
        """
        align, scale = self.align, self.scale
        cells = Box(x0=area.x0 // align, y0=area.y0 // align, x1=area.x1 // align, y1=area.y1 // align)
        inner = grow(self._cells(keep), TAIL_HALO, cells.x1, cells.y1)
        inner = Box(x0=max(inner.x0, cells.x0), y0=max(inner.y0, cells.y0), x1=inner.x1, y1=inner.y1)
        x = trim(features, cells, inner)
        top, left = keep.y0 * scale - inner.y0 * _ENLARGED, keep.x0 * scale - inner.x0 * _ENLARGED
        rows, columns = slice(top, top + keep.height * scale), slice(left, left + keep.width * scale)
        enlarged = self._streamed(x) if x.device.type == "cpu" else self._enlarged(x)
        return enlarged[:, rows, columns].float().contiguous()

    def _enlarged(self, x: Tensor) -> Tensor:
        """Features (N, C, h, w) as samples (N, 4 h, 4 w, 3)."""
        for conv in self._enlarging:
            x = F.leaky_relu_(conv(F.interpolate(x, scale_factor=2.0, mode="nearest")), SLOPE)
        return self._last(F.leaky_relu_(self._ending(x), SLOPE)).permute(0, 2, 3, 1)

    def _streamed(self, x: Tensor) -> Tensor:
        """The same bytes in bands of rows: 20 % faster on one core of Zen 4, in a tenth of the memory."""
        count, _, height, width = x.shape
        made = torch.empty((count, _ENLARGED * height, _ENLARGED * width, 3), dtype=x.dtype)
        tail = StreamedTail(self._enlarging, self._ending, self._last)
        rows, at = max(2, _STREAMED_PX // width), 0
        for top in range(0, height, rows):
            done = tail(x[:, :, top : top + rows], last=top + rows >= height).permute(0, 2, 3, 1)
            made[:, at : at + done.shape[1]] = done
            at += done.shape[1]
        return made

    def _cells(self, box: Box) -> Box:
        """The pixels of the body that `box`, in source pixels, touches."""
        align = self.align
        return Box(x0=box.x0 // align, y0=box.y0 // align, x1=-(-box.x1 // align), y1=-(-box.y1 // align))

    def _body(self, x: Tensor, keep: Box | None) -> tuple[Tensor, Box]:
        """Features of what the tail needs for `keep` (everything for None), and where they lie in source pixels."""
        x = to_input(x, self._dtype)
        if self.align > 1:
            x = F.pixel_unshuffle(x, self.align).contiguous(memory_format=torch.channels_last)
        height, width = x.shape[-2:]
        area = Box(x0=0, y0=0, x1=width, y1=height)
        first = self._first(x)
        buffer = first.new_empty(0)
        for index, block in enumerate(self._blocks):
            wanted = area
            if keep is not None:
                reach = (len(self._blocks) - index) * _RADIUS_OF_BLOCK + 1 + TAIL_HALO
                wanted = grow(self._cells(keep), reach, width, height)
            buffer, first, area = self._enter(buffer, first, area, wanted), trim(first, area, wanted), wanted
            self._run_block(buffer, block)
        trunk = buffer[:, : first.shape[1]] if self._blocks else first
        features = self._body_end(trunk).add_(first)
        align = self.align
        return features, Box(x0=area.x0 * align, y0=area.y0 * align, x1=area.x1 * align, y1=area.y1 * align)

    def _enter(self, buffer: Tensor, first: Tensor, area: Box, wanted: Box) -> Tensor:
        """The dense buffer of `wanted`: the old one where nothing is cut, else a new one with the features copied."""
        if buffer.numel() and wanted == area:
            return buffer
        count, features = first.shape[:2]
        shape = (count, self._width, wanted.height, wanted.width)
        fresh = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=torch.channels_last)
        fresh[:, :features] = trim(buffer[:, :features] if buffer.numel() else first, area, wanted)
        return fresh

    def _run_block(self, buffer: Tensor, block: list[Conv]) -> None:
        """One RRDB, in place: its input and its output are the first channels of the buffer."""
        features = block[4].weight.shape[0]
        trunk = buffer[:, :features]
        entered = trunk.clone(memory_format=torch.channels_last)
        for start in (0, 5, 10):
            end = features
            for conv in block[start : start + 4]:
                grown = F.leaky_relu_(conv(buffer[:, :end]), SLOPE)
                buffer[:, end : end + grown.shape[1]] = grown
                end += grown.shape[1]
            trunk.add_(block[start + 4](buffer), alpha=RESIDUAL)
        torch.add(entered, trunk, alpha=RESIDUAL, out=trunk)


class StreamedTail:
    """What follows the body of one picture, whose rows arrive in bands."""

    def __init__(self, enlarging: Sequence[Conv], ending: Conv, last: Conv) -> None:
        self._enlarging = [StreamedConv(conv) for conv in enlarging]
        self._ending, self._last = StreamedConv(ending), StreamedConv(last)

    def __call__(self, band: Tensor, *, last: bool) -> Tensor:
        """All rows of the result (N, 3, h, w) that are known after the next rows of features (N, C, h', w')."""
        made = band
        for index, conv in enumerate(self._enlarging):
            rows = F.leaky_relu_(made, SLOPE) if index else made
            size = (2 * rows.shape[2], 2 * rows.shape[3])
            made = conv(rows, size, partial(enlarged_into, rows), last=last)
        for conv in (self._ending, self._last):
            made = conv(made, _size(made), partial(leaky_into, made, SLOPE), last=last)
        return made


def _size(rows: Tensor) -> tuple[int, int]:
    return rows.shape[2], rows.shape[3]
