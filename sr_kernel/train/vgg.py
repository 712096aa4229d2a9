"""Features of VGG19 (Simonyan and Zisserman, 2014) before their activation, from torchvision's weight file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_kernel.train.plan import VGG_LAYERS

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""of ImageNet, RGB"""
_WIDTHS = (64, 128, 256, 512, 512)
"""channels, block by block"""


def vgg_shapes(deepest: str = VGG_LAYERS[-1]) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the convolutions up to `deepest`, as torchvision's file names them."""
    shapes: dict[str, tuple[int, ...]] = {}
    place, into, block = 0, 3, 1
    for name in VGG_LAYERS[: VGG_LAYERS.index(deepest) + 1]:
        if int(name[4]) != block:
            place, block = place + 1, block + 1  # the pooling between two blocks
        out = _WIDTHS[block - 1]
        shapes |= {f"features.{place}.weight": (out, into, 3, 3), f"features.{place}.bias": (out,)}
        place, into = place + 2, out  # the activation behind it
    return shapes


class VggFeatures(nn.Module):
    """Chosen convolutions of VGG19 with fixed weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor], layers: Sequence[str]) -> None:
        """`state` holds at least what `vgg_shapes` says up to the deepest of the layers.

        Raises ValueError for other weights.
        """
        super().__init__()
        deepest = max(layers, key=VGG_LAYERS.index)
        shapes = vgg_shapes(deepest)
        for key, shape in shapes.items():
            if key not in state or tuple(state[key].shape) != shape:
                found = tuple(state[key].shape) if key in state else "missing"
                raise ValueError(f"weights of VGG19: {key} is {found}, not {shape}; give torchvision's vgg19 file")
        self._wanted = tuple(layers)
        self._names = VGG_LAYERS[: VGG_LAYERS.index(deepest) + 1]
        self.convs = nn.ModuleList()
        weights = [key for key in shapes if key.endswith(".weight")]
        for key in weights:
            conv = nn.Conv2d(shapes[key][1], shapes[key][0], 3, 1, 1)
            conv.load_state_dict({"weight": state[key], "bias": state[key.replace("weight", "bias")]})
            self.convs.append(conv)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x (N, 3, H, W) in 0..1, RGB; sides of at least 16 where conv5 is among the layers."""
        hidden, found, block = (x - self.mean) / self.std, dict[str, Tensor](), "1"
        for name, conv in zip(self._names, self.convs, strict=True):
            if name[4] != block:
                hidden, block = F.max_pool2d(hidden, 2), name[4]
            hidden = conv(hidden)
            if name in self._wanted:
                found[name] = hidden
            hidden = F.relu(hidden)
        return found
