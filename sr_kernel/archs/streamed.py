"""Convolutions fed from top to bottom, so that what lies between layers fits into a processor's cache.

Same bytes as on the whole picture, and nothing is computed twice: each layer keeps the last two rows it has seen.
"""

from __future__ import annotations

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

    def __call__(self, rows: Tensor, *, last: bool) -> Tensor:
        """All rows of the result that are known now.

        rows (N, C, h, W), the next of the picture, two or more at first; `last` where no further ones come. Returns
        (N, out, h', W) where h' is h, one less for the first band, and one more for the last.
        """
        outside = torch.zeros_like(rows[:, :, :1], memory_format=torch.channels_last)
        parts = [outside if self._seen is None else self._seen, rows, *([outside] if last else [])]
        band = torch.cat(parts, dim=2)
        self._seen = band[:, :, -_REACH:].clone(memory_format=torch.channels_last)
        return self._conv(band, padding=(0, 1))
