"""Animated GIF through libvips, animated PNG through FFmpeg: frame by frame, none left out, delays as they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, pairwise
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pyvips
from av.error import FFmpegError

from farm.errors import ErrorKind, ItemError
from farm.media.encode import failed
from farm.media.image import Pixels
from farm.media.video.pictures.png_chunks import BehindHeader
from farm.media.vips import FileBridge, TargetBridge, translated
from farm.media.virtual_tiff import StripLayout, VirtualTiff

_STRIP_BYTES = 4 << 20
_GIF_PLAYS = 65_535
_LARGEST_BASE = 1_000_000
_LARGEST_TERM = 65_535
"""of the fraction that is a delay of an APNG"""
_APNG_OPTIONS: Mapping[str, str] = MappingProxyType({"compression_level": "2", "pred": "up"})
"""33 instead of 146 ms for a frame of 640x480, 7 % larger"""
_NO_DELAY = Fraction(1, _LARGEST_TERM)
"""what 0 is written as for the last frame, where FFmpeg takes 0 for nothing said; viewers treat both alike"""
_APNG: Mapping[tuple[int, int], str] = MappingProxyType(
    {
        (1, 1): "gray",
        (2, 1): "ya8",
        (3, 1): "rgb24",
        (4, 1): "rgba",
        (1, 2): "gray16be",
        (2, 2): "ya16be",
        (3, 2): "rgb48be",
        (4, 2): "rgba64be",
    }
)
"""(channels, bytes of a sample) -> FFmpeg's pixel format"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How an animated picture is shown."""

    delays: tuple[Fraction, ...]
    """seconds of each frame"""
    plays: int
    """how often; 0: for ever"""

    def rounded(self, units: int) -> list[int]:
        """Delays in units of a second; what is rounded is the time, so that a film does not run fast or slow."""
        times = [round(time * units) for time in accumulate(self.delays, initial=Fraction(0))]
        return [after - before for before, after in pairwise(times)]


def write_gif(frames: Iterator[Pixels], show: Show, sink: BinaryIO, url: str) -> None:
    """Write a GIF; each frame gets a palette of its own where the one before does not do.

    Args:
        frames: HWC of 8 bits, as many as there are delays.
        sink: seekable, not closed.
        url: of the source; stands in messages only.

    Raises:
        ItemError: ENCODE_FAILED when libvips refuses. Errors of the frames come through as they are.
    """
    rows = _FrameRows(frames, len(show.delays))
    bridge, output = FileBridge(rows), TargetBridge(sink)
    with translated(failed(url), bridge, output):
        source = bridge.source()
        image = pyvips.Image.tiffload_source(source, access="sequential", fail_on="error", unlimited=True)
        image = image.copy()
        image.set_type(pyvips.GValue.gint_type, "page-height", rows.page_height)
        image.set_type(pyvips.GValue.gint_type, "loop", min(show.plays, _GIF_PLAYS))
        delays = [10 * delay for delay in show.rounded(100)]
        image.set_type(pyvips.GValue.array_int_type, "delay", cast(Any, delays))  # its stubs know no lists
        target = output.target()
        pyvips.Operation.call("gifsave_target", image, target, keep_duplicate_frames=True)


def write_apng(frames: Iterator[Pixels], show: Show, sink: BinaryIO, url: str, chunks: bytes = b"") -> None:
    """Write an APNG; arguments and errors as `write_gif`, and 16 bits are kept.

    Of one frame a PNG is made. `chunks`: whole ones, which stand before its pixels.
    """
    base = math.lcm(*{delay.denominator for delay in show.delays})
    base = base if base <= _LARGEST_BASE else _LARGEST_BASE
    last = show.delays[-1].limit_denominator(_LARGEST_TERM) or _NO_DELAY
    options = {"plays": str(show.plays), "final_delay": f"{last.numerator}/{last.denominator}", "fflags": "+bitexact"}
    pts = 0
    try:
        file = BehindHeader(sink, chunks) if chunks else sink
        with av.open(file, "w", format="apng", options=options) as container:
            stream: Any = None
            for delay in show.rounded(base):
                pixels = next(frames)
                if stream is None:
                    stream = container.add_stream("apng", rate=25)
                    stream.width, stream.height = pixels.shape[1], pixels.shape[0]
                    stream.pix_fmt = _APNG[pixels.shape[2], pixels.dtype.itemsize]
                    stream.time_base = stream.codec_context.time_base = Fraction(1, base)
                    stream.codec_context.thread_count = 1
                    stream.options = dict(_APNG_OPTIONS)
                frame = _video_frame(pixels)
                frame.pts, frame.time_base = pts, Fraction(1, base)
                container.mux(stream.encode(frame))
                pts += delay
            container.mux(stream.encode(None))
    except FFmpegError as error:
        found = f"the APNG cannot be written ({str(error)[:200]})"
        raise ItemError(ErrorKind.ENCODE_FAILED, url, found, "ask for another --container") from error


def _video_frame(pixels: Pixels) -> av.VideoFrame:
    height, width, channels = pixels.shape
    frame = av.VideoFrame(width, height, _APNG[channels, pixels.dtype.itemsize])
    plane = frame.planes[0]
    line = width * channels * pixels.dtype.itemsize
    rows = np.frombuffer(cast(Any, plane), np.uint8)[: height * plane.line_size].reshape(height, plane.line_size)
    ordered = np.ascontiguousarray(pixels if pixels.dtype.itemsize == 1 else pixels.astype(">u2"))
    rows[:, :line] = ordered.view(np.uint8).reshape(height, line)
    return frame


def _bytes(pixels: Pixels) -> memoryview:
    return memoryview(cast(Any, np.ascontiguousarray(pixels))).cast("B")


class _FrameRows(VirtualTiff):
    """All frames below each other as one uncompressed TIFF, to be read once from top to bottom."""

    def __init__(self, frames: Iterator[Pixels], count: int) -> None:
        first = next(frames)
        height, width, channels = first.shape
        rows = max(1, _STRIP_BYTES // (width * channels))
        layout = StripLayout(width=width, height=height * count, bands=channels, sample_bytes=1, rows=rows)
        super().__init__(layout, map(_bytes, chain([first], frames)))
        self.page_height = height
