"""Whether Triton makes kernels on a device. Without it torch does the same step by step, to the same bytes."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

from sr_kernel.hardware import TRITON_CAPABILITY


@cache
def has_triton(device: torch.device) -> bool:
    """Whether Triton is there and can compile here, for which it wants a C compiler: tried once."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < TRITON_CAPABILITY:
        return False
    from sr_kernel.fused.look import can_compile

    return can_compile(device)
