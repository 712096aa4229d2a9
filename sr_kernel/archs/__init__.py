"""The networks, one a file, and the table that finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sr_kernel.archs.foreign import ForeignNetwork
from sr_kernel.archs.rrdb import RRDBNet, rrdb_shapes
from sr_kernel.archs.srvgg import SRVGGNetCompact, srvgg_shapes
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box


class Network(Protocol):
    """A network with fixed weights: a window in, the enlarged part of it out."""

    scale: int

    def __call__(self, x: Tensor, keep: Box) -> Tensor:
        """x (N, 3, H, W), fp32, 0..1 -> (N, keep.height * scale, keep.width * scale, 3), fp32, about 0..1."""
        ...


class _Maker(Protocol):
    def __call__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor, *, trimmed: bool) -> Network: ...


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """How one kind of network is checked and made."""

    shapes: Callable[[ModelSpec], dict[str, tuple[int, ...]]] | None
    """keys and shapes of its state dict; None: only the making tells"""
    make: _Maker


ARCHS: Mapping[str, ArchSpec] = {
    "rrdb": ArchSpec(rrdb_shapes, RRDBNet),
    "srvgg": ArchSpec(srvgg_shapes, SRVGGNetCompact),
    "foreign": ArchSpec(None, ForeignNetwork),
}

__all__ = ["ARCHS", "ArchSpec", "Network", "RRDBNet", "SRVGGNetCompact"]
