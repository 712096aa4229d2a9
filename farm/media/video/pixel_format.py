"""FFmpeg's names of pixel formats, and the frame layouts they hold. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.encoders import INTERLEAVED
from sr_kernel.layout import FrameLayout

_CHROMA: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
)
"""digits of a name -> log2 of the subsampling across and down"""
_YUV = re.compile(r"yuv(a?)(420|422|444|440|411|410)p(?:(9|10|12|14|16)le)?")
_PLANAR_RGB = re.compile(r"gbr(a?)p(?:(9|10|12|14|16)le)?")
_GRAY = re.compile(r"gray(?:(9|10|12|14|16)le)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """What the samples of one of FFmpeg's pixel formats are."""

    name: str
    model: str
    """yuv, rgb or gray, as FrameLayout says"""
    depth: int
    chroma_shift: tuple[int, int] = (0, 0)
    alpha: bool = False
    packed: str = ""
    """order of the channels of a packed format, such as BGRA, where 0 is a filler; empty: a plane a channel"""
    planar: str = ""
    """name of the format of the same samples in a plane a channel, where both chromas lie in one plane by turns and
    samples in the high bits of 16, as NVIDIA's encoders take them; empty: they do not"""

    @property
    def planes(self) -> tuple[int, ...]:
        """Of each of FFmpeg's planes, which plane of a FrameLayout it is: GBR against RGB."""
        count = (1 if self.model == "gray" else 3) + self.alpha
        return (1, 2, 0, 3)[:count] if self.model == "rgb" else tuple(range(count))


_PACKED: Mapping[str, PixelFormat] = MappingProxyType(
    {
        "bgr0": PixelFormat(name="bgr0", model="rgb", depth=8, packed="BGR0"),
        "bgra": PixelFormat(name="bgra", model="rgb", depth=8, packed="BGRA", alpha=True),
        "ya8": PixelFormat(name="ya8", model="gray", depth=8, packed="YA", alpha=True),
    }
)
"""the packed formats that ffv1 needs: it has no planar RGB of 8 bits"""
_INTERLEAVED: Mapping[str, PixelFormat] = MappingProxyType(
    {"p010le": PixelFormat(name="p010le", model="yuv", depth=10, chroma_shift=(1, 1), planar=INTERLEAVED["p010le"])}
)


def parse_pixel_format(name: str) -> PixelFormat | None:
    """The format of that name, or None when it is none that frames are encoded from."""
    if known := _PACKED.get(name) or _INTERLEAVED.get(name):
        return known
    if match := _YUV.fullmatch(name):
        alpha, chroma, depth = match.groups()
        return PixelFormat(
            name=name, model="yuv", depth=int(depth or 8), chroma_shift=_CHROMA[chroma], alpha=bool(alpha)
        )
    if match := _PLANAR_RGB.fullmatch(name):
        return PixelFormat(name=name, model="rgb", depth=int(match.group(2) or 8), alpha=bool(match.group(1)))
    if match := _GRAY.fullmatch(name):
        return PixelFormat(name=name, model="gray", depth=int(match.group(1) or 8))
    return None


def target_layout(
    pixel_format: PixelFormat, source: FrameLayout, size: tuple[int, int], *, limited: bool = False
) -> FrameLayout:
    """The planes of a frame of `size` (width, height) in this format, with the source's matrix and range.

    Chroma lies where the source's does where both are 4:2:0; of no other subsampling does a film say anything but left.

    Args:
        limited: the codec holds limited range alone.
    """
    from_rgb = source.model == "rgb" and pixel_format.model == "yuv"
    return FrameLayout(
        width=size[0],
        height=size[1],
        model=pixel_format.model,
        depth=pixel_format.depth,
        chroma_shift=pixel_format.chroma_shift,
        matrix="bt709" if from_rgb else source.matrix,
        full_range=pixel_format.model == "rgb" or (source.full_range and not from_rgb and not limited),
        siting=source.siting if source.chroma_shift == pixel_format.chroma_shift == (1, 1) else "left",
        alpha=pixel_format.alpha,
    )
