"""Several workers as one: gradients, and losses that are said, become their mean over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn


def average_losses(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each over the default process group, in fp32; all workers have the same names in the same order."""
    if not losses:
        return {}
    flat = torch.stack([one.detach().float() for one in losses.values()])
    dist.all_reduce(flat)
    return dict(zip(losses, flat.div_(dist.get_world_size()).unbind(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Each gradient becomes the mean over the default process group, in one flat sum.

    With parts of equal size that is the gradient of the whole batch. Weights that began equal stay so, and what a
    network keeps beside them (spectral norm's vectors) does too, as it follows from weights alone. A gradient that is
    not there is left so; all workers lack the same ones.
    """
    found = [one.grad for one in parameters if one.grad is not None]
    flat = torch.cat([one.flatten() for one in found])
    dist.all_reduce(flat)
    flat.div_(dist.get_world_size())
    start = 0
    for grad in found:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad))
        start += grad.numel()
