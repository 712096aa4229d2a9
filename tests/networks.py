"""Small seeded networks, random pictures and plans for the tests of sr_kernel."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.archs import ARCHS, SRVGGNetCompact
from sr_kernel.archs.output import PartwiseOutput
from sr_kernel.backend import Backend
from sr_kernel.fidelity import Blocks
from sr_kernel.models import MODELS, ModelSpec, radius_px, rrdb_align_px
from sr_kernel.tiles import Box, PicturePlan, PictureSpec, plan_picture
from sr_kernel.upscale import Restored, Upscaler


def rrdb_spec(scale: int = 4, *, features: int = 16, blocks: int = 2, growth: int = 8) -> ModelSpec:
    align = rrdb_align_px(scale)
    return dataclasses.replace(
        MODELS["x4plus"],
        name=f"seeded-rrdb-x{scale}",
        scale=scale,
        features=features,
        blocks=blocks,
        growth=growth,
        align_px=align,
        halo_px=radius_px("rrdb", blocks, align),
        bytes=0,
        sha256="",
    )


def srvgg_spec(scale: int = 4, *, features: int = 16, convs: int = 4) -> ModelSpec:
    return dataclasses.replace(
        MODELS["animevideov3"],
        name=f"seeded-srvgg-x{scale}",
        scale=scale,
        features=features,
        blocks=convs,
        halo_px=radius_px("srvgg", convs, 1),
        bytes=0,
        sha256="",
    )


def seeded_state(spec: ModelSpec, seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep the signal's size from layer to layer, so that what is wrong far away still shows."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in ARCHS[spec.arch].shapes(spec).items():
        if len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (1.6 / (9 * shape[1])) ** 0.5
        elif name.endswith("weight"):
            state[name] = torch.rand(shape, generator=generator) * 0.5
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.05
    last = "conv_last" if spec.arch == "rrdb" else f"body.{2 * spec.blocks + 2}"
    # Outputs in the middle of 0..1: what is clamped hides differences.
    state[f"{last}.weight"] *= 0.15
    state[f"{last}.bias"] += 0.5 if spec.arch == "rrdb" else 0.0
    return state


def seeded_upscaler(spec: ModelSpec, seed: int = 0) -> Upscaler:
    return Upscaler(spec, Backend(spec, seeded_state(spec, seed), "cpu"))


def random_picture(
    width: int, height: int, seed: int = 0, dtype: type[np.uint8] | type[np.uint16] = np.uint8
) -> NDArray[np.uint8 | np.uint16]:
    top = np.iinfo(dtype).max
    return np.random.default_rng([seed, width, height]).integers(0, top + 1, (height, width, 3)).astype(dtype)


def plan_of(spec: ModelSpec, width: int, height: int, *, tile_px: int = 4096, **changes: object) -> PicturePlan:
    """The plan of a picture for a model; `changes` go to PictureSpec."""
    values: dict[str, object] = {
        "scale": spec.scale,
        "outscale": float(spec.scale),
        "halo_px": spec.halo_px,
        "align_px": spec.align_px,
        "whole_body": spec.whole_body,
        "exact_px": 1 << 22,
        "origin_px": spec.origin_px,
    }
    values |= changes
    return plan_picture(PictureSpec(width=width, height=height, tile_px=tile_px, **values))  # pyright: ignore[reportArgumentType]


class SmallMemory(Backend):
    """A device that refuses what would take more than `limit_px` pixels of windows at once, in torch's words."""

    limit_px = 0
    error: type[RuntimeError] = torch.OutOfMemoryError
    refused = 0

    def network(self, precision: str):
        network = super().network(precision)
        if isinstance(network, SRVGGNetCompact):
            return self._guarded(network)

        def guarded(x: Tensor, keep: Box) -> Tensor:
            self._check(x)
            return network(x, keep)

        return guarded

    def _guarded(self, network: SRVGGNetCompact) -> SRVGGNetCompact:
        """One that refuses what it reads, and what it is to enlarge at once."""
        guarded, output = copy.copy(network), network.output

        def checked(x: Tensor, keep: Box) -> PartwiseOutput:
            self._check(x)
            made = output(x, keep)

            def enlarge(hidden: Tensor, source: Tensor) -> Tensor:
                self._check(source)
                return made.enlarge(hidden, source)

            return dataclasses.replace(made, enlarge=enlarge)

        guarded.output = checked
        return guarded

    def _check(self, x: Tensor) -> None:
        if x.numel() // 3 > self.limit_px:  # three samples a pixel, before and after pixel_unshuffle
            self.refused += 1
            raise self.error("[enforce fail] DefaultCPUAllocator: can't allocate memory")


SMALL = {spec.name: (spec, seeded_upscaler(spec)) for spec in (srvgg_spec(), rrdb_spec(4, blocks=1), rrdb_spec(2))}
"""a network of each kind, for tests that try many cuts"""


def same(a: Restored, b: Restored) -> bool:
    """Pictures of other cuts. Blocks are counted within windows: only windows of one shape have the same."""
    one, other = (dataclasses.replace(made.stats, blocks=Blocks()) for made in (a, b))
    return np.array_equal(a.pixels, b.pixels) and one == other and a.finite and b.finite
