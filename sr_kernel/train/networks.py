"""The networks with gradients: the same keys and arithmetic as the released ones, initialised as upstream's.

`sr_kernel.archs` writes into shared buffers and fixes its weights, so it cannot serve here. Tests hold both to basicsr.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from sr_kernel.archs.rrdb import RESIDUAL, SLOPE
from sr_kernel.degrade.ops import resize_to
from sr_kernel.train.plan import PIXEL_FEATURES, NetworkPlan

_LAYERS_AT_ONCE = 4
"""of SRVGGNetCompact that are computed anew together"""
_INIT_SHARE = 0.1
"""of Kaiming's deviation, in dense blocks (ESRGAN) and in hidden layers of a network that begins as bicubic"""
_FIRST_SLOPE = 0.25
"""of torch's PReLU"""


class RestoringNetwork(nn.Module):
    """(N, 3, H, W) in about 0..1 -> (N, 3, H * scale, W * scale)."""

    recompute: bool = False
    """whether blocks keep only their inputs for the backward pass"""

    def _block(self, block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not (self.recompute and self.training):
            return block(x)
        return checkpoint(block, x, use_reentrant=False)


def make_network(plan: NetworkPlan) -> RestoringNetwork:
    """The network of a plan with fresh weights, drawn from torch's global generator."""
    return TrainedRRDB(plan) if plan.kind == "rrdb" else TrainedSRVGG(plan)


def weight_shapes(plan: NetworkPlan) -> dict[str, torch.Size]:
    """Of the network of a plan, by name."""
    with torch.device("meta"):
        network = make_network(replace(plan, init="upstream"))
    return {name: one.shape for name, one in network.state_dict().items()}


class TrainedSRVGG(RestoringNetwork):
    """SRVGGNetCompact with PReLU."""

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.scale = plan.scale
        layers: list[nn.Module] = []
        for into in (3, *[plan.features] * plan.blocks):
            layers += [nn.Conv2d(into, plan.features, 3, 1, 1), nn.PReLU(plan.features)]
        layers.append(nn.Conv2d(plan.features, 3 * plan.scale**2, 3, 1, 1))
        self.body = nn.ModuleList(layers)
        if plan.init == "bicubic":
            self._begin_as_bicubic()

    def _begin_as_bicubic(self) -> None:
        """The first features are the nine pixels around each one, hidden layers hand them on, the last sums them up.

        Pixels are not negative, so activations leave them as they are. What other features say counts nothing at first.
        """
        convs = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=_FIRST_SLOPE)
            nn.init.zeros_(cast(Tensor, conv.bias))
        with torch.no_grad():
            convs[0].weight[:PIXEL_FEATURES] = _pixels_around()
            for conv in convs[1:-1]:
                conv.weight.mul_(_INIT_SHARE)
                conv.weight[:PIXEL_FEATURES] = 0
                conv.weight += nn.init.dirac_(torch.empty_like(conv.weight))
            convs[-1].weight.zero_()
            convs[-1].weight[:, :PIXEL_FEATURES] = _bicubic_less_nearest(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        for start in range(0, len(self.body), 2 * _LAYERS_AT_ONCE):
            layers = self.body[start : start + 2 * _LAYERS_AT_ONCE]
            hidden = self._block(lambda h, layers=layers: _run(layers, h), hidden)
        return F.pixel_shuffle(hidden, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def _pixels_around() -> Tensor:
    """(27, 3, 3, 3): weights whose output channel 9 c + 3 y + x is colour c of the pixel at (y - 1, x - 1) around."""
    return torch.eye(PIXEL_FEATURES).reshape(PIXEL_FEATURES, 3, 3, 3)


def _bicubic_less_nearest(scale: int) -> Tensor:
    """(3 scale^2, 27, 3, 3): of `_pixels_around`, bicubic (a = -0.5) less nearest, before the shuffle."""
    side, middle = 5 * scale, slice(2 * scale, 3 * scale)
    planes = resize_to(torch.eye(25).reshape(5, 5, 5, 5), side, side, "matlab")[..., middle, middle]
    planes[2, 2] -= 1
    # A pixel at 0..4 of five in a row is reached by one way alone: the feature that says it, and where that is read.
    ways = torch.zeros(5, 3, 3)
    ways[range(5), (0, 1, 1, 1, 2), (0, 0, 1, 2, 2)] = 1
    weights = torch.einsum("cd,ijyx,iap,jbq->cyxdabpq", torch.eye(3), planes, ways, ways)
    return weights.reshape(3 * scale**2, PIXEL_FEATURES, 3, 3)


def _run(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class _DenseBlock(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(5):
            out = growth if index < 4 else features
            conv = nn.Conv2d(features + index * growth, out, 3, 1, 1)
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(cast(Tensor, conv.bias))
            with torch.no_grad():
                conv.weight.mul_(_INIT_SHARE)
            self.add_module(f"conv{index + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for conv in list(self.children())[:-1]:
            parts.append(F.leaky_relu(conv(torch.cat(parts, 1)), SLOPE))
        last = list(self.children())[-1]
        return last(torch.cat(parts, 1)) * RESIDUAL + x


class _RRDB(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * RESIDUAL + x


class TrainedRRDB(RestoringNetwork):
    """RRDBNet; x2 and x1 turn pixel blocks into channels first."""

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        features = plan.features
        self._unshuffled = plan.align_px
        self.conv_first = nn.Conv2d(3 * self._unshuffled**2, features, 3, 1, 1)
        self.body = nn.ModuleList(_RRDB(features, plan.growth) for _ in range(plan.blocks))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            self.add_module(name, nn.Conv2d(features, features, 3, 1, 1))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Sides must be multiples of 4 / scale."""
        first = self.conv_first(F.pixel_unshuffle(x, self._unshuffled) if self._unshuffled > 1 else x)
        hidden = first
        for block in self.body:
            hidden = self._block(block, hidden)
        hidden = first + self.get_submodule("conv_body")(hidden)
        for name in ("conv_up1", "conv_up2"):
            hidden = F.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = F.leaky_relu(self.get_submodule(name)(hidden), SLOPE)
        return self.conv_last(F.leaky_relu(self.get_submodule("conv_hr")(hidden), SLOPE))
