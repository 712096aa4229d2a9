"""Two convolutions in the fused kernels beside torch's: what a compiler, a driver or another Triton breaks shows."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.fused.layer import FusedConv, Residual
from sr_kernel.fused.plane import Extent, Plane

TOLERANCE = 0.02
"""of outputs of up to about 5: half precision rounds them by 0.002"""
_EXTENT = Extent(count=2, height=9, width=150)
"""two images, each of two blocks of pixels to a row, the second of which is not full"""
_FEATURES, _GROWN, _HALF = 64, 128, 32


def worst_difference(device: torch.device) -> float:
    """Between outputs of the fused kernels and of torch on the CPU, for layers as networks have them; may be NaN.

    Raises whatever a compiler, a driver or Triton raises.
    """
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(device, torch.float16)

    def plane(channels: int) -> Plane:
        made = Plane.zeros(_EXTENT, channels, torch.empty(0, dtype=torch.float16, device=device))
        made.images[:] = drawn(_EXTENT.count, _EXTENT.height, _EXTENT.width, channels)
        return made

    x, base, grown, out = plane(_FEATURES), plane(_FEATURES), plane(_GROWN), plane(_FEATURES)
    with torch.inference_mode(), torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        weight, bias = drawn(_FEATURES, _FEATURES, 3, 3) / 24, drawn(_FEATURES) / 4
        slope = drawn(_FEATURES).abs() / 4
        FusedConv(weight, bias, slope)(x, out)
        made = _convolved([x], weight, bias)
        first = _worst(out, 0, torch.where(made >= 0, made, made * slope.float().cpu()))
        weight, bias, at = drawn(_HALF, _FEATURES + _GROWN, 3, 3) / 42, drawn(_HALF) / 4, _HALF
        close = FusedConv(weight, bias, None, extra=_GROWN)
        close(x, out, extra=grown, at=at, residual=Residual(plane=x, alpha=0.2, base=base))
        inner = _pixels(x)[..., at:] + 0.2 * _convolved([x, grown], weight, bias)
        second = _worst(out, at, _pixels(base)[..., at:] + 0.2 * inner)
    return float(torch.stack([first, second]).max())  # of a NaN and a number the NaN


def _pixels(plane: Plane) -> Tensor:
    return plane.images.float().cpu()


def _convolved(planes: list[Plane], weight: Tensor, bias: Tensor) -> Tensor:
    """(count, height, width, out) in fp32 by the CPU."""
    x = torch.cat([_pixels(plane) for plane in planes], dim=3).permute(0, 3, 1, 2)
    return F.conv2d(x, weight.float().cpu(), bias.float().cpu(), padding=1).permute(0, 2, 3, 1)


def _worst(out: Plane, at: int, expected: Tensor) -> Tensor:
    return (_pixels(out)[..., at:] - expected).abs().max()
