"""Is the output believable: integer sums over pixels that add up to the same whatever the cuts. No torch.

`sr_kernel.believable` makes them and says which figures are beyond belief; docs/fidelity.md says what each figure is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

BLACK_OUT_LEVEL = 1
"""an output whose mean is below this many 8-bit levels is black"""
BLACK_IN_LEVEL = 4
"""a source whose mean is above this many 8-bit levels is not"""
FIRST_BIN, LAST_BIN = 4, 64
"""waves of stripes, in waves a block: of 32 to 2 output pixels where a block has 128"""
BINS = LAST_BIN - FIRST_BIN + 1
MOST_DB = 99.0
"""consistency of what does not differ at all"""
STEP_UNITS = 1000
"""of jumps at seams, in a level"""
BESIDE = 4
"""jumps beside an edge that the one across it is compared with"""
_STEP_NOISE = 0.25
"""levels that both sides of a seam score have at least: a jump below this is no seam, whatever it is compared with"""
FINITE = 3
"""where sums say how many windows were finite"""
_HEAD = 11
"""of `stats_of`, before votes and phases"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Sums over the blocks of windows, 128 output pixels wide and high where the network's scale divides 128.

    Blocks are counted from the corner of what a window keeps: they are the same whatever batch, bands or workers, but
    not for another `tile_px`.
    """

    count: int = 0
    off: int = 0
    """blocks whose mean colour is far from the source's"""
    votes: tuple[int, ...] = ()
    """blocks with stripes, by waves a block: BINS across (along x), then BINS down (along y)"""
    phases: tuple[int, ...] = ()
    """sums of the output's 8-bit levels, all channels, by place in the network's lattice, row by row"""
    phase_samples: int = 0
    """samples of each of `phases`"""

    def __add__(self, other: Blocks) -> Blocks:
        return Blocks(
            count=self.count + other.count,
            off=self.off + other.off,
            votes=_added(self.votes, other.votes),
            phases=_added(self.phases, other.phases),
            phase_samples=self.phase_samples + other.phase_samples,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStats:
    """Integer sums over source pixels, so that they add up to the same whatever the cuts."""

    samples: int = 0
    """source pixels x 3 channels"""
    sum_in: int = 0
    """sum of source samples, on the 8-bit scale"""
    sum_out: int = 0
    """sum of the output averaged over each source pixel, on the 8-bit scale"""
    sum_abs_diff: int = 0
    """sum of |averaged output - source|, on the 8-bit scale"""
    compared: int = 0
    """samples that the sums below are of; fewer than `samples` where pieces of an older farm are among them"""
    sum_sq_diff: int = 0
    """sum of (averaged output - source)², on the 8-bit scale"""
    sums_diff: tuple[int, ...] = ()
    """sums of averaged output - source, by channel"""
    blocks: Blocks = Blocks()
    seams: int = 0
    """edges between two windows that were looked at"""
    seam: int = 0
    """sum over edges and channels of the squared jump of the difference from the source, in STEP_UNITS"""
    beside: int = 0
    """the same of the four jumps beside each edge"""

    def __add__(self, other: PixelStats) -> PixelStats:
        return PixelStats(
            samples=self.samples + other.samples,
            sum_in=self.sum_in + other.sum_in,
            sum_out=self.sum_out + other.sum_out,
            sum_abs_diff=self.sum_abs_diff + other.sum_abs_diff,
            compared=self.compared + other.compared,
            sum_sq_diff=self.sum_sq_diff + other.sum_sq_diff,
            sums_diff=_added(self.sums_diff, other.sums_diff),
            blocks=self.blocks + other.blocks,
            seams=self.seams + other.seams,
            seam=self.seam + other.seam,
            beside=self.beside + other.beside,
        )

    @property
    def fidelity(self) -> float:
        """Mean absolute difference between source and box-averaged output, in 8-bit levels, 3 decimals."""
        return round(self.sum_abs_diff / self.samples, 3) if self.samples else 0.0

    @property
    def consistency(self) -> float | None:
        """PSNR of the box-averaged output against the source, in dB, at most MOST_DB, 3 decimals."""
        if not self.compared:
            return None
        mean = self.sum_sq_diff / self.compared
        return round(min(MOST_DB, 10 * math.log10(255**2 / mean)), 3) if mean > 0 else MOST_DB

    @property
    def colour(self) -> float | None:
        """How far the mean of a channel is from the source's, of the worst channel, in 8-bit levels, 3 decimals."""
        if not self.compared:
            return None
        return round(max(map(abs, self.sums_diff), default=0) * 3 / self.compared, 3)

    @property
    def off(self) -> float | None:
        """Share of blocks whose mean colour is far from the source's, 0..1, 4 decimals; None without a block."""
        return round(self.blocks.off / self.blocks.count, 4) if self.blocks.count else None

    @property
    def stripes(self) -> float | None:
        """Share of blocks that have stripes of one direction and width, 0..1, 4 decimals; None without a block."""
        return round(self.striped / self.blocks.count, 4) if self.blocks.count else None

    @property
    def striped(self) -> int:
        """Blocks that have stripes of one direction and width, of those that have most."""
        votes = self.blocks.votes
        return max((_peak(votes[at : at + BINS]) for at in (0, BINS)), default=0) if votes else 0

    @property
    def lattice(self) -> float | None:
        """RMS of what all cells of the network's lattice have in common, in levels, 3 decimals; None without a block.

        Of the mean cell of scale x scale output pixels, less the plane through it: slopes of the picture are planes.
        """
        phases, samples = self.blocks.phases, self.blocks.phase_samples
        if not samples:
            return None
        side = math.isqrt(len(phases))
        middle = (side - 1) / 2
        cell = [phase / samples for phase in phases]
        mean = sum(cell) / len(cell)
        across = [index % side - middle for index in range(len(cell))]
        down = [index // side - middle for index in range(len(cell))]
        span = sum(x * x for x in across) or 1.0
        slope_x = sum(x * level for x, level in zip(across, cell, strict=True)) / span
        slope_y = sum(y * level for y, level in zip(down, cell, strict=True)) / span
        rest = (level - mean - slope_x * x - slope_y * y for level, x, y in zip(cell, across, down, strict=True))
        return round(math.sqrt(sum(level * level for level in rest) / len(cell)), 3)

    @property
    def seam_score(self) -> float | None:
        """How the difference from the source jumps across edges of windows, by how it does beside them, 3 decimals.

        About 1 where no seam is seen; None where no edge could be judged.
        """
        if not self.seams:
            return None
        noise, samples = (_STEP_NOISE * STEP_UNITS) ** 2, 3 * self.seams
        beside = self.beside / (samples * BESIDE)
        return round(math.sqrt((self.seam / samples + noise) / (beside + noise)), 3)


def stats_of(samples: int, sums: Sequence[int]) -> PixelStats:
    """The stats of `samples` samples from what `sr_kernel.believable.sums` gives."""
    sum_in, sum_out, sum_abs_diff, _, sum_sq_diff, red, green, blue, blocks, off, phase_samples = sums[:_HEAD]
    votes = _HEAD + 2 * BINS
    return PixelStats(
        samples=samples,
        sum_in=sum_in,
        sum_out=sum_out,
        sum_abs_diff=sum_abs_diff,
        compared=samples,
        sum_sq_diff=sum_sq_diff,
        sums_diff=(red, green, blue),
        blocks=Blocks(
            count=blocks,
            off=off,
            votes=tuple(sums[_HEAD:votes]) if blocks else (),
            phases=tuple(sums[votes:]) if blocks else (),
            phase_samples=phase_samples,
        ),
    )


def is_black(stats: PixelStats) -> bool:
    """Whether a picture that was not black came out black: its mean fell from above 4 levels to below 1, of 255."""
    return stats.sum_out < BLACK_OUT_LEVEL * stats.samples and stats.sum_in > BLACK_IN_LEVEL * stats.samples


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Sums place by place; what has no places yet counts nothing."""
    if not one or not other:
        return one or other
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


def _peak(votes: tuple[int, ...]) -> int:
    """The most votes of three neighbouring bins: stripes whose width lies between two bins vote for either."""
    padded = (0, *votes, 0)
    return max(sum(padded[at : at + 3]) for at in range(len(votes)))
