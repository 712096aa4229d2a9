"""Convolutions fed from top to bottom, so that what lies between layers fits into a processor's cache.

Same bytes as on the whole picture, and nothing is computed twice: each layer keeps the last two rows it has seen. What
feeds one writes right into what it reads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sr_kernel.archs.layer import Conv

_REACH = 2
"""rows above the next one that a 3x3 convolution still reads"""


class StreamedConv:
    """A convolution over one picture whose rows arrive in bands."""

    def __init__(self, conv: Conv) -> None:
        self._conv = conv
        self._seen: Tensor | None = None

    def __call__(self, like: Tensor, size: tuple[int, int], fill: Callable[[Tensor], object], *, last: bool) -> Tensor:
        """All rows of the result that are known now.

        `fill` writes the next rows (N, C, h, W), two or more at first, into what it is given; N and C are those of
        `like`, `size` is (h, W). `last` where no further ones come. Returns (N, out, h', W) where h' is h, one less for
        the first band, and one more for the last.
        """
        above = 1 if self._seen is None else _REACH
        (count, channels), (height, width) = like.shape[:2], size
        shape = (count, channels, above + height + last, width)
        band = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
        if self._seen is None:
            band[:, :, 0].zero_()
        else:
            band[:, :, :above].copy_(self._seen)
        fill(band[:, :, above : above + height])
        if last:
            band[:, :, -1].zero_()
        self._seen = band[:, :, -_REACH:].clone(memory_format=torch.channels_last)
        return self._conv(band, padding=(0, 1))


def enlarged_into(rows: Tensor, out: Tensor) -> None:
    """Nearest x2 of (N, C, h, W)."""
    torch.ops.aten.upsample_nearest2d.out(rows, list(out.shape[2:]), out=out)


def leaky_into(rows: Tensor, slope: float, out: Tensor) -> None:
    """Leaky ReLU."""
    torch.ops.aten.leaky_relu.out(rows, slope, out=out)
