"""Where a film says that its chroma lies, what of its frames it hides, and which of their fields is the first.

PyAV shows none of it anywhere, but FFmpeg's muxer of Matroska writes it down.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import av
from av.error import FFmpegError
from av.video.stream import VideoStream

from farm.media.video.ebml import COLOUR, content
from farm.media.video.faults import check_memory
from farm.media.video.write.template import add_like

_ACROSS, _DOWN = 0x55B7, 0x55B8
"""ChromaSitingHorz and ChromaSitingVert: 1 with the first luma sample, 2 half way to the next"""
_SITINGS: Mapping[tuple[bytes | None, bytes | None], str] = MappingProxyType(
    {(b"\1", b"\2"): "left", (b"\2", b"\2"): "center", (b"\1", b"\1"): "topleft"}
)
_VIDEO = COLOUR[:-1]
_CROPS = (0x54CC, 0x54DD, 0x54BB, 0x54AA)
"""PixelCropLeft, Right, Top and Bottom"""
_INTERLACED, _FIELD_ORDER = 0x9A, 0x9D
"""FlagInterlaced and FieldOrder"""
_FIELDS: Mapping[bytes, str] = MappingProxyType({b"\1": "tff", b"\6": "bff", b"\x09": "tff", b"\x0e": "bff"})
"""FieldOrder -> which field is shown first; 9 and 14 are those of fields whose lines are stored in turn"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a stream says of its frames as a whole."""

    siting: str | None
    """one of sr_kernel.layout.SITINGS; None: the film says nothing, or what has no name there.

    Decoders of MPEG-2, H.264 and HEVC say `left` too where the film says nothing."""
    crop: tuple[int, int, int, int]
    """pixels at the left, right, top and bottom that the container hides (PixelCrop of Matroska, `clap` of QuickTime);
    what a bitstream hides is no part of decoded frames"""
    fields: str | None = None
    """tff or bff where each frame is two fields, of which the top or the bottom one is shown first; None: the film says
    that frames are whole, or nothing, or no order"""


def said_of(stream: VideoStream) -> Said:
    """What FFmpeg's muxer of Matroska writes of a stream; nothing where it does not take one."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska", container_options={"allow_raw_vfw": "1"}) as output:
            add_like(output, stream)
            output.start_encoding()
    except (FFmpegError, ValueError) as error:
        check_memory(error)
        return Said(siting=None, crop=(0, 0, 0, 0))
    head = file.getvalue()
    left, right, top, bottom = (int.from_bytes(content(head, (*_VIDEO, side)) or b"", "big") for side in _CROPS)
    siting = _SITINGS.get((content(head, (*COLOUR, _ACROSS)), content(head, (*COLOUR, _DOWN))))
    return Said(siting=siting, crop=(left, right, top, bottom), fields=_fields(head))


def _fields(head: bytes) -> str | None:
    if content(head, (*_VIDEO, _INTERLACED)) != b"\1":
        return None
    return _FIELDS.get(content(head, (*_VIDEO, _FIELD_ORDER)) or b"")
