"""What of basicsr 1.4.2 the project's own networks and degradation are pinned to.

Importing basicsr imports everything it has, and fails where torchvision has no `transforms.functional_tensor`:
`sr_kernel.faces.basicsr_import` mends that.
"""

from __future__ import annotations

import importlib
import types

import torch
from torch import Tensor, nn

from sr_kernel.faces.basicsr_import import mend_torchvision
from sr_kernel.models import ModelSpec


def reference_network(spec: ModelSpec, state: dict[str, Tensor]) -> nn.Module:
    """basicsr's network of a spec with the weights of `state`."""
    if spec.arch == "rrdb":
        made = reference_module("archs.rrdbnet_arch").RRDBNet(
            3, 3, scale=spec.scale, num_feat=spec.features, num_block=spec.blocks, num_grow_ch=spec.growth
        )
    else:
        made = reference_module("archs.srvgg_arch").SRVGGNetCompact(
            num_feat=spec.features, num_conv=spec.blocks, upscale=spec.scale, act_type="prelu"
        )
    made.load_state_dict(state, strict=True)
    return made.eval().to(torch.float32)


def reference_module(name: str) -> types.ModuleType:
    """A module of basicsr, such as `data.degradations`."""
    return importlib.import_module(f"basicsr.{name}")


mend_torchvision()
