"""Streams of an output made like another one: what PyAV's `add_stream_from_template` refuses, and what it leaves out.

It asks a table of FFmpeg before the muxer, in which Matroska has none of the codecs that go in under Microsoft's names
(A_MS/ACM and V_MS/VFW: A-law, ADPCM, WMA), and it tells a muxer of no frame rate. A bitstream filter that changes
nothing writes the description of one stream over that of another, as whatever that one was added.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import cast

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

MUXERS: Mapping[str, str] = MappingProxyType({"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"})
"""container -> FFmpeg's muxer"""
LAYOUTS: Mapping[int, str] = MappingProxyType(
    {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
)
"""number of channels -> what they usually are"""
_STAND_INS: Mapping[str, str] = MappingProxyType({"audio": "aac", "video": "mjpeg", "subtitle": "srt"})
"""kind of stream -> an encoder whose codec Matroska lists"""
_RATED: Mapping[str, str] = MappingProxyType({"matroska": "mjpeg", "mov": "mjpeg", "mp4": "mjpeg", "webm": "libvpx"})
"""muxer -> an encoder that takes hardly a moment to open, and whose codec it lists"""
_RATED_PX = 16
_NO_TAG = "\0\0\0\0"
"""the muxer chooses its own"""


def add_like(output: OutputContainer, like: Stream) -> Stream:
    """A stream for the packets of another one, as they are.

    Raises:
        FFmpegError, ValueError: the container is not known to hold the codec, or the stream says too little of itself.
    """
    if isinstance(like, AudioStream) and _is_dumb(like):
        raise ValueError("it says neither channels nor sample rate")
    try:
        stream = output.add_stream_from_template(like, opaque=True)
    except ValueError:
        if output.format.name != "matroska":  # others list what they hold; what else they take is not read again
            raise
        stream = _described(output, like)
    if isinstance(stream, AudioStream) and output.format.name == "mp4" and stream.codec_context.name.startswith("pcm_"):
        _name_layout(stream)
    return stream


def add_at_rate(output: OutputContainer, like: VideoStream, rate: Fraction) -> VideoStream:
    """As `add_like`, and the muxer is told frames a second: Matroska writes them down, MOV counts timecodes by them.

    PyAV gives a rate only to streams that it encodes: this one's encoder is opened small, and never used.

    Raises:
        FFmpegError, ValueError: as `add_like`.
    """
    encoder = _RATED[output.format.name]
    stream: VideoStream = output.add_stream(encoder, rate=rate)  # type: ignore[call-overload]
    context = stream.codec_context
    context.width = context.height = _RATED_PX
    context.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    context.time_base, context.thread_count = Fraction(1, 1000), 1
    context.open()
    return cast(VideoStream, _overwritten(stream, like))


def _described(output: OutputContainer, like: Stream) -> Stream:
    """A stream that is added as another codec, and described as what it is."""
    name = _STAND_INS.get(like.type)
    if name is None:
        raise ValueError(f"streams of {like.type} do not go into {output.format.name}")
    with av.open(io.BytesIO(), "w", format=output.format.name) as aside:
        return _overwritten(output.add_stream_from_template(aside.add_stream(name), opaque=True), like)


def _overwritten(stream: Stream, like: Stream) -> Stream:
    BitStreamFilterContext("null", like, stream)
    stream.codec_context.codec_tag = _NO_TAG
    if like.time_base is not None:
        stream.time_base = like.time_base
    return stream


def _is_dumb(like: AudioStream) -> bool:
    context = cast("av.AudioCodecContext | None", like.codec_context)
    return context is not None and not (context.layout.nb_channels and context.sample_rate)


def _name_layout(stream: AudioStream) -> None:
    """MP4 writes down what each channel of PCM is, and fails at the end of the film where nothing says it (AVI)."""
    context = stream.codec_context
    channels = context.layout.nb_channels
    if context.layout.name == f"{channels} channels":
        if channels not in LAYOUTS:
            raise ValueError(f"nothing says what its {channels} channels are")
        context.layout = LAYOUTS[channels]
