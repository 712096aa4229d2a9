"""JPEG of a quality of each picture's own: as arithmetic on any device, or through the bytes of a real codec.

The arithmetic is basicsr's DiffJPEG with hard rounding (after github.com/mlomnitz/DiffJPEG): 4:2:0, tables scaled by
the quality, a luma table that is the standard's transposed, pixels and coefficients not rounded to 8 bits. It differs
above a quality of 95, where the reference's steps fall below 1 and those of encoders do not, and where the reference
pads a picture to whole blocks with black, which rings into the last pixels: here the border pixel is repeated, as
encoders do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Codec = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""takes an RGB picture, uint8 HWC, and a quality of 1..100 through JPEG bytes and back, same shape"""

_UNIT_PX = 16
"""side of what 4:2:0 codes together: two by two blocks of luma"""


def _chroma_table() -> Tensor:
    """T.81, table K.2."""
    table = torch.full((8, 8), 99.0)
    table[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
    return table


def _cosines() -> Tensor:
    """The orthonormal two-dimensional cosine transform of 8 x 8 pixels, [64 frequencies, 64 pixels]."""
    axis = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * axis[None, :] + 1) * axis[:, None] * torch.pi / 16) * 0.5
    basis[0] /= 2**0.5
    return torch.kron(basis, basis).to(torch.float32)


_LUMA_TABLE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
).T
"""T.81, table K.1, transposed as the reference has it"""
_CHROMA_TABLE = _chroma_table()
_COSINES = _cosines()
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


def jpeg_by_arithmetic(pictures: Tensor, qualities: Sequence[float]) -> Tensor:
    """Pictures [N, 3, H, W] in 0..1 as JPEG of a quality each (1..100, any number) would show them, in 0..1."""
    count, _, height, width = pictures.shape
    if len(qualities) != count:
        raise ValueError(f"{count} pictures and {len(qualities)} qualities")
    factors = torch.tensor([_table_factor(quality) for quality in qualities], device=pictures.device)
    padded = F.pad(pictures, (0, -width % _UNIT_PX, 0, -height % _UNIT_PX), mode="replicate")
    luma, chroma = _to_ycc(padded * 255.0)
    luma = _round_trip(luma, _LUMA_TABLE, factors)
    chroma = _round_trip(chroma, _CHROMA_TABLE, factors)
    return _to_rgb(luma, chroma)[..., :height, :width].clamp(0, 255) / 255.0


def jpeg_by_codec(pictures: Tensor, qualities: Sequence[float], codec: Codec) -> Tensor:
    """Pictures [N, 3, H, W] in 0..1 rounded to 8 bits and taken through real JPEG bytes, in 0..1 on their device.

    A codec knows whole qualities only: the nearest one is asked for.
    """
    levels = (pictures * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()
    seen = cast("NDArray[np.uint8]", levels.numpy())
    shown = [codec(np.ascontiguousarray(one), round(quality)) for one, quality in zip(seen, qualities, strict=True)]
    made = torch.from_numpy(np.stack(shown)).to(pictures.device)
    return made.permute(0, 3, 1, 2).to(torch.float32).div_(255.0).contiguous()


def _table_factor(quality: float) -> float:
    """What the tables are multiplied by (libjpeg's rule, not rounded)."""
    return (5000.0 / quality if quality < 50 else 200.0 - 2 * quality) / 100.0


def _to_ycc(levels: Tensor) -> tuple[Tensor, Tensor]:
    """RGB levels as luma [N, 1, H, W] and the mean of chroma over two by two pixels [N, 2, H / 2, W / 2], about 0."""
    mixed = torch.einsum("yc,nchw->nyhw", _TO_YCC.to(levels.device), levels)
    return mixed[:, :1] - 128.0, F.avg_pool2d(mixed[:, 1:], 2)


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    wide = chroma.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    mixed = torch.cat([luma + 128.0, wide], dim=1)
    return torch.einsum("cy,nyhw->nchw", _TO_RGB.to(luma.device), mixed)


def _round_trip(planes: Tensor, table: Tensor, factors: Tensor) -> Tensor:
    """Planes [N, C, H, W] about 0 through the rounded cosine coefficients of their 8 x 8 blocks."""
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(count, -1, 64)
    basis = _COSINES.to(planes.device)
    # No encoder has steps below 1; the reference's are 0 at a quality of 100, and its picture is NaN.
    steps = (table.to(planes.device).reshape(1, 1, 64) * factors.view(-1, 1, 1)).clamp_(min=1)
    rounded = (blocks @ basis.T).div_(steps).round_().mul_(steps)
    shown = (rounded @ basis).view(count, channels, height // 8, width // 8, 8, 8)
    return shown.transpose(3, 4).reshape(planes.shape)
