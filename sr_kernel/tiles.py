"""Integer geometry: which windows of a picture a network reads and which pixels of each it keeps.

Standard library only. All boxes are half-open and in pixels; x grows right, y grows down.

Two rules make seams impossible. A window reads at least `halo` pixels beyond what it keeps, unless it ends at the
picture's true border, where the network's own zero padding is the right context. And windows near the border are
shifted inward instead of padded, so that every window of a picture has one static shape.

A network with `align_px` > 1 takes only multiples of it: its picture is first extended to the right and downwards by
reflection. Read boxes lie in that extended picture, keep boxes in the picture itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

TAIL_HALO = 2
"""context radius of the RRDB tail, in pixels of the body (`align_px` source pixels each)"""
COLOUR_REACH_PX = 19
"""source pixels around a result that keeping colours looks at, see `sr_kernel.colour_match`"""
_SHAPE_STEP_PX = 16
"""window sides are multiples of this, so that pictures of many sizes share few window shapes"""
_LANCZOS_SUPPORT_PX = 3
_LANCZOS4_REACH_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open rectangle, ``x0 <= x < x1`` and ``y0 <= y < y1``, in pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if not (0 <= self.x0 <= self.x1 and 0 <= self.y0 <= self.y1):
            raise ValueError(f"not a box: {self}")

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area_px(self) -> int:
        return self.width * self.height


class Mode(str, Enum):
    """Whether the bytes equal those of the whole picture through the network."""

    EXACT = "exact"
    BOUNDED = "bounded"


class Strategy(str, Enum):
    """How a picture goes through the network."""

    WINDOWS = "windows"
    """every window through the whole network"""
    BODY = "body"
    """the body on the whole picture, the upsampling tail in bands (RRDB, exact)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One window of a picture."""

    read: Box
    """what the network is given, in source pixels of the picture extended to multiples of `align_px`"""
    keep: Box
    """what it is trusted for, in source pixels; the keep boxes of a plan cover the picture exactly once"""
    out: Box
    """the output pixels whose centres lie in `keep`; the out boxes of a plan cover the output exactly once"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSpec:
    """What the plan of one picture depends on. Equal specs give equal plans, on any machine."""

    width: int
    """source width in pixels, >= 1"""
    height: int
    """source height in pixels, >= 1"""
    scale: int
    """the network's own scale: 1, 2, 3, 4, ..."""
    outscale: float
    """requested scale; the output is int(width * outscale) x int(height * outscale) unless `out_size` says it"""
    halo_px: int
    """exact context radius of the network in source pixels"""
    align_px: int
    """origins and sizes of windows are multiples of this (2 for a x2 network after pixel-unshuffle)"""
    whole_body: bool
    """the network has an RRDB body, which is run whole up to `exact_px`"""
    tile_px: int
    """wanted kept size of a window, in source pixels; a window's side is at most this + 2 halos, rounded up to 16"""
    exact_px: int
    """largest picture whose body is run whole, in source pixels"""
    max_exact_halo_px: int = 94
    """beyond this radius windows are not cut exactly but bounded"""
    bounded_halo_px: int = 32
    """halo of the bounded mode, in source pixels"""
    out_size: tuple[int, int] | None = None
    """width and height of the output where a codec cannot hold those of `outscale`"""
    colour_px: int = 0
    """source pixels of the network's output that are looked at around what is kept: COLOUR_REACH_PX where the source's
    colours are kept, else 0"""
    origin_px: int = 1
    """windows start at multiples of this too, where the network divides what it is given into windows of its own"""

    def __post_init__(self) -> None:
        sides = (self.width, self.height, self.scale, self.align_px, self.tile_px, self.origin_px)
        if min(sides) < 1 or self.outscale <= 0:
            raise ValueError(f"not a picture: {self}")
        if self.out_size is not None and min(self.out_size) < 1:
            raise ValueError(f"not a picture: {self}")
        if min(self.halo_px, self.exact_px, self.max_exact_halo_px, self.bounded_halo_px, self.colour_px) < 0:
            raise ValueError(f"negative halo or limit: {self}")

    @property
    def area_px(self) -> int:
        return self.width * self.height

    @property
    def padded_width(self) -> int:
        """Width of the picture extended to a multiple of `align_px`."""
        return _round_up(self.width, self.align_px)

    @property
    def padded_height(self) -> int:
        """Height of the picture extended to a multiple of `align_px`."""
        return _round_up(self.height, self.align_px)

    @property
    def out_width(self) -> int:
        return self.out_size[0] if self.out_size else max(1, int(self.width * self.outscale))

    @property
    def out_height(self) -> int:
        return self.out_size[1] if self.out_size else max(1, int(self.height * self.outscale))

    @property
    def resampled(self) -> bool:
        """Whether the network's output is resized to reach `outscale`."""
        return (self.out_width, self.out_height) != (self.width * self.scale, self.height * self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePlan:
    """How one picture is restored."""

    spec: PictureSpec
    mode: Mode
    strategy: Strategy
    rows: tuple[tuple[Tile, ...], ...]
    """tiles by grid row, top to bottom; under `Strategy.BODY` the bands of the tail"""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(tile for row in self.rows for tile in row)


def plan_picture(spec: PictureSpec) -> PicturePlan:
    """How a picture is cut: a pure function of `spec`, the same on every machine.

    A network with a body that is run whole keeps it whole up to `exact_px`; other networks, and larger pictures, go
    through in windows. Windows are exact where the halo is the network's whole context radius or where one window
    holds the whole picture, else bounded.
    """
    if spec.whole_body and spec.area_px <= spec.exact_px:
        return _plan_body(spec)
    exact = spec.halo_px <= spec.max_exact_halo_px
    halo_px = spec.halo_px if exact else min(spec.halo_px, spec.bounded_halo_px)
    step_px = math.lcm(_SHAPE_STEP_PX, 2 * spec.align_px)
    columns, lines = (_cut(axis, spec.tile_px, halo_px, step_px) for axis in _axes(spec, spec.colour_px))
    whole = len(columns) == len(lines) == 1
    mode = Mode.EXACT if exact or whole else Mode.BOUNDED
    return PicturePlan(spec=spec, mode=mode, strategy=Strategy.WINDOWS, rows=_grid(columns, lines))


def plan_bands(plan: PicturePlan, band_px: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of grid rows, one a band, that several workers can restore side by side.

    A band keeps at most half of `band_px` source pixels, or one grid row where that is more. Empty when the picture
    is not to be cut: it has at most `band_px` pixels, its body is run whole, or it has one grid row only.
    """
    spec, rows = plan.spec, len(plan.rows)
    if spec.area_px <= band_px or plan.strategy is Strategy.BODY or rows == 1:
        return ()
    row_px = spec.width * max(row[0].keep.height for row in plan.rows)
    rows_per_band = max(1, band_px // 2 // row_px)
    bands = -(-rows // rows_per_band)
    return tuple((rows * band // bands, rows * (band + 1) // bands) for band in range(bands)) if bands > 1 else ()


def band_tiles(plan: PicturePlan, grid_rows: tuple[int, int]) -> tuple[Tile, ...]:
    """The tiles of a half-open range of grid rows, in order."""
    first, last = grid_rows
    return tuple(tile for row in plan.rows[first:last] for tile in row)


def band_read_rows(plan: PicturePlan, grid_rows: tuple[int, int]) -> tuple[int, int]:
    """Half-open range of source rows that the tiles of a band read, ending at the picture's true border.

    It holds every row from which the reflected extension below the picture is made.
    """
    first, last = grid_rows
    return plan.rows[first][0].read.y0, min(plan.rows[last - 1][0].read.y1, plan.spec.height)


def band_out_rows(plan: PicturePlan, grid_rows: tuple[int, int]) -> tuple[int, int]:
    """Half-open range of output rows that a band makes; the bands of a plan partition the output's rows."""
    first, last = grid_rows
    return plan.rows[first][0].out.y0, plan.rows[last - 1][0].out.y1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One direction of a picture."""

    length: int
    out_length: int
    padded: int
    align_px: int
    origin_px: int
    """a multiple of `align_px`"""
    extra_px: int
    """source pixels that resampling and keeping colours need beyond the network's halo"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """One window along one axis; half-open ranges as in `Tile`."""

    read: tuple[int, int]
    keep: tuple[int, int]
    out: tuple[int, int]


def _axes(spec: PictureSpec, colour_px: int = 0) -> tuple[_Axis, _Axis]:
    """The horizontal and the vertical axis; `colour_px` where windows must hold that context themselves."""
    sides = ((spec.width, spec.out_width, spec.padded_width), (spec.height, spec.out_height, spec.padded_height))
    across, down = (
        _Axis(
            length=length,
            out_length=out_length,
            padded=padded,
            align_px=spec.align_px,
            origin_px=math.lcm(spec.align_px, spec.origin_px),
            extra_px=colour_px
            + (_resampling_halo_px(length * spec.scale, out_length, spec.scale) if spec.resampled else 0),
        )
        for length, out_length, padded in sides
    )
    return across, down


def _resampling_halo_px(in_length: int, out_length: int, scale: int) -> int:
    """Source pixels around a kept one that either resampling kernel may reach from an output centre in it.

    Antialiased Lanczos-3 reaches 3 x max(1, in / out) pixels of the network's output, Lanczos4 reaches 4; one more
    for the rounding of the centre.
    """
    support = -(-_LANCZOS_SUPPORT_PX * max(in_length, out_length) // out_length)
    return -(-(max(_LANCZOS4_REACH_PX, support) + 1) // scale)


def _plan_body(spec: PictureSpec) -> PicturePlan:
    """Bands for the tail, of full width and about `tile_px` squared pixels of the body.

    Bands keep 8 rows of the body at least; a picture so wide that this is more than the area wanted is cut both ways.
    They hold no context for keeping colours: the whole output is then at hand.
    """
    across, down = _axes(spec)
    halo_px = TAIL_HALO * spec.align_px
    step_px = 2 * spec.align_px
    least_px = 8 * spec.align_px
    area_px = max(spec.tile_px * spec.align_px, least_px) ** 2
    columns = _cut(across, area_px // least_px, halo_px, step_px)
    width = max(span.read[1] - span.read[0] for span in columns)
    lines = _cut(down, max(area_px // width, least_px), halo_px, step_px)
    return PicturePlan(spec=spec, mode=Mode.EXACT, strategy=Strategy.BODY, rows=_grid(columns, lines))


def _cut(axis: _Axis, tile_px: int, halo_px: int, step_px: int) -> tuple[_Span, ...]:
    """The fewest windows of one side that cover an axis, spread evenly; `step_px` is a multiple of twice the alignment.

    Neighbours overlap by at least two halos and share the boundary in the middle of their overlap, so that what is to
    spare goes to the halos. n windows of side w cover n w - 2 (n - 1) halo pixels. Where they start at multiples of
    more than the alignment, they overlap by that much more, and their side is such that the last one ends where the
    picture does.
    """
    align, origin, length = axis.align_px, axis.origin_px, axis.padded
    halo = _round_up(halo_px + axis.extra_px, align)
    overlap = 2 * halo + origin - align
    largest = _round_up(tile_px + overlap, step_px)
    whole = (_Span(read=(0, length), keep=(0, axis.length), out=(0, axis.out_length)),)
    if length <= largest:
        return whole
    count = -(-(length - overlap) // (largest - overlap))
    side = min(_round_up(-(-(length + overlap * (count - 1)) // count), step_px), length)
    side += (length - side) % origin
    room, reach = (length - side) // origin, (side - 2 * halo) // origin
    count = 1 + -(-room // reach)
    if count == 1:
        return whole
    starts = [room * index // (count - 1) * origin for index in range(count)]
    inner = [(after + before + side) // 2 for before, after in pairwise(starts)]
    bounds = [0, *inner, axis.length]
    outs = [_first_out(bound, axis) for bound in bounds]
    return tuple(
        _Span(read=(start, start + side), keep=(bounds[i], bounds[i + 1]), out=(outs[i], outs[i + 1]))
        for i, start in enumerate(starts)
    )


def _first_out(bound: int, axis: _Axis) -> int:
    """First output index i whose centre (i + 1/2) length / out_length is not left of source position `bound`."""
    return -((axis.length - 2 * bound * axis.out_length) // (2 * axis.length))


def _grid(columns: tuple[_Span, ...], lines: tuple[_Span, ...]) -> tuple[tuple[Tile, ...], ...]:
    """Every line crossed with every column."""
    return tuple(
        tuple(
            Tile(read=_box(column.read, line.read), keep=_box(column.keep, line.keep), out=_box(column.out, line.out))
            for column in columns
        )
        for line in lines
    )


def _box(across: tuple[int, int], down: tuple[int, int]) -> Box:
    return Box(x0=across[0], y0=down[0], x1=across[1], y1=down[1])


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
