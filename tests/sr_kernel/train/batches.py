"""Small plans, pairs and weights for the tests of training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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
