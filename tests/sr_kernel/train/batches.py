"""Small plans, pairs and weights for the tests of training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.train.lpips import alexnet_shapes, linear_shapes
from sr_kernel.train.plan import NetworkPlan
from sr_kernel.train.stage import Batch
from sr_kernel.train.vgg import vgg_shapes

SRVGG = NetworkPlan(kind="srvgg", features=12, blocks=3)
RRDB = NetworkPlan(kind="rrdb", features=8, blocks=1, growth=4)


def pairs(count: int = 4, side: int = 64, seed: int = 0) -> Batch:
    """Good pictures of squares of three sizes that no pixel of the poor one is filled by, and means of 4 x 4 pixels."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.rand(count, 3, side // cell, side // cell, generator=generator) for cell in (16, 8, 4)]
    large = [F.interpolate(one, size=(side, side), mode="nearest") for one in layers]
    gt = torch.stack(large).mean(0).roll((2, 2), (2, 3))
    return Batch(gt=gt, lq=F.avg_pool2d(gt, 4))


def vgg_weights(seed: int = 0) -> dict[str, Tensor]:
    """Seeded weights of VGG19 that keep the signal's size from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(shape, generator=generator) * (2 / (9 * shape[1])) ** 0.5
        if len(shape) == 4
        else torch.zeros(shape)
        for key, shape in vgg_shapes().items()
    }


def lpips_weights(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Seeded weights of AlexNet's convolutions and of what LPIPS counts their channels, none of these below 0."""
    random = np.random.default_rng(seed)
    drawn = {key: random.standard_normal(shape, np.float32) for key, shape in alexnet_shapes().items()}
    sized = {key: one * (2 / one[0].size) ** 0.5 if one.ndim == 4 else one * 0.1 for key, one in drawn.items()}
    counts = {key: random.random(shape, np.float32) / 64 for key, shape in linear_shapes().items()}
    return {k: torch.from_numpy(v) for k, v in sized.items()}, {k: torch.from_numpy(v) for k, v in counts.items()}
