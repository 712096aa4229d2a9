"""Linear light: the curve of stored samples undone before resampling and done again after it.

The curve is sRGB's, IEC 61966-2-1: x / 12.92 up to 0.04045, above it ((x + 0.055) / 1.055) ** 2.4, and back. It is
looked up in a table and interpolated, not computed by `pow`: what fills one of torch's vectors and what does not get
powers that differ in their last bit, so bytes would depend on how a picture is cut. Products and sums do not differ.

Against powers of double precision the tables are off by less than 6e-7 of the whole range (at the corner of the curve),
a thirteenth of what rounding to 16 bits may move a sample. Both directions are monotone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEPS = 1 << 16
_TOE_GAMMA, _TOE_LINEAR = 0.04045, 0.0031308


class Light:
    """The two directions of the curve on one device; samples are float32 of 0..1, what lies beyond is clamped.

    NaN stays NaN: whoever must not publish it looks before.
    """

    def __init__(self, device: torch.device) -> None:
        places = np.arange(_STEPS + 1, dtype=np.float64) / _STEPS
        self._linear = _table(linear_of(places), device)
        self._gamma = _table(gamma_of(places), device)

    def to_linear(self, samples: Tensor) -> Tensor:
        """Samples as stored in linear light, of the same shape, contiguous."""
        return self._linear.at(samples)

    def to_gamma(self, samples: Tensor) -> Tensor:
        """Samples of linear light as they are stored, of the same shape, contiguous."""
        return self._gamma.at(samples)


def linear_of(stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1, from stored samples 0..1 to linear light."""
    return np.where(stored <= _TOE_GAMMA, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def gamma_of(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1, from linear light 0..1 to stored samples."""
    return np.where(linear <= _TOE_LINEAR, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    values: Tensor
    """float32 [steps]: the curve where each step begins"""
    rises: Tensor
    """float32 [steps]: how far it climbs within the step"""

    def at(self, samples: Tensor) -> Tensor:
        places = samples.to(torch.float32).clamp(0, 1).mul_(_STEPS).contiguous()
        steps = places.to(torch.int32).clamp_(
            0, _STEPS - 1
        )  # NaN becomes whatever integer: a place in the table all the same
        flat = steps.view(-1)
        rises = self.rises.index_select(0, flat).view(places.shape)
        return places.sub_(steps).mul_(rises).add_(self.values.index_select(0, flat).view(places.shape))


def _table(values: NDArray[np.float64], device: torch.device) -> _Table:
    made = values.astype(np.float32)
    tensors = torch.from_numpy(made[:-1].copy()), torch.from_numpy(np.diff(made))
    if device.type == "cuda":  # from memory that is not pinned a copy waits for all work before it
        tensors = tensors[0].pin_memory(), tensors[1].pin_memory()
    return _Table(
        values=tensors[0].to(device, non_blocking=True),
        rises=tensors[1].to(device, non_blocking=True),
    )
