"""One segment of a film, encoded once into a piece that the join remuxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType

import av
import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.media.video.hdr import DISPLAY_OPTION, LIGHT_OPTION
from farm.media.video.pixel_format import PixelFormat, parse_pixel_format
from farm.media.video.write.piece import PieceWriter
from farm.media.video.write.priority import ordinary_priority
from sr_kernel.hardware import cpu_flags

Plane = NDArray[np.uint8] | NDArray[np.uint16]


class SegmentEncoder:
    """Encodes the frames of one segment, in order; used in a with-statement, by one thread at a time.

    Holds the encoder's own frames (`farm.media.video.write.memory.encoder_bytes`) and the piece so far.
    """

    def __init__(self, film: FilmPlan, url: str) -> None:
        """Open the encoder.

        Args:
            url: of the film; stands in messages only.

        Raises:
            ItemError: ENCODE_FAILED when the encoder does not open.
        """
        pixel_format = parse_pixel_format(film.pix_fmt)
        if pixel_format is None:
            raise ValueError(f"no pixel format for frames: {film.pix_fmt}")
        self._film = film
        self._url = url
        self._format: PixelFormat = pixel_format
        self._time_base = 1 / encoder_rate(film.rate)
        self._frames = 0
        os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 otherwise writes its settings to the error stream, every time
        try:
            with ordinary_priority():
                self._piece = PieceWriter(film.encoder, self._configure)
        except (FFmpegError, ValueError) as error:
            raise self._failed(error) from error

    def __enter__(self) -> SegmentEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the encoder's memory back; a piece that is not finished is lost."""
        self._piece.close()

    def write(self, planes: Sequence[Plane]) -> None:
        """Encode one frame more.

        Args:
            planes: as the film's target layout says; not kept.

        Raises:
            ItemError: ENCODE_FAILED when the encoder refuses.
        """
        target = self._film.target
        shapes = tuple(plane.shape[::-1] for plane in planes)
        if shapes != target.plane_sizes or any(
            plane.dtype.itemsize != (1 if target.depth == 8 else 2) for plane in planes
        ):
            raise ValueError(f"planes of {shapes} for {target}")
        frame = av.VideoFrame(target.width, target.height, self._film.pix_fmt)
        frame.pts, frame.time_base = self._frames, self._time_base
        primaries, transfer, matrix, colour_range = self._film.colour_tags
        frame.color_primaries, frame.color_trc = primaries, transfer
        frame.colorspace, frame.color_range = matrix, colour_range
        fill(frame, planes, self._format)
        self._frames += 1
        try:
            self._piece.encode(frame)
        except FFmpegError as error:
            raise self._failed(error) from error

    def finish(self) -> bytes:
        """The piece: what the encoder still held is in it.

        Raises:
            ItemError: ENCODE_FAILED when the encoder refuses, or gave more or fewer packets than it was given frames.
        """
        try:
            self._piece.encode(None)
            data = self._piece.finish()
        except FFmpegError as error:
            raise self._failed(error) from error
        if self._piece.packets != self._frames:
            raise self._failed(f"{self._piece.packets} packets for {self._frames} frames")
        return data

    def _configure(self, stream: VideoStream) -> None:
        film, context = self._film, stream.codec_context
        context.width, context.height, context.pix_fmt = film.target.width, film.target.height, film.pix_fmt
        context.time_base, context.framerate = self._time_base, 1 / self._time_base
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = film.colour_tags
        if film.sample_aspect is not None:
            context.sample_aspect_ratio = film.sample_aspect
        told = {name: value for name, value in film.options if name not in (DISPLAY_OPTION, LIGHT_OPTION)}
        if film.encoder == "libx264" and _has_avx512():
            told["x264-params"] = ":".join(filter(None, (told.get("x264-params"), "asm=avx2")))
        stream.options = {**told}
        if self._format.alpha and film.encoder == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"

    def _failed(self, error: object) -> ItemError:
        found = f"{self._film.encoder} failed at frame {self._frames} of a segment ({str(error)[:200]})"
        return ItemError(ErrorKind.ENCODE_FAILED, self._url, found, "ask for another --codec or --pix-fmt")


def _has_avx512() -> bool:
    """Whether x264 must be kept from AVX-512.

    With it x264 of PyAV 17.1 reads memory that nothing has written, and its bytes are others every time. Those of all
    of its code from SSE4 to AVX2 are the same, so films do not depend on which worker encodes them.
    """
    return any(flag.startswith("avx512") for flag in cpu_flags())


def encoder_rate(rate: Fraction) -> Fraction:
    """Frames a second as encoders are told: they weigh quality by it, and SVT-AV1 refuses more than 240."""
    return min(max(rate.limit_denominator(1001), Fraction(1)), Fraction(240))


def fill(frame: av.VideoFrame, planes: Sequence[Plane], pixel_format: PixelFormat) -> None:
    """Copy the planes into FFmpeg's frame, whose rows may be longer than the picture's."""
    if pixel_format.packed:
        channels = {"R": 0, "G": 1, "B": 2, "Y": 0, "A": len(planes) - 1}
        rows = _rows(frame, 0, 1).reshape(frame.height, -1, len(pixel_format.packed))
        for at, channel in enumerate(pixel_format.packed):
            rows[:, : frame.width, at] = planes[channels[channel]] if channel in channels else 255
        return
    if pixel_format.planar:
        unused = 16 - pixel_format.depth
        for at, plane in enumerate(planes):
            rows = _rows(frame, min(at, 1), 2)
            across = slice(0, plane.shape[1]) if at == 0 else slice(at - 1, 2 * plane.shape[1], 2)
            np.left_shift(plane, unused, out=rows[:, across])
        return
    for index, plane_index in enumerate(pixel_format.planes):
        plane = planes[plane_index]
        _rows(frame, index, plane.dtype.itemsize)[:, : plane.shape[1]] = plane


def _rows(frame: av.VideoFrame, index: int, sample_bytes: int) -> Plane:
    """The samples of one of the frame's planes, with the padding at the end of its rows."""
    plane = frame.planes[index]
    data = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
    rows = data.reshape(plane.height, plane.line_size)
    return rows if sample_bytes == 1 else rows.view(np.uint16)
