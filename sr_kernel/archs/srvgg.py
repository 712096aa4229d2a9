"""SRVGGNetCompact: convolutions at low resolution, one pixel-shuffle, added to the nearest-enlarged input.

After Real-ESRGAN (Wang et al., 2021); pinned to basicsr's implementation by test.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sr_kernel.archs.layer import Conv, grow, input_gain, load_conv, shuffle_order, to_input, trim
from sr_kernel.archs.output import PartwiseOutput
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box

_TRIM_EVERY = 3
"""layers between two trims: each is a copy of 1 % of a layer's time and saves 1 to 2 % of the following ones"""


def srvgg_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every key of the state dict with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(spec.blocks + 1):
        shapes[f"body.{2 * index}.weight"] = (spec.features, 3 if index == 0 else spec.features, 3, 3)
        shapes[f"body.{2 * index}.bias"] = (spec.features,)
        shapes[f"body.{2 * index + 1}.weight"] = (spec.features,)
    last = f"body.{2 * spec.blocks + 2}"
    shapes[f"{last}.weight"] = (3 * spec.scale**2, spec.features, 3, 3)
    shapes[f"{last}.bias"] = (3 * spec.scale**2,)
    return shapes


class PReLU:
    """Parametric ReLU of (N, C, H, W), channels last; the bytes of `torch.prelu`.

    On a CPU torch goes through half precision channel by channel where these are no multiple of 64, many times as slow
    as through rows whose slopes are spelt out (288x288, one core of Zen 4: of 40 channels 5.2 ms, and 0.9; of 64 1.34,
    and 1.30). They are spelt out once, for the widest rows so far.
    """

    def __init__(self, slope: Tensor) -> None:
        """`slope` (C,)."""
        self.slope = slope
        self._spelt = slope

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype == torch.float32:
            return torch.prelu(x, self.slope)
        count, channels, height, width = x.shape
        if self._spelt.numel() < width * channels:
            self._spelt = self.slope.repeat(width)
        rows = x.permute(0, 2, 3, 1).reshape(count * height, width * channels)
        made = torch.prelu(rows, self._spelt[: width * channels])
        return made.view(count, height, width, channels).permute(0, 3, 1, 2)


class SRVGGNetCompact:
    """The network with fixed weights, in one precision on one device."""

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor, *, trimmed: bool) -> None:
        """`state` as `srvgg_shapes` says; `like` gives device and precision; `trimmed` cuts the halo on the way."""
        self.scale = spec.scale
        self._dtype = like.dtype
        self._trimmed = trimmed
        gains = [input_gain(like.dtype)] + [1.0] * spec.blocks
        self._convs = [load_conv(state, f"body.{2 * i}", like, gain) for i, gain in enumerate(gains)]
        slopes = [state[f"body.{2 * i + 1}.weight"].to(like.device, like.dtype) for i in range(spec.blocks + 1)]
        self._prelus = [PReLU(slope) for slope in slopes]
        last = load_conv(state, f"body.{2 * spec.blocks + 2}", like)
        order = torch.tensor(shuffle_order(spec.scale), device=like.device)
        self._repeat = torch.eye(3).repeat(1, spec.scale**2)
        self._last = Conv(last.weight[order].contiguous(memory_format=torch.channels_last), last.bias[order])

    def __call__(self, x: Tensor, keep: Box) -> Tensor:
        """The part `keep` of a window, enlarged.

        x (N, 3, H, W), fp32, 0..1, channels last; keep in pixels of the window. Returns (N, h * scale, w * scale, 3)
        in fp32, about 0..1, not clamped, where w x h is the size of keep.
        """
        return self.output(x, keep).whole()

    def output(self, x: Tensor, keep: Box) -> PartwiseOutput:
        """As calling the network, which is done but for enlarging what is asked of the output."""
        height, width = x.shape[-2:]
        area = Box(x0=0, y0=0, x1=width, y1=height)
        hidden = to_input(x, self._dtype)
        for index, (conv, prelu) in enumerate(zip(self._convs, self._prelus, strict=True)):
            if self._trimmed and index % _TRIM_EVERY == 0:
                wanted = grow(keep, len(self._convs) + 1 - index, width, height)
                hidden, area = trim(hidden, area, wanted), wanted
            hidden = prelu(conv(hidden))
        if self._trimmed:
            wanted = grow(keep, 1, width, height)
            hidden, area = trim(hidden, area, wanted), wanted
        residual = trim(self._last(hidden), area, keep)
        return PartwiseOutput(residual, trim(x, Box(x0=0, y0=0, x1=width, y1=height), keep), self._enlarge)

    def _enlarge(self, residual: Tensor, x: Tensor) -> Tensor:
        """Pixel-shuffle of the residual plus nearest-enlarged input, in fp32 so that no level of the input is lost."""
        count, _, height, width = x.shape
        scale = self.scale
        own = torch.contiguous_format
        levels = residual.permute(0, 2, 3, 1).to(torch.float32, copy=True, memory_format=own)
        self._add_nearest(levels.view(-1, 3 * scale**2), x.permute(0, 2, 3, 1).reshape(-1, 3))
        runs = levels.view(count, height, width, scale, scale * 3)
        return runs.transpose(2, 3).reshape(count, height * scale, width * scale, 3)

    def _add_nearest(self, levels: Tensor, source: Tensor) -> None:
        """Adds to the samples (n, scale * scale * 3) of pixels what each had before (n, 3), which is finite.

        On a CPU as a product with ones and zeros, which takes half the time of copies that are added: whatever its
        order, a sum of two samples and zeros is rounded once.
        """
        if source.device.type == "cpu":
            levels.addmm_(source, self._repeat)
        else:
            levels.view(-1, self.scale**2, 3).add_(source[:, None])
