"""Where a film says that its chroma lies. PyAV shows it nowhere, but FFmpeg's muxer of Matroska writes it down."""

from __future__ import annotations

import io
from collections.abc import Mapping
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


def said_siting(stream: VideoStream) -> str | None:
    """One of sr_kernel.layout.SITINGS; None: the film says nothing, or what has no name there.

    Decoders of MPEG-2, H.264 and HEVC say `left` too where the film says nothing.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as output:
            output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except (FFmpegError, ValueError) as error:  # codecs that Matroska has no name for
        check_memory(error)
        return None
    head = file.getvalue()
    return _SITINGS.get((content(head, (*COLOUR, _ACROSS)), content(head, (*COLOUR, _DOWN))))
