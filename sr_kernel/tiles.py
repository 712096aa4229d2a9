"""Integer geometry: which windows of a picture a network reads and which pixels of each it keeps.

Standard library only. All boxes are half-open and in pixels; x grows right, y grows down.

Two rules make seams impossible. A window reads at least `halo` pixels beyond what it keeps, unless it ends at the
picture's true border, where the network's own zero padding is the right context. And windows near the border are
shifted inward instead of padded, so that every window of a picture has one static shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
    """what the network is given, in source pixels"""
    keep: Box
    """what it is trusted for, in source pixels; the keep boxes of a plan cover the picture exactly once"""
    out: Box
    """where the kept pixels lie in the output picture, in output pixels; covers the output exactly once"""


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
    """requested scale; the output is int(width * outscale) x int(height * outscale)"""
    halo_px: int
    """exact context radius of the network in source pixels"""
    align_px: int
    """origins and sizes of windows are multiples of this (2 for a x2 network after pixel-unshuffle)"""
    whole_body: bool
    """the network has an RRDB body, which is run whole up to `exact_px`"""
    tile_px: int
    """largest kept size of a window, in source pixels"""
    exact_px: int
    """largest picture whose body is run whole, in source pixels"""
    max_exact_halo_px: int = 94
    """beyond this radius windows are not cut exactly but bounded"""
    bounded_halo_px: int = 32
    """halo of the bounded mode, in source pixels"""

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.scale, self.align_px, self.tile_px) < 1 or self.outscale <= 0:
            raise ValueError(f"not a picture: {self}")

    @property
    def out_width(self) -> int:
        return max(1, int(self.width * self.outscale))

    @property
    def out_height(self) -> int:
        return max(1, int(self.height * self.outscale))

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
