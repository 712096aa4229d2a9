"""Aligned faces through GFPGAN, in fp32: levels in, levels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_kernel.backend import DeviceMemoryError, memory_errors

Levels = NDArray[Any]
"""(512, 512, 3) RGB, uint8 or float32, 0..255"""


def to_inputs(faces: Sequence[Levels], device: torch.device) -> Tensor:
    """(N, 3, 512, 512), -1..1."""
    unit = np.stack([(face / 255.0).astype(np.float32) for face in faces])
    x = torch.from_numpy(unit).to(device).permute(0, 3, 1, 2).contiguous()
    return x.sub_(0.5).div_(0.5)


def in_batches(
    faces: Sequence[Levels], batch: int, device: torch.device, forward: Callable[[Tensor], Tensor]
) -> list[NDArray[Any]]:
    """What `forward` makes of each face's input, in order, on the CPU.

    `batch` of them share a forward pass; on a GPU a short batch is filled up, so that bytes depend on no batch. Out of
    memory the batch is halved. Raises DeviceMemoryError.
    """
    made: list[NDArray[Any]] = []
    while len(made) < len(faces):
        part = faces[len(made) : len(made) + batch]
        filled = [*part, *[part[-1]] * (batch - len(part))] if device.type == "cuda" else part
        try:
            with memory_errors(), torch.inference_mode():
                out: NDArray[Any] = forward(to_inputs(filled, device))[: len(part)].cpu().numpy()  # pyright: ignore
        except DeviceMemoryError:
            if batch == 1:
                raise
            batch //= 2
        else:
            made += list(out)
    return made


class Generator:
    """Holds GFPGAN. Not thread-safe: one thread calls it."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self._device = device

    def restore(self, faces: Sequence[Levels], *, batch: int) -> list[NDArray[np.float32]]:
        """Restored faces (512, 512, 3), levels 0..255, not rounded; what is not finite is returned as it is."""
        return in_batches(faces, batch, self._device, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        # Upstream draws noise anew in every layer; the weight file has noise of its own.
        out: Tensor = self._network(x, return_rgb=False, randomize_noise=False)[0]
        # What is infinite must be seen to be: clamped it would be a white or a black face.
        out = torch.where(torch.isfinite(out), out, torch.nan)
        return out.clamp(-1, 1).sub_(-1).div_(2).mul_(255).permute(0, 2, 3, 1).contiguous()  # NaN stays NaN
