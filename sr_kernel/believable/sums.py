"""Sums of windows on their device: how outputs differ from their sources, and what no source has. Nothing here waits.

All that is added is whole numbers, small enough to be exact in the type that adds them, so that no sum depends on an
order. Stripes are looked for in blocks: the mean over a block's rows is a wave along x, the mean over its columns one
along y. Where the source can hold a wave the difference from the source is looked at, where it cannot the output is.
A block has stripes where one frequency stands out of all others in its range, and is not the source's own.

A GPU restores a window faster than it is given a hundred small pieces of work: what touches every pixel is done window
by window (`count_levels`, `look_of`), all that follows for the blocks of a batch together (`sums_of`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.fidelity import BINS, FIRST_BIN, LAST_BIN

BLOCK_PX = 128
"""side of a block in output pixels, rounded up to whole cells of the lattice"""
OFF_LEVELS = 20
"""a block whose mean is further from the source's, in any channel, is off"""
STRIPE_LEVELS = 2.0
"""amplitude of the weakest stripes; over all three channels, as a root of the sum of squares"""
STRIPE_SHARE = 0.5
"""least share of the power of its range that the wave of stripes has, with its two neighbours"""
_GROUP = 8
"""of samples that are added up together: 0.05 ms for a row of six blocks, of all at once 0.07"""
_EXACT_ROWS = 256
"""2^8 squares of differences of 8-bit levels, each below 2^16"""
_UNIT = 4096
"""cosines are whole numbers of this: sums of 128 products with sums of 128 levels are exact in float64"""


