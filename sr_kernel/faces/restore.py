"""Aligned faces through GFPGAN, in fp32: levels in, levels out."""

from __future__ import annotations

from collections.abc import Sequence
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


class Generator:
    """Holds GFPGAN. Not thread-safe: one thread calls it."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self._device = device

    def restore(self, faces: Sequence[Levels], *, batch: int) -> list[NDArray[np.float32]]:
        """Restored faces (512, 512, 3), levels 0..255, not rounded, in order.

        `batch` of them share a forward pass; on a GPU a short batch is filled up, so that bytes depend on no batch.
        Out of memory the batch is halved. Raises DeviceMemoryError. What is not finite is returned as it is.
        """
        made: list[NDArray[np.float32]] = []
        while len(made) < len(faces):
            part = faces[len(made) : len(made) + batch]
            try:
                made += self._forward(part, batch)
            except DeviceMemoryError:
                if batch == 1:
                    raise
                batch //= 2
        return made

    def _forward(self, faces: Sequence[Levels], batch: int) -> list[NDArray[np.float32]]:
        filled = [*faces, *[faces[-1]] * (batch - len(faces))] if self._device.type == "cuda" else faces
        with memory_errors(), torch.inference_mode():
            # Upstream draws noise anew in every layer; the weight file has noise of its own.
            out: Tensor = self._network(to_inputs(filled, self._device), return_rgb=False, randomize_noise=False)[0]
            levels = out[: len(faces)].clamp(-1, 1).sub_(-1).div_(2).mul_(255)  # NaN stays NaN
            made: NDArray[np.float32] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            return list(made)
