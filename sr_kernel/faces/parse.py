"""What of a restored face is pasted: the parts that facexlib's ParseNet names a face, softened."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_kernel.faces.restore import Levels, in_batches

cv2: Any = import_module("cv2")

_PASTED = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0], dtype=np.float64) * 255
"""of the classes of CelebAMask-HQ: not background, neck lace, and what is behind; FaceRestoreHelper's MASK_COLORMAP"""
_BLUR_PX, _SIGMA_PX = 101, 11
_BORDER_PX = 10
"""nothing of the square's edge is pasted"""


class Parser:
    """Holds facexlib's ParseNet. Not thread-safe: one thread calls it."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self._device = device

    def classes(self, faces: Sequence[Levels], *, batch: int) -> list[NDArray[np.uint8]]:
        """The class of every pixel of each restored face, (512, 512)."""
        return in_batches(faces, batch, self._device, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._network(x)[0]
        return out.argmax(dim=1).to(torch.uint8)


def soft_mask(classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of each pixel of a face is pasted, (512, 512), 0..1. Callable from any thread."""
    mask = _PASTED[classes]
    for _ in range(2):
        mask = cv2.GaussianBlur(mask, (_BLUR_PX, _BLUR_PX), _SIGMA_PX)
    inner = slice(_BORDER_PX, -_BORDER_PX)
    framed = np.zeros_like(mask)
    framed[inner, inner] = mask[inner, inner]
    return framed / 255.0