@dataclass(frozen=True, slots=True)
class Form:
    """How windows of one network are cut into blocks."""

    side: int
    """of a block in source pixels"""
    scale: int
    period: int
    """side of a cell of the lattice, in output pixels"""

    @classmethod
    def of(cls, scale: int, align_px: int) -> Form:
        """That of a network of a scale whose lattice has cells of `align_px` source pixels."""
        return cls(-(-BLOCK_PX // (scale * align_px)) * align_px, scale, scale * align_px)

    @property
    def wide(self) -> int:
        """Side of a block in output pixels."""
        return self.side * self.scale

    @property
    def phase_samples(self) -> int:
        """Samples of a block, all channels, that lie at one place of the lattice."""
        return (self.wide // self.period) ** 2 * 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the pixels of one window have come down to."""

    form: Form
    totals: Tensor
    """float64 (4, 3), by channel: levels of the source, of the output averaged over source pixels, the absolute
    difference of the two, and its square"""
    finite: Tensor
    rows: Tensor
    """(blocks, period, wide, 3): of each block, rows of the output's levels added up by place in the lattice"""
    columns: Tensor
    """(blocks, wide, 3): of each block, columns of the output's levels added up"""
    waves: Tensor
    """(2, blocks, 2, side, 3): difference from the source, and the source's levels; of each block rows added up, then
    columns"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What the output's levels of whole blocks have come down to."""

    rows: Tensor
    """as in `Look`"""
    columns: Tensor
    """as in `Look`"""


def count_levels(levels: Tensor, form: Form) -> Levels:
    """Of the output (h * scale, w * scale, 3), whole numbers 0..255 of any type, or of rows of it: whole blocks or the
    last."""
    wide, period = form.wide, form.period
    down, across = levels.shape[0] // wide, levels.shape[1] // wide
    blocks = down * across
    cut = levels[: down * wide, : across * wide]
    if cut.device.type == "cpu":  # where torch converts bytes and adds floats faster than it adds bytes
        cut = cut.to(torch.float32)
    exact = torch.float32 if cut.is_floating_point() else torch.int32
    rows = cut.reshape(down, wide // period, period, across * wide * 3).sum(1, dtype=exact)
    # Rows of some samples first, whose sums are a vector, then few of the samples of a channel, which are not.
    group = math.gcd(wide, _GROUP)
    groups = cut.reshape(down, wide, across, wide // group, group * 3).sum(3, dtype=exact)
    columns = groups.view(down, wide, across, group, 3).sum(3, dtype=exact)
    return Levels(
        rows=rows.view(down, period, across, wide, 3).transpose(1, 2).reshape(blocks, period, wide, 3),
        columns=columns.transpose(1, 2).reshape(blocks, wide, 3),
    )


def look_at(levels: Tensor, means: Tensor, source: Tensor, finite: Tensor, scale: int, align_px: int) -> Look:
    """One window.

    `levels`: of its output, as `count_levels` takes them; all else as of `look_of`.
    """
    form = Form.of(scale, align_px)
    return look_of(form, [count_levels(levels, form)], means, source, finite)


def look_of(form: Form, strips: Sequence[Levels], means: Tensor, source: Tensor, finite: Tensor) -> Look:
    """One window, whose output's levels have been counted in strips, one below the other, all but the last of whole
    blocks.

    `means`: the output averaged over source pixels (h, w, 3), 0..255; `source`: (h, w, 3), 0..1; `finite`: a truth
    value.
    """
    side = form.side
    out, was = means.round(), (source * 255).round_()
    diff = out - was
    down, across = diff.shape[0] // side, diff.shape[1] // side
    both = torch.stack([diff[: down * side, : across * side], was[: down * side, : across * side]])
    rows = both.view(2, down, side, across * side * 3).sum(2).view(2, down * across, side, 3)
    columns = both.view(2, down, side, across, side, 3).sum(4).transpose(2, 3).reshape(2, down * across, side, 3)
    return Look(
        form=form,
        totals=_totals(torch.stack([was, out, diff.abs(), diff * diff])),
        finite=finite,
        rows=joined([strip.rows for strip in strips]),
        columns=joined([strip.columns for strip in strips]),
        waves=torch.stack([rows, columns], 2),
    )


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One behind the other; what is alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def _totals(parts: Tensor) -> Tensor:
    """Whole numbers below 2^16 (n, h, w, 3) added up, float64 (n, 3): first as many rows as float32 adds exactly."""
    columns = torch.stack([parts[:, y0 : y0 + _EXACT_ROWS].sum(1) for y0 in range(0, parts.shape[1], _EXACT_ROWS)])
    return columns.sum((0, 2), dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSums:
    """What the pixels of windows of one size have come down to, where a kernel has counted them: whole numbers, int32.

    Each window has as many blocks as fit its whole extent, those that what is kept does not fill among them.
    """

    form: Form
    windows: int
    totals: Tensor
    """(windows * blocks, 14): of each block's pixels, also where it is not filled, by channel: levels of the source, of
    the output averaged over source pixels, the absolute difference of the two, and its square; then samples of the
    output that are not finite, and whether the block is filled. All else is zero for one that is not"""
    fine: Tensor
    """(windows * blocks, 2, wide, 3): rows of the output's levels added up, then columns"""
    waves: Tensor
    """(2, windows * blocks, 2, side, 3): difference from the source, and the source; rows added up, then columns"""
    phases: Tensor
    """(windows * blocks, period, period): the output's levels by place in the lattice"""


def sums_of(looks: Sequence[Look]) -> Tensor:
    """What `sr_kernel.fidelity.stats_of` reads, int64, a row for each of some windows of one network."""
    form = looks[0].form
    counts = tuple(look.rows.shape[0] for look in looks)
    totals = torch.stack([look.totals for look in looks]).long()
    finite = torch.stack([look.finite for look in looks]).long()
    known = _known(counts, form.phase_samples, str(totals.device))
    rest = _by_window(looks, counts) if any(counts) else totals.new_zeros(len(looks), 1 + 2 * BINS + form.period**2)
    return _in_order(totals, finite, known, rest)


def sums_of_blocks(sums: BlockSums) -> Tensor:
    """As `sums_of`."""
    form, windows = sums.form, sums.windows
    totals = sums.totals.view(windows, -1, 14).long()
    whole = totals[:, :, 13]
    added, count = totals.sum(1), whole.sum(1, keepdim=True)
    known = torch.cat([count, count * form.phase_samples], 1)
    found = _of_blocks(form, sums.fine, sums.waves, sums.phases.long()).view(windows, whole.shape[1], -1)
    return _in_order(added[:, :12].view(windows, 4, 3), (added[:, 12] == 0).long(), known, found.sum(1))


def _in_order(totals: Tensor, finite: Tensor, known: Tensor, rest: Tensor) -> Tensor:
    """As `stats_of` reads it: int64 (n, 4, 3) as in `Look`, (n,), blocks and samples a phase (n, 2), and what
    `_of_blocks` says, added up."""
    whole = totals.sum(2)
    head = [whole[:, :3], finite[:, None], whole[:, 3:], totals[:, 1] - totals[:, 0]]
    return torch.cat([*head, known[:, :1], rest[:, :1], known[:, 1:], rest[:, 1:]], 1)


def _by_window(looks: Sequence[Look], counts: tuple[int, ...]) -> Tensor:
    """What `_of_blocks` says, added up for each window."""
    form = looks[0].form
    rows, columns = joined([look.rows for look in looks]), joined([look.columns for look in looks])
    cells = rows.reshape(-1, form.wide // form.period, 3 * form.period).sum(1)
    phases = cells.view(-1, form.period, form.period, 3).sum(3).long()
    fine, waves = torch.stack([rows.sum(1), columns], 1), joined([look.waves for look in looks], 1)
    found = _of_blocks(form, fine, waves, phases)
    if len(set(counts)) == 1:
        return found.view(len(looks), counts[0], -1).sum(1)
    starts = [sum(counts[:index]) for index in range(len(counts))]
    return torch.stack([found[start : start + count].sum(0) for start, count in zip(starts, counts, strict=True)])


def _of_blocks(form: Form, fine: Tensor, waves: Tensor, phases: Tensor) -> Tensor:
    """int64 (blocks, ...): whether a block is off, its votes, its phases, from what `BlockSums` says of each."""
    side = form.side
    off = (waves[0, :, 0].sum(1).abs() > OFF_LEVELS * side * side).any(1)
    power = _power(waves.reshape(-1, 2, side, 3)).view(2, -1, 2, side // 2 + 1)
    return torch.cat([off.long()[:, None], _votes(_power(fine), power[0], power[1], side), phases.flatten(1)], 1)


@cache
def _known(counts: tuple[int, ...], phase_samples: int, device: str) -> Tensor:
    """Blocks of each window, and samples of each phase."""
    return torch.tensor([[count, count * phase_samples] for count in counts], dtype=torch.int64).to(device)


def _power(waves: Tensor) -> Tensor:
    """Squared amplitude of each frequency, summed over channels, in levels, (blocks, 2, side // 2 + 1).

    `waves`: sums over the rows and over the columns of each block, (blocks, 2, side, 3).
    """
    side = waves.shape[2]
    found = waves.double().transpose(2, 3).reshape(-1, side) @ _cosines(side, str(waves.device))
    squares = found.square_().view(-1, 2, 3, 2, side // 2 + 1).sum((2, 3))
    # Half of a wave's samples is its cosine's sum, half of that passes the window; a sum has `side` samples.
    return squares.mul_((4 / (_UNIT * side * side)) ** 2)


@cache
def _cosines(side: int, device: str) -> Tensor:
    """Hann window times cosines, then times sines, as whole numbers in float64: (side, 2 * (side // 2 + 1))."""
    at = torch.arange(side, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * (at + 0.5) / side)
    angle = 2 * math.pi * at[:, None] * torch.arange(side // 2 + 1)[None, :] / side
    table = torch.cat([torch.cos(angle), torch.sin(angle)], 1) * window[:, None]
    return (table * _UNIT).round().to(device)


def _votes(fine: Tensor, diff: Tensor, source: Tensor, side: int) -> Tensor:
    """One for each direction and waves a block of which a block has stripes, int64 (blocks, 2 * BINS)."""
    middle = side // 2
    votes = torch.zeros((len(fine), 2, BINS), dtype=torch.int64, device=fine.device)
    low, high = slice(FIRST_BIN, middle + 1), slice(middle + 1, LAST_BIN + 1)
    found, where, height = _peaks(diff[..., low])
    own = F.max_pool1d(source[..., low], 3, stride=1, padding=1).gather(2, where)
    votes.scatter_(2, where, (found & (own < height)).long())
    if middle < LAST_BIN:
        found, where, height = _peaks(fine[..., high])
        found &= fine[..., low].amax(2, keepdim=True) < height
        votes.scatter_(2, where + (middle + 1 - FIRST_BIN), found.long())
    return votes.flatten(1)


def _peaks(power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (blocks, 2, n) powers: whether the highest stands out, where it is and how high, (blocks, 2, 1)."""
    height, where = power.max(2, keepdim=True)
    padded = F.pad(power, (1, 1))
    around = sum((padded.gather(2, where + step) for step in range(3)), torch.zeros_like(height))
    stands_out = around >= STRIPE_SHARE * power.sum(2, keepdim=True)
    return stands_out & (height >= STRIPE_LEVELS**2), where, height
