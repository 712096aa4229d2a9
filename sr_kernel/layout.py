"""What the planes of a frame are: size, colour model, depth, subsampling, matrix, range. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MATRICES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "bt601": (0.299, 0.114),
        "bt709": (0.2126, 0.0722),
        "bt2020": (0.2627, 0.0593),
        "smpte240m": (0.212, 0.087),
        "fcc": (0.30, 0.11),
    }
)
"""(Kr, Kb) of each YUV matrix, from ITU-T H.273, table 4; `bt2020` is the non-constant luminance form"""
SITINGS = ("left", "center", "topleft")
MODELS = ("yuv", "rgb", "gray")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLayout:
    """The planes of one frame: (Y, U, V), (R, G, B) or (gray,), each followed by alpha where there is one.

    A plane is HW, uint8 for 8 bits a sample, else uint16 with the sample in the low bits.
    """

    width: int
    height: int
    model: str = "yuv"
    """yuv, rgb or gray"""
    depth: int = 8
    """bits a sample, 8..16"""
    chroma_shift: tuple[int, int] = (0, 0)
    """log2 of the horizontal and vertical subsampling of U and V: (1, 1) is 4:2:0, (1, 0) 4:2:2, (0, 0) 4:4:4"""
    matrix: str = "bt709"
    """one of MATRICES; of no meaning for rgb and gray"""
    full_range: bool = False
    """whether samples use all levels; else 16..235 and 16..240, scaled to the depth (rgb is always full)"""
    siting: str = "left"
    """where a subsampled chroma sample lies among its luma samples: left (MPEG-2, H.264), center (MPEG-1, JPEG) or
    topleft (BT.2020)"""
    alpha: bool = False
    """whether a straight alpha plane of full range follows"""

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or not 8 <= self.depth <= 16 or self.model not in MODELS:
            raise ValueError(f"no frame: {self}")
        if self.model == "yuv" and (self.matrix not in MATRICES or self.siting not in SITINGS):
            raise ValueError(f"unknown matrix or siting: {self}")
        if self.chroma_shift != (0, 0) and self.model != "yuv":
            raise ValueError(f"only yuv is subsampled: {self}")

    @property
    def chroma_size(self) -> tuple[int, int]:
        """Width and height of U and V: rounded up where a side is odd."""
        across, down = self.chroma_shift
        return -(-self.width >> across), -(-self.height >> down)

    @property
    def colour_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of every plane but alpha, in order."""
        full = (self.width, self.height)
        colour = {"yuv": (full, self.chroma_size, self.chroma_size), "rgb": (full, full, full), "gray": (full,)}
        return colour[self.model]

    @property
    def plane_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of every plane, in order."""
        return (*self.colour_sizes, (self.width, self.height)) if self.alpha else self.colour_sizes

    @property
    def bytes(self) -> int:
        """Bytes of all planes together."""
        return sum(width * height for width, height in self.plane_sizes) * (1 if self.depth == 8 else 2)
