"""What the networks are made of: 3x3 convolutions on channels-last tensors, and the trimming of context.

Trimming: a window is read with a halo, of which each layer uses up one pixel. What can no longer reach a kept pixel
is cut off on the way, so that the halo is paid for about half. It never changes a kept pixel: the part that stays
holds everything the remaining layers can see from one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.tiles import Box

LEVELS = 256 / 255
"""half-precision networks are fed level/256, which bf16 and fp16 hold exactly, instead of level/255"""

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


@dataclass(frozen=True, slots=True)
class Conv:
    """A 3x3 convolution, zero padded; weight (out, in, 3, 3), bias (out,).

    On a CPU oneDNN is called by name. `conv2d` leaves it for another kernel, which sums in another order, when there
    is one thread and an fp32 input of at most 20480 samples (ATen, Convolution.cpp, use_mkldnn): a small window would
    then differ in the last bit from the same pixels in a large one.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor, padding: tuple[int, int] = (1, 1)) -> Tensor:
        """x (N, in, H, W) with `padding` rows and columns of zeros around it, convolved."""
        if x.device.type == "cpu" and _HAS_ONEDNN:
            return torch.mkldnn_convolution(x, self.weight, self.bias, padding, (1, 1), (1, 1), 1)
        return F.conv2d(x, self.weight, self.bias, padding=padding)


def load_conv(state: Mapping[str, Tensor], name: str, like: Tensor, gain: float = 1.0) -> Conv:
    """The convolution `name` of a state dict, in the precision and on the device of `like`, weights times `gain`."""
    weight = (state[f"{name}.weight"].float() * gain).to(like.device, like.dtype)
    bias = state[f"{name}.bias"].to(like.device, like.dtype)
    return Conv(weight.contiguous(memory_format=torch.channels_last), bias)


def input_gain(dtype: torch.dtype) -> float:
    """What the first convolution's weights are multiplied by, see `to_input`."""
    return 1.0 if dtype == torch.float32 else LEVELS


def to_input(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Samples 0..1 in fp32 as the network's input.

    In half precision 8-bit levels enter without rounding error: level/256 has a short mantissa, level/255 has not.
    """
    return x if dtype == torch.float32 else (x / LEVELS).to(dtype)


def grow(box: Box, reach: int, width: int, height: int) -> Box:
    """`box` with `reach` more pixels on every side, inside width x height."""
    return Box(
        x0=max(box.x0 - reach, 0),
        y0=max(box.y0 - reach, 0),
        x1=min(box.x1 + reach, width),
        y1=min(box.y1 + reach, height),
    )


def trim(x: Tensor, area: Box, wanted: Box) -> Tensor:
    """The part `wanted` of a tensor (N, C, h, w) that covers `area`, both in the same coordinates, channels last."""
    if wanted == area:
        return x
    part = x[..., wanted.y0 - area.y0 : wanted.y1 - area.y0, wanted.x0 - area.x0 : wanted.x1 - area.x0]
    return part.contiguous(memory_format=torch.channels_last)


def shuffle_order(scale: int, colours: int = 3) -> list[int]:
    """Order of output channels that makes pixel-shuffle a move of runs of scale x colours neighbours.

    Pixel-shuffle takes channel c * scale^2 + dy * scale + dx to the sub-pixel (dy, dx) of colour c; here the channels
    lie as (dy, dx, c).
    """
    area = scale * scale
    return [c * area + sub for sub in range(area) for c in range(colours)]
