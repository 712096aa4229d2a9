"""LPIPS 0.1 on AlexNet (Zhang et al., 2018): how different two pictures look, as its authors' package computes it.

What its layers count comes with that package, AlexNet's weights from torchvision's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_kernel.train.score import Pixels

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""of pictures in -1..1, RGB"""
_TINY = 1e-10
LEAST_PX = 31
"""side of a picture of which the last layer sees something"""


class _Conv(NamedTuple):
    """A convolution of AlexNet, an activation behind it."""

    place: int
    """in torchvision's file"""
    into: int
    out: int
    side: int
    stride: int
    padding: int
    pooled: bool
    """whether what it takes is halved before"""


_CONVS = (
    _Conv(0, 3, 64, 11, 4, 2, pooled=False),
    _Conv(3, 64, 192, 5, 1, 2, pooled=True),
    _Conv(6, 192, 384, 3, 1, 1, pooled=True),
    _Conv(8, 384, 256, 3, 1, 1, pooled=False),
    _Conv(10, 256, 256, 3, 1, 1, pooled=False),
)


def alexnet_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of AlexNet's convolutions, as torchvision's file names them."""
    weights = {f"features.{one.place}.weight": (one.out, one.into, one.side, one.side) for one in _CONVS}
    return {**weights, **{f"features.{one.place}.bias": (one.out,) for one in _CONVS}}


def linear_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of what the channels of each layer count, as the package's file names them."""
    return {f"lin{number}.model.1.weight": (1, one.out, 1, 1) for number, one in enumerate(_CONVS)}


class Lpips(nn.Module):
    """The measure with fixed weights."""

    shift: Tensor
    scale: Tensor

    def __init__(self, alexnet: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        """Both hold at least what `alexnet_shapes` and `linear_shapes` say. Raises ValueError for other weights."""
        super().__init__()
        _check(alexnet, alexnet_shapes(), "AlexNet", "torchvision's alexnet file")
        _check(linear, linear_shapes(), "LPIPS", "weights/v0.1/alex.pth of the package lpips")
        self.convs, self.linear = nn.ModuleList(), nn.ModuleList()
        for number, one in enumerate(_CONVS):
            conv = nn.Conv2d(one.into, one.out, one.side, one.stride, one.padding)
            conv.load_state_dict({name: alexnet[f"features.{one.place}.{name}"] for name in ("weight", "bias")})
            self.convs.append(conv)
            counts = nn.Conv2d(one.out, 1, 1, bias=False)
            counts.load_state_dict({"weight": linear[f"lin{number}.model.1.weight"]})
            self.linear.append(counts)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, made: Tensor, good: Tensor) -> Tensor:
        """Distances (N,) of pictures (N, 3, H, W) in -1..1, RGB, with sides of at least LEAST_PX; 0 for equal ones."""
        pairs = zip(self._layers(made), self._layers(good), self.linear, strict=True)
        parts = [counts((one - other) ** 2).mean((1, 2, 3)) for one, other, counts in pairs]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def distance(self, made: Pixels, good: Pixels) -> float | None:
        """Of two pictures HWC of one size; None where they are too small for it."""
        if min(made.shape[:2]) < LEAST_PX:
            return None
        return float(self(_signed(made), _signed(good)))

    def _layers(self, pictures: Tensor) -> list[Tensor]:
        """Features behind each activation, of length 1 over the channels of a place."""
        hidden, found = (pictures - self.shift) / self.scale, list[Tensor]()
        for one, conv in zip(_CONVS, self.convs, strict=True):
            hidden = F.relu(conv(F.max_pool2d(hidden, 3, 2) if one.pooled else hidden))
            found.append(hidden / (hidden.square().sum(1, keepdim=True).sqrt() + _TINY))
        return found


def _signed(picture: Pixels) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


def _check(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], what: str, file: str) -> None:
    for key, shape in shapes.items():
        found = tuple(state[key].shape) if key in state else "missing"
        if found != shape:
            raise ValueError(f"weights of {what}: {key} is {found}, not {shape}; give {file}")
