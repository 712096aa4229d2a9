"""Sums of one window on its device: how its output differs from its source, and what no source has. Nothing here waits.

All that is added is whole numbers, small enough to be exact in the type that adds them, so that no sum depends on an
order. Stripes are looked for in blocks: the mean over a block's rows is a wave along x, the mean over its columns one
along y. Where the source can hold a wave the difference from the source is looked at, where it cannot the output is.
A block has stripes where one frequency stands out of all others in its range, and is not the source's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from sr_kernel.fidelity import BINS, FIRST_BIN, LAST_BIN

BLOCK_PX = 128
"""side of a block in output pixels, rounded up to whole source pixels"""
OFF_LEVELS = 20
"""a block whose mean is further from the source's, in any channel, is off"""
STRIPE_LEVELS = 2.0
"""amplitude of the weakest stripes; over all three channels, as a root of the sum of squares"""
STRIPE_SHARE = 0.5
"""least share of the power of its range that the wave of stripes has, with its two neighbours"""
_UNIT = 4096
"""cosines are whole numbers of this: sums of 128 products with sums of 128 levels are exact in float64"""


def window_sums(kept: Tensor, means: Tensor, source: Tensor, finite: Tensor, scale: int, align_px: int) -> Tensor:
    """What `sr_kernel.fidelity.stats_of` reads, int64, of one window.

    `kept`: the clamped output (h * scale, w * scale, 3), 0..1; `means`: it averaged over source pixels (h, w, 3),
    0..255; `source`: (h, w, 3), 0..1; `finite`: a truth value.
    """
    out = means.round()
    levels = (source * 255).round_()
    diff = out - levels
    whole = diff.to(torch.int32)
    head = [
        levels.to(torch.int32).sum(),
        out.to(torch.int32).sum(),
        whole.abs().sum(),
        finite.long(),
        (whole * whole).sum(),
        *whole.sum((0, 1)),
    ]
    side = -(-BLOCK_PX // scale)
    down, across = diff.shape[0] // side, diff.shape[1] // side
    period = scale * align_px
    if not down or not across or side * scale % period:
        rest = torch.zeros(3 + 2 * BINS + period**2, dtype=torch.int64, device=kept.device)
        return torch.cat([torch.stack(head), rest])
    return torch.cat([torch.stack(head), _block_sums(kept, diff, levels, _Form(side, scale, down, across, period))])


@dataclass(frozen=True, slots=True)
class _Form:
    """How a window is cut into blocks."""

    side: int
    """of a block in source pixels"""
    scale: int
    down: int
    across: int
    period: int
    """side of a cell of the lattice, in output pixels"""

    @property
    def count(self) -> int:
        return self.down * self.across

    @property
    def phase_samples(self) -> int:
        """Samples of all channels that lie at one place of the lattice."""
        return self.count * (self.side * self.scale // self.period) ** 2 * 3


def _block_sums(kept: Tensor, diff: Tensor, levels: Tensor, form: _Form) -> Tensor:
    """int64: blocks, those off, samples a phase, votes, phases."""
    side, wide = form.side, form.side * form.scale
    height, width = form.down * wide, form.across * wide
    pixels = (kept[:height, :width] * 255).round_().contiguous()
    rows = pixels.view(form.down, wide // form.period, form.period, width * 3).sum(1)
    phases = rows.sum(0).double().view(form.period, width // form.period, form.period, 3).sum((1, 3))
    fine = _waves(rows.sum(1), pixels, form, wide)
    coarse_diff = _waves(*_cropped(diff, form), form, side)
    coarse = _waves(*_cropped(levels, form), form, side)
    off = (coarse_diff.sum(2).abs() > OFF_LEVELS * side * side)[:, 0].any(1)
    votes = _votes(_power(fine), _power(coarse_diff), _power(coarse), side)
    blocks, samples = (off.new_full((1,), known, dtype=torch.int64) for known in (form.count, form.phase_samples))
    return torch.cat([blocks, off.sum().view(1), samples, votes, phases.long().flatten()])


def _cropped(samples: Tensor, form: _Form) -> tuple[Tensor, Tensor]:
    """Sums over the rows of each block, and the samples, of whole blocks only."""
    side = form.side
    inside = samples[: form.down * side, : form.across * side].contiguous()
    return inside.view(form.down, side, form.across * side * 3).sum(1), inside


def _waves(rows: Tensor, pixels: Tensor, form: _Form, side: int) -> Tensor:
    """Sums over rows, then over columns, of each block: (blocks, 2, side, 3), whole numbers in float64."""
    along_x = rows.view(form.down, form.across, side, 3)
    along_y = pixels.view(form.down, side, form.across, side, 3).sum(3).permute(0, 2, 1, 3)
    return torch.stack([along_x, along_y], 2).view(form.count, 2, side, 3).double()


def _power(waves: Tensor) -> Tensor:
    """Squared amplitude of each frequency, summed over channels, in levels: (blocks, 2, side // 2 + 1)."""
    side = waves.shape[2]
    table = _cosines(side, str(waves.device))
    found = torch.einsum("bdsc,sk->bdkc", waves, table).view(*waves.shape[:2], 2, -1, 3)
    squares = found[:, :, 0] ** 2 + found[:, :, 1] ** 2
    # Half of a wave's samples is its cosine's sum, half of that passes the window; a sum has `side` samples.
    return (squares[..., 0] + squares[..., 1] + squares[..., 2]) * (4 / (_UNIT * side * side)) ** 2


@cache
def _cosines(side: int, device: str) -> Tensor:
    """Hann window times cosines, then times sines, as whole numbers in float64: (side, 2 * (side // 2 + 1))."""
    at = torch.arange(side, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * (at + 0.5) / side)
    angle = 2 * math.pi * at[:, None] * torch.arange(side // 2 + 1)[None, :] / side
    table = torch.cat([torch.cos(angle), torch.sin(angle)], 1) * window[:, None]
    table = (table * _UNIT).round()
    return table.to(device)


def _votes(fine: Tensor, diff: Tensor, source: Tensor, side: int) -> Tensor:
    """Blocks with stripes by direction and waves a block, int64 [2 * BINS]."""
    middle = side // 2
    votes = torch.zeros((2, BINS), dtype=torch.int64, device=fine.device)
    low, high = slice(FIRST_BIN, middle + 1), slice(middle + 1, LAST_BIN + 1)
    found, where, height = _peaks(diff[..., low])
    own = _beside(source[..., low]).gather(2, where[..., None])[..., 0]
    _count(votes, found & (own < height), where)
    if middle < LAST_BIN:
        found, where, height = _peaks(fine[..., high])
        _count(votes, found & (fine[..., low].amax(2) < height), where + middle + 1 - FIRST_BIN)
    return votes.flatten()


def _peaks(power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (blocks, 2, n) powers: whether the highest stands out, where it is and how high."""
    height, where = power.max(2)
    padded = torch.nn.functional.pad(power, (1, 1))
    around = (padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]).gather(2, where[..., None])[..., 0]
    return (height >= STRIPE_LEVELS**2) & (around >= STRIPE_SHARE * power.sum(2)), where, height


def _beside(power: Tensor) -> Tensor:
    """Of each frequency the highest power of itself and its neighbours."""
    return torch.nn.functional.max_pool1d(power, 3, stride=1, padding=1)


def _count(votes: Tensor, found: Tensor, where: Tensor) -> None:
    """Adds one vote a block and direction."""
    votes.scatter_add_(1, where.T.clamp(max=BINS - 1), found.T.long())
