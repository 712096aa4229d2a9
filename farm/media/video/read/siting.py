"""Where a film says that its chroma lies, and what of its frames it hides.

PyAV shows neither anywhere, but FFmpeg's muxer of Matroska writes both down.
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

_ACROSS, _DOWN = 0x55B7, 0x55B8
"""ChromaSitingHorz and ChromaSitingVert: 1 with the first luma sample, 2 half way to the next"""
_SITINGS: Mapping[tuple[bytes | None, bytes | None], str] = MappingProxyType(
    {(b"\1", b"\2"): "left", (b"\2", b"\2"): "center", (b"\1", b"\1"): "topleft"}
)
_VIDEO = COLOUR[:-1]
_CROPS = (0x54CC, 0x54DD, 0x54BB, 0x54AA)
"""PixelCropLeft, Right, Top and Bottom"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a stream says of its frames as a whole."""

    siting: str | None
    """one of sr_kernel.layout.SITINGS; None: the film says nothing, or what has no name there.

    Decoders of MPEG-2, H.264 and HEVC say `left` too where the film says nothing."""
    crop: tuple[int, int, int, int]
    """pixels at the left, right, top and bottom that the container hides (PixelCrop of Matroska, `clap` of QuickTime);
    what a bitstream hides is no part of decoded frames"""


def said_of(stream: VideoStream) -> Said:
    """What FFmpeg's muxer of Matroska writes of a stream; nothing of codecs that Matroska has no name for."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (FFmpegError, ValueError) as error:
        check_memory(error)
        return Said(siting=None, crop=(0, 0, 0, 0))
    head = file.getvalue()
    left, right, top, bottom = (int.from_bytes(content(head, (*_VIDEO, side)) or b"", "big") for side in _CROPS)
    siting = _SITINGS.get((content(head, (*COLOUR, _ACROSS)), content(head, (*COLOUR, _DOWN))))
    return Said(siting=siting, crop=(left, right, top, bottom))
