"""The discriminator of Real-ESRGAN: a U-Net with spectral norm, a verdict a pixel; keys as the released netD files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

_SLOPE = 0.2


class Discriminator(nn.Module):
    """(N, 3, H, W) in 0..1, sides multiples of 8 -> verdicts (N, 1, H, W), logits: above 0 means real."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        f = features
        self.conv0 = nn.Conv2d(3, f, 3, 1, 1)
        for index, (into, out) in enumerate(((f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f)), 1):
            self.add_module(f"conv{index}", _normed(nn.Conv2d(into, out, 4, 2, 1, bias=False)))
        for index, (into, out) in enumerate(((8 * f, 4 * f), (4 * f, 2 * f), (2 * f, f), (f, f), (f, f)), 4):
            self.add_module(f"conv{index}", _normed(nn.Conv2d(into, out, 3, 1, 1, bias=False)))
        self.conv9 = nn.Conv2d(f, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        downs = [F.leaky_relu(self.conv0(x), _SLOPE)]
        for index in (1, 2, 3):
            downs.append(self._layer(index, downs[-1]))
        hidden = downs.pop()
        for index in (4, 5, 6):
            hidden = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=False)
            hidden = self._layer(index, hidden) + downs.pop()
        for index in (7, 8):
            hidden = self._layer(index, hidden)
        return self.conv9(hidden)

    def _layer(self, index: int, x: Tensor) -> Tensor:
        return F.leaky_relu(self.get_submodule(f"conv{index}")(x), _SLOPE)


def _normed(conv: nn.Conv2d) -> nn.Module:
    """Its norm is estimated in fp32 whatever the network is computed in: under autocast a GPU would round what the
    estimate goes on from."""
    hooks = cast(Any, spectral_norm(conv))._forward_pre_hooks
    (key, estimate), *_ = hooks.items()
    hooks[key] = partial(_whole, estimate)
    return conv


def _whole(estimate: Callable[[nn.Module, tuple[Tensor]], None], conv: nn.Module, inputs: tuple[Tensor]) -> None:
    with torch.autocast(inputs[0].device.type, enabled=False):
        estimate(conv, inputs)
