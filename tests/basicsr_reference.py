"""What of basicsr 1.4.2 the project's own networks and degradation are pinned to.

Importing basicsr imports everything it has, and fails where torchvision has no `transforms.functional_tensor`. The
stand-in for that module lives here and nowhere else; plain inference never imports basicsr.
"""

from __future__ import annotations

import importlib
import sys
import types

import torch
from torch import Tensor, nn

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


def _stand_in() -> None:
    """The one function that basicsr takes from the module that torchvision removed."""
    name = "torchvision.transforms.functional_tensor"
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        functional = importlib.import_module("torchvision.transforms.functional")
        module = types.ModuleType(name)
        module.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
        sys.modules[name] = module


_stand_in()
