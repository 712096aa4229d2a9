"""Decoded frames as planes of numpy: views into the decoder's memory wherever samples lie as a FrameLayout wants them.

Semi-planar and packed formats are taken apart here and not by swscale, so that not one sample changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from farm.media.video.pixel_format import PixelFormat, parse_pixel_format
from farm.media.video.values import Planes

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFormat:
    """How frames of one of FFmpeg's pixel formats are read."""

    model: str
    """yuv, rgb or gray, as FrameLayout says"""
    depth: int
    read: Callable[[av.VideoFrame], Planes]
    chroma_shift: tuple[int, int] = (0, 0)
    alpha: bool = False
    full_range: bool = False
    """whether the name alone says that all levels are used"""


_SEMI_PLANAR = re.compile(r"(?:nv(?P<nv>12|21|16|24|42|20)|p(?P<p>[024])(?P<bits>10|12|16))(?P<end>le|be)?")
_SEMI_CHROMA = {"12": (1, 1), "21": (1, 1), "16": (1, 0), "20": (1, 0), "24": (0, 0), "42": (0, 0)}
_P_CHROMA = {"0": (1, 1), "2": (1, 0), "4": (0, 0)}
_PACKED: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        **{name: (name.upper(), 8) for name in ("rgba", "bgra", "argb", "abgr", "0rgb", "rgb0", "0bgr", "bgr0")},
        **{"rgb24": ("RGB", 8), "bgr24": ("BGR", 8), "rgb48": ("RGB", 16), "bgr48": ("BGR", 16)},
        **{"rgba64": ("RGBA", 16), "bgra64": ("BGRA", 16), "ya8": ("YA", 8), "ya16": ("YA", 16)},
        **{"vuya": ("VUYA", 8), "vuyx": ("VUY0", 8), "ayuv": ("AYUV", 8), "uyva": ("UYVA", 8), "vyu444": ("VYU", 8)},
        **{"ayuv64": ("AYUV", 16), "xv48": ("UYV0", 16)},
    }
)
"""packed formats of one sample a pixel and channel, without le or be -> order of the channels (0: a filler), depth"""
_PAIRS: Mapping[str, tuple[str, int, int]] = MappingProxyType(
    {
        **{"yuyv422": ("YUYV", 8, 0), "uyvy422": ("UYVY", 8, 0), "yvyu422": ("YVYU", 8, 0)},
        **{"y210": ("YUYV", 10, 6), "y212": ("YUYV", 12, 4), "y216": ("YUYV", 16, 0)},
    }
)
"""packed 4:2:2 without le or be -> order of two pixels, depth, low bits that are not used"""
_CONVERTED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("rgb565", "rgb555", "rgb444", "bgr565", "bgr555", "bgr444"), "rgb24"),
        **dict.fromkeys(("rgb8", "bgr8", "rgb4_byte", "bgr4_byte"), "rgb24"),
        **{"x2rgb10": "gbrp10le", "x2bgr10": "gbrp10le"},
        **{"xv30": "yuv444p10le", "v30x": "yuv444p10le", "xv36": "yuv444p12le"},
    }
)
"""formats of bits that share bytes, without le or be, and the wider one that FFmpeg unpacks them to"""


def source_format(name: str) -> SourceFormat | None:
    """How frames of this pixel format are read, or None when they cannot be."""
    full = name.startswith("yuvj")
    plain = name.replace("yuvj", "yuv", 1) if full else name
    little = f"{plain[:-2]}le" if plain.endswith("be") else plain
    known = parse_pixel_format(little)
    if known is not None and not known.packed and not known.planar:
        return _planar(known, full=full, swapped=little != plain)
    for build in (_semi_planar, _packed, _pairs, _converted):
        found = build(plain)
        if found is not None:
            return found
    return _SPECIAL.get(plain)


def is_opaque_palette(frame: av.VideoFrame) -> bool:
    """Whether a frame has a palette, and no colour of it is transparent."""
    return frame.format.name == "pal8" and min(bytes(frame.planes[1])[3::4]) == 255


def lacks_palette(frame: av.VideoFrame) -> bool:
    """Whether a frame has a palette of nothing: some demuxers tell the decoder its colours beside the first packet."""
    return frame.format.name == "pal8" and not any(bytes(frame.planes[1]))


def is_transparent(frame: av.VideoFrame, kind: SourceFormat) -> bool:
    """Whether some pixel of a frame of this kind is not opaque."""
    if not kind.alpha or is_opaque_palette(frame):
        return False
    return int(kind.read(frame)[-1].min()) < (1 << kind.depth) - 1


