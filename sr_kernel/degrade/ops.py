"""Image operations of the degradation: blur, resize, sharpening, rounding. Pure, on any device, NCHW float32.

A batch holds pictures of one shape. Blur is a product in the frequency domain: its cost does not depend on the kernel
(4 ms for 3 x 400 x 400 on one core of Zen 4, where torch's grouped convolution takes 3 ms for a side of 7, 23 ms for
21 and 120 ms for the 51 of sharpening), and it is within 1e-6 of the direct sum for pictures in 0..1.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.degrade.kernels import usm_kernel
from sr_kernel.degrade.recipe import Usm

_FFT = cast(Any, torch.fft)  # it has no types
_FFT_PRIMES = (2, 3, 5, 7)
"""lengths of other factors are several times slower"""


def blur(pictures: Tensor, kernels: Tensor) -> Tensor:
    """Each picture of [N, C, H, W] correlated with its kernel of [N, k, k], or with one of [1, k, k]; k odd.

    The border is reflected, its pixel not repeated, as OpenCV's filter2D does; so H and W must be above k // 2.
    """
    side = kernels.shape[-1]
    if not side % 2 or side // 2 >= min(pictures.shape[-2:]):
        raise ValueError(f"a kernel of {side} px does not fit a picture of {tuple(pictures.shape[-2:])}")
    return _spread(pictures, _spectrum(kernels, pictures), side)


def resize_by(pictures: Tensor, factor: float, mode: str) -> Tensor:
    """Resized by a factor to floor(side x factor), with the factor itself as the step between samples."""
    if mode == "matlab":
        height, width = (int(side * factor) for side in pictures.shape[-2:])
        return _matlab(pictures, height, width)
    return F.interpolate(pictures, scale_factor=factor, mode=mode)


def resize_to(pictures: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Resized to a size, with the ratio of the sizes as the step between samples."""
    if mode == "matlab":
        return _matlab(pictures, height, width)
    return F.interpolate(pictures, size=(height, width), mode=mode)


def sharpen(pictures: Tensor, usm: Usm) -> Tensor:
    """Unsharp mask, blended in where a picture differs from its blur by more than the threshold. Stays in 0..1."""
    side = usm.side_px
    spectrum = _spectrum(usm_kernel(side).to(pictures.device)[None], pictures)
    residual = pictures - _spread(pictures, spectrum, side)
    mask = _spread((residual.abs() * 255 > usm.threshold).to(torch.float32), spectrum, side)
    sharp = (pictures + usm.weight * residual).clamp_(0, 1)
    return mask * sharp + (1 - mask) * pictures


def quantise(pictures: Tensor) -> Tensor:
    """Clamped and rounded to the 256 levels of 8 bits, still in 0..1."""
    return (pictures * 255.0).round_().clamp_(0, 255).div_(255.0)


def _spectrum(kernels: Tensor, pictures: Tensor) -> Tensor:
    """Kernels [N, k, k] in the frequency domain, as `_spread` wants them for pictures of this size."""
    shape = _fft_shape(pictures, kernels.shape[-1])
    return cast("Tensor", _FFT.rfft2(kernels.flip(-2, -1), s=shape))[:, None]


def _spread(pictures: Tensor, spectrum: Tensor, side: int) -> Tensor:
    """Pictures correlated with the kernels of that side whose spectrum is given."""
    padded, shape = F.pad(pictures, (side // 2,) * 4, mode="reflect"), _fft_shape(pictures, side)
    height, width = padded.shape[-2:]
    # What wraps around at the end lands in the first side - 1 rows and columns, which are no output.
    spread = cast("Tensor", _FFT.irfft2(_FFT.rfft2(padded, s=shape).mul_(spectrum), s=shape))
    return spread[..., side - 1 : height, side - 1 : width].contiguous()


def _fft_shape(pictures: Tensor, side: int) -> tuple[int, int]:
    """Of pictures with a rim of side // 2 pixels."""
    height, width = (length + 2 * (side // 2) for length in pictures.shape[-2:])
    return _fft_length(height), _fft_length(width)


def _fft_length(least: int) -> int:
    """The smallest even length from `least` on whose prime factors are all small."""
    length = least + least % 2
    while _rest(length) > 1:
        length += 2
    return length


def _rest(length: int) -> int:
    """What remains of a length when its small prime factors are divided out."""
    for prime in _FFT_PRIMES:
        while length % prime == 0:
            length //= prime
    return length


def _matlab(pictures: Tensor, height: int, width: int) -> Tensor:
    """MATLAB's imresize: bicubic (a = -0.5), widened when it makes the picture smaller, borders mirrored."""
    down = _matlab_weights(pictures.shape[-2], height).to(pictures)
    across = _matlab_weights(pictures.shape[-1], width).to(pictures)
    return down @ pictures @ across.T


def _matlab_weights(in_length: int, out_length: int) -> Tensor:
    """What each output sums of the input, float64 [out, in]; each row sums to 1."""
    scale = out_length / in_length
    stretch = max(1 / scale, 1.0)
    centre = (torch.arange(out_length, dtype=torch.float64) + 0.5) / scale - 0.5
    first = torch.floor(centre - 2 * stretch).long()
    taps = first[:, None] + torch.arange(math.ceil(4 * stretch) + 2)
    weights = _cubic((taps - centre[:, None]) / stretch)
    weights /= weights.sum(dim=1, keepdim=True)
    # Positions count on beyond the border as in a mirror: ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...
    folded = taps.remainder(2 * in_length)
    folded = torch.where(folded < in_length, folded, 2 * in_length - 1 - folded)
    return torch.zeros(out_length, in_length, dtype=torch.float64).scatter_add_(1, folded, weights)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5."""
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
