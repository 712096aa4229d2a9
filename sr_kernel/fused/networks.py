"""From a model's row to its fused network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sr_kernel.archs import Network
from sr_kernel.fused.rrdb import FusedRRDBNet
from sr_kernel.fused.srvgg import FusedSRVGG
from sr_kernel.models import ModelSpec


def make_fused(spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor) -> Network:
    """The network in the half precision and on the device of `like`; of rows that `has_fused_kernels`."""
    return FusedSRVGG(spec, state, like) if spec.arch == "srvgg" else FusedRRDBNet(spec, state, like)
