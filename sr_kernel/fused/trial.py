"""A convolution of each sort in the fused kernels beside torch's: what a compiler or a driver breaks shows."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.fused.layer import FusedConv, FusedDoubling, Residual
from sr_kernel.fused.plane import Extent, Plane

TOLERANCE = 0.02
"""of outputs of up to about 5: half precision rounds them by 0.002"""
_BF16_ROUNDS = 8
"""times as much"""
_EXTENT = Extent(count=2, height=9, width=150)
"""two images, each of three blocks of pixels to a row, the third of which is not full"""
_TWICE = Extent(count=2, height=18, width=300)
_FEATURES, _GROWN, _HALF, _COLOURS, _INPUTS = 64, 128, 32, 8, 3


def worst_difference(device: torch.device) -> float:
    """Between outputs of the fused kernels and of torch on the CPU, for layers as networks have them; may be NaN.

    Raises whatever a compiler or a driver raises.
    """
    with torch.inference_mode(), torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        half = _Trial(device, torch.float16)
        found = [half.activated(), half.entered(), half.doubled(), half.coloured(), half.closed()]
        found.append(_Trial(device, torch.bfloat16).activated() / _BF16_ROUNDS)
    return float(torch.stack(found).max())  # of a NaN and a number the NaN


class _Trial:
    """Layers of random weights in one precision; each gives the largest difference."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._device, self._dtype = device, dtype

    def _drawn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random).to(self._device, self._dtype)

    def _plane(self, channels: int, extent: Extent = _EXTENT) -> Plane:
        made = Plane.zeros(extent, channels, torch.empty(0, dtype=self._dtype, device=self._device))
        made.images[:] = self._drawn(extent.count, extent.height, extent.width, channels)
        return made

    def _weights(self, out: int, into: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, bias and slope."""
        weight = self._drawn(out, into, 3, 3) / (9 * into) ** 0.5
        return weight, self._drawn(out) / 4, self._drawn(out).abs() / 4

    def activated(self) -> Tensor:
        x, out, (weight, bias, slope) = (
            self._plane(_FEATURES),
            self._plane(_FEATURES),
            self._weights(_FEATURES, _FEATURES),
        )
        FusedConv(weight, bias, slope)(x, out)
        return _worst(out, 0, _sloped(_convolved(_pixels(x), weight, bias), slope))

    def entered(self) -> Tensor:
        """What comes in has few channels; the others hold what was there before."""
        x, out, (weight, bias, _) = self._plane(_FEATURES), self._plane(_FEATURES), self._weights(_FEATURES, _INPUTS)
        x.images[..., _INPUTS:] = float("nan")
        x.fill(x.images[..., :_INPUTS].clone())
        FusedConv(weight, bias, None)(x, out)
        return _worst(out, 0, _convolved(_pixels(x)[..., :_INPUTS], weight, bias))

    def doubled(self) -> Tensor:
        x, out = self._plane(_FEATURES), self._plane(_FEATURES, _TWICE)
        weight, bias, slope = self._weights(_FEATURES, _FEATURES)
        FusedDoubling(weight, bias, slope)(x, out)
        twice = _pixels(x).repeat_interleave(2, 1).repeat_interleave(2, 2)
        return _worst(out, 0, _sloped(_convolved(twice, weight, bias), slope))

    def coloured(self) -> Tensor:
        x, out, (weight, bias, _) = self._plane(_FEATURES), self._plane(_COLOURS), self._weights(_COLOURS, _FEATURES)
        FusedConv(weight, bias, None)(x, out)
        return _worst(out, 0, _convolved(_pixels(x), weight, bias))

    def closed(self) -> Tensor:
        """Of two planes, with two residuals, into half of the channels."""
        x, base, grown, out = (self._plane(count) for count in (_FEATURES, _FEATURES, _GROWN, _FEATURES))
        weight, bias, _ = self._weights(_HALF, _FEATURES + _GROWN)
        conv = FusedConv(weight, bias, None, extra=_GROWN)
        conv(x, out, extra=grown, at=_HALF, residual=Residual(plane=x, alpha=0.2, base=base))
        made = _convolved(torch.cat([_pixels(x), _pixels(grown)], dim=3), weight, bias)
        inner = _pixels(x)[..., _HALF:] + 0.2 * made
        return _worst(out, _HALF, _pixels(base)[..., _HALF:] + 0.2 * inner)


def _pixels(plane: Plane) -> Tensor:
    return plane.images.float().cpu()


def _convolved(pixels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(count, height, width, out) in fp32 by the CPU."""
    made = F.conv2d(pixels.permute(0, 3, 1, 2), weight.float().cpu(), bias.float().cpu(), padding=1)
    return made.permute(0, 2, 3, 1)


def _sloped(made: Tensor, slope: Tensor) -> Tensor:
    return torch.where(made >= 0, made, made * slope.float().cpu())


def _worst(out: Plane, at: int, expected: Tensor) -> Tensor:
    return (_pixels(out)[..., at : at + expected.shape[3]] - expected).abs().max()
