"""The exponential moving average of a network's weights: what is validated and exported."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

_TORCH = cast(Any, torch)  # its operations on lists have no types


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network, parameter by parameter."""
    mine, theirs = list(average.parameters()), list(network.parameters())
    _TORCH._foreach_mul_(mine, decay)
    _TORCH._foreach_add_(mine, theirs, alpha=1 - decay)
