"""SRVGGNetCompact with every convolution and its PReLU in one kernel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sr_kernel.archs.layer import shuffle_order, to_input
from sr_kernel.archs.srvgg import SRVGGNetCompact
from sr_kernel.fused.layer import FusedConv
from sr_kernel.fused.plane import Extent, Plane
from sr_kernel.fused.triton_here import has_triton
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box


def spread(plane: Plane, x: Tensor, keep: Box, scale: int) -> Tensor:
    """As `sr_kernel.fused.enlarge.enlarge`, by that where there is Triton."""
    if not has_triton(x.device):
        return _spread_by_steps(plane, x, keep, scale)
    from sr_kernel.fused.enlarge import enlarge

    return enlarge(plane, x, keep, scale)


def _spread_by_steps(plane: Plane, x: Tensor, keep: Box, scale: int) -> Tensor:
    rows, columns = slice(keep.y0, keep.y1), slice(keep.x0, keep.x1)
    shape = (len(x), keep.height, keep.width, scale, scale, 3)
    cells = plane.images[:, rows, columns, : 3 * scale**2].float().reshape(shape)
    made = cells + x.permute(0, 2, 3, 1)[:, rows, columns, None, None]
    return made.permute(0, 1, 3, 2, 4, 5).reshape(len(x), keep.height * scale, keep.width * scale, 3)


class FusedSRVGG(SRVGGNetCompact):
    """As SRVGGNetCompact, for 64 features and scales up to 4, in half precision on a GPU of capability 9."""

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], like: Tensor) -> None:
        super().__init__(spec, state, like, trimmed=False)
        self._fused = [
            FusedConv(conv.weight, conv.bias, prelu.slope)
            for conv, prelu in zip(self._convs, self._prelus, strict=True)
        ]
        order = torch.tensor(shuffle_order(spec.scale), device=like.device)
        name = f"body.{2 * spec.blocks + 2}"
        weight = torch.zeros(spec.features, spec.features, 3, 3, dtype=like.dtype, device=like.device)
        bias = torch.zeros(spec.features, dtype=torch.float32, device=like.device)
        weight[: len(order)] = state[f"{name}.weight"].to(like.device, like.dtype)[order]
        bias[: len(order)] = state[f"{name}.bias"].to(like.device)[order]
        self._fused.append(FusedConv(weight, bias, None))
        self._planes: tuple[Plane, Plane] | None = None

    def __call__(self, x: Tensor, keep: Box) -> Tensor:
        count, _, height, width = x.shape
        extent = Extent(count=count, height=height, width=width)
        hidden, other = self._buffers(extent, x)
        hidden.fill(to_input(x, self._dtype).permute(0, 2, 3, 1))
        for conv in self._fused:
            conv(hidden, other)
            hidden, other = other, hidden
        return spread(hidden, x, keep, self.scale)

    @property
    def planes(self) -> object:
        """What is kept from call to call."""
        return self._planes

    def release(self) -> None:
        """Gives the planes back; the next call makes them anew."""
        self._planes = None

    def _buffers(self, extent: Extent, x: Tensor) -> tuple[Plane, Plane]:
        """Planes of one extent, kept until another is asked for: their borders stay zero."""
        if self._planes is None or self._planes[0].extent != extent:
            self._planes = None
            like = torch.empty(0, dtype=self._dtype, device=x.device)
            features = self._fused[0].out
            self._planes = (Plane.zeros(extent, features, like), Plane.zeros(extent, features, like))
        return self._planes
