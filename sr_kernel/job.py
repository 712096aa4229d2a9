"""What is asked of a window, and what becomes of it on its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from sr_kernel.archs.layer import grow
from sr_kernel.tiles import TAIL_HALO, Box, Mode, PicturePlan, Strategy, Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How windows are restored; every field decides bytes, but `batch` on a CPU."""

    precision: Literal["fp32", "fp16", "bf16"]
    resize: Literal["lanczos", "official"] = "lanczos"
    """antialiased Lanczos-3 on floats before rounding, or Lanczos4 after rounding as upstream does"""
    light: Literal["gamma", "linear"] = "gamma"
    """in what `lanczos` averages: samples as they are stored, or linear light; `official` knows stored ones only"""
    batch: int = 1
    """windows a forward pass; on a GPU a shorter batch is filled up to this shape"""
    tta: bool = False
    """the network's output is the mean over the eight flips and turns of its input, see `sr_kernel.tta`"""
    keep_colour: bool = False
    """the source's low frequencies are kept, see `sr_kernel.colour_match`; wants a plan with `colour_px`"""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch: {self.batch} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One window, and what its result is to be."""

    tile: Tile
    plan: PicturePlan
    dtype: np.dtype[Any]
    """of the result's samples: uint8 or uint16, as the source"""

    @property
    def need(self) -> Box:
        """Source pixels whose output the result is made from: tile.keep, and what is looked at beyond it."""
        return _needed(self.tile, self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A window's result on the device."""

    samples: Tensor
    """(H, W, 3), the pixels of `tile.out` in the job's dtype"""
    means: Tensor
    """(h, w, 3) fp32, the network's output averaged over each source pixel of `tile.keep`, 0..255"""
    sums: Tensor
    """int64: what `sr_kernel.fidelity.stats_of` reads"""
    count: int
    """`samples` of its stats"""


def _needed(tile: Tile, plan: PicturePlan) -> Box:
    """Source pixels whose output the result needs: those kept, or all that are right where more is looked at."""
    spec, read = plan.spec, tile.read
    if plan.strategy is Strategy.BODY:
        halo = TAIL_HALO * spec.align_px
        resampled = spec.resampled
    else:
        halo = spec.halo_px if plan.mode is Mode.EXACT else min(spec.halo_px, spec.bounded_halo_px)
        resampled = spec.resampled or spec.colour_px > 0
    halo = -(-halo // spec.align_px) * spec.align_px
    need = tile.keep
    if resampled:
        need = Box(
            x0=read.x0 + halo if read.x0 > 0 else 0,
            y0=read.y0 + halo if read.y0 > 0 else 0,
            x1=read.x1 - halo if read.x1 < spec.padded_width else spec.width,
            y1=read.y1 - halo if read.y1 < spec.padded_height else spec.height,
        )
    # Bands of the tail hold no context for colours: what they need beyond their own is taken from the whole output.
    return grow(need, spec.colour_px, spec.width, spec.height) if plan.strategy is Strategy.BODY else need