def plane_view(frame: av.VideoFrame, index: int, dtype: str, width: int, height: int) -> NDArray[Any]:
    """Samples of one of FFmpeg's planes, HW, without the padding of its rows; a view, kept alive by the array."""
    plane = frame.planes[index]
    line = abs(plane.line_size)
    rows = np.frombuffer(cast("Any", plane), np.uint8, count=line * (plane.buffer_size // line)).reshape(-1, line)
    samples = rows[:height, : width * np.dtype(dtype).itemsize].view(dtype)
    return samples[::-1].copy() if plane.line_size < 0 else samples  # stored bottom up, as in old AVI files


def _ceil(value: int, shift: int) -> int:
    return -(-value >> shift)


def _planar(known: PixelFormat, *, full: bool, swapped: bool) -> SourceFormat:
    dtype = "u1" if known.depth == 8 else ">u2" if swapped else "<u2"
    order = sorted(range(len(known.planes)), key=lambda index: known.planes[index])
    across, down = known.chroma_shift

    def read(frame: av.VideoFrame) -> Planes:
        planes: list[Plane] = []
        for place, index in enumerate(order):
            halved = known.model == "yuv" and place in (1, 2)
            width = _ceil(frame.width, across) if halved else frame.width
            height = _ceil(frame.height, down) if halved else frame.height
            plane = plane_view(frame, index, dtype, width, height)
            planes.append(plane.astype(np.uint16) if swapped and known.depth > 8 else plane)
        return tuple(planes)

    return SourceFormat(
        model=known.model,
        depth=known.depth,
        read=read,
        chroma_shift=known.chroma_shift,
        alpha=known.alpha,
        full_range=full,
    )


def _semi_planar(name: str) -> SourceFormat | None:
    match = _SEMI_PLANAR.fullmatch(name)
    if match is None:
        return None
    depth = int(match["bits"]) if match["bits"] else 10 if match["nv"] == "20" else 8
    across, down = _SEMI_CHROMA[match["nv"]] if match["nv"] else _P_CHROMA[match["p"]]
    unused = 16 - depth if match["bits"] else 0
    dtype = "u1" if depth == 8 else ">u2" if match["end"] == "be" else "<u2"
    first = 1 if match["nv"] in ("21", "42") else 0

    def read(frame: av.VideoFrame) -> Planes:
        width, height = _ceil(frame.width, across), _ceil(frame.height, down)
        luma = plane_view(frame, 0, dtype, frame.width, frame.height)
        chroma = plane_view(frame, 1, dtype, 2 * width, height)
        return tuple(_lowered(plane, depth, unused) for plane in (luma, chroma[:, first::2], chroma[:, 1 - first :: 2]))

    return SourceFormat(model="yuv", depth=depth, read=read, chroma_shift=(across, down))


def _lowered(plane: NDArray[Any], depth: int, unused: int) -> Plane:
    """Samples in the low bits of words of this machine."""
    if depth == 8:
        return plane
    return (plane >> unused).astype(np.uint16) if unused else plane.astype(np.uint16, copy=False)


def _packed(name: str) -> SourceFormat | None:
    base = name.removesuffix("le").removesuffix("be")
    if base not in _PACKED:
        return None
    channels, depth = _PACKED[base]
    dtype = "u1" if depth == 8 else ">u2" if name.endswith("be") else "<u2"
    model = "rgb" if "R" in channels else "yuv" if "V" in channels else "gray"
    wanted = {"rgb": "RGB", "yuv": "YUV", "gray": "Y"}[model] + ("A" if "A" in channels else "")

    def read(frame: av.VideoFrame) -> Planes:
        samples = plane_view(frame, 0, dtype, frame.width * len(channels), frame.height)
        return tuple(_lowered(samples[:, channels.index(one) :: len(channels)], depth, 0) for one in wanted)

    return SourceFormat(model=model, depth=depth, read=read, alpha="A" in channels)


def _pairs(name: str) -> SourceFormat | None:
    base = name.removesuffix("le").removesuffix("be")
    if base not in _PAIRS:
        return None
    order, depth, unused = _PAIRS[base]
    dtype = "u1" if depth == 8 else ">u2" if name.endswith("be") else "<u2"
    first = order.index("Y")

    def read(frame: av.VideoFrame) -> Planes:
        samples = plane_view(frame, 0, dtype, 4 * _ceil(frame.width, 1), frame.height)
        planes = (
            samples[:, first::2][:, : frame.width],
            samples[:, order.index("U") :: 4],
            samples[:, order.index("V") :: 4],
        )
        return tuple(_lowered(plane, depth, unused) for plane in planes)

    return SourceFormat(model="yuv", depth=depth, read=read, chroma_shift=(1, 0))


def _converted(name: str) -> SourceFormat | None:
    base = name.removesuffix("le").removesuffix("be")
    wider = _CONVERTED.get(base)
    found = source_format(wider) if wider else None
    if found is None:
        return None

    def read(frame: av.VideoFrame) -> Planes:
        return found.read(frame.reformat(format=wider, threads=1))  # threads of swscale write into each other's rows

    return SourceFormat(model=found.model, depth=found.depth, read=read, chroma_shift=found.chroma_shift)


def _bits(*, inverted: bool) -> SourceFormat:
    """One bit a pixel, the first in the highest."""

    def read(frame: av.VideoFrame) -> Planes:
        packed = plane_view(frame, 0, "u1", _ceil(frame.width, 3), frame.height)
        bits = np.unpackbits(packed, axis=1)[:, : frame.width]
        return ((255 * (1 - bits if inverted else bits)).astype(np.uint8),)

    return SourceFormat(model="gray", depth=8, read=read, full_range=True)


def _palette(frame: av.VideoFrame) -> Planes:
    """Indices into 256 colours, which FFmpeg keeps as words of ARGB."""
    colours = np.frombuffer(cast("Any", frame.planes[1]), np.uint32, count=256)
    indices = plane_view(frame, 0, "u1", frame.width, frame.height)
    pixels = colours[indices]
    return tuple((pixels >> shift & 255).astype(np.uint8) for shift in (16, 8, 0, 24))


_SPECIAL: Mapping[str, SourceFormat] = MappingProxyType(
    {
        "monow": _bits(inverted=True),
        "monob": _bits(inverted=False),
        "pal8": SourceFormat(model="rgb", depth=8, read=_palette, alpha=True),
        "gray8": SourceFormat(
            model="gray", depth=8, read=lambda frame: (plane_view(frame, 0, "u1", frame.width, frame.height),)
        ),
    }
)
