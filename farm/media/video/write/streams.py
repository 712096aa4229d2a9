"""Everything of a film that is not the restored video: what is copied, what is converted, what is left out and said."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Protocol, TypeAlias, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Disposition, Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from farm.media.video.write.audio import AudioTranscoder, encoding

MUXERS: Mapping[str, str] = MappingProxyType({"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"})
"""container -> FFmpeg's muxer"""
_TEXT = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
"""FFmpeg's names of decoders of subtitles that are text"""
_TEXT_ENCODERS: Mapping[str, str] = MappingProxyType(
    {"mp4": "mov_text", "mov": "mov_text", "mkv": "srt", "webm": "webvtt"}
)
"""what text subtitles become where their own form does not go in"""
_STATISTICS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS")
"""how mkvmerge's tags begin that count packets and bytes"""
_COVERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp")}
)

AnyPacket: TypeAlias = "Packet[Stream]"


class Track(Protocol):
    """A stream of the source on its way into the output."""

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """Packets of the output that this one of the source becomes, in their own time base.

        Raises:
            EncodingError: its encoder refuses.
            FFmpegError: the source cannot be decoded.
        """
        ...

    def flush(self) -> list[AnyPacket]:
        """What was still held."""
        ...


@dataclass(slots=True)
class Others:
    """The source's other streams in the output."""

    tracks: dict[int, Track] = field(default_factory=dict[int, Track])
    """by the index of the source's stream"""
    covers: list[tuple[Stream, bytes]] = field(default_factory=list[tuple[Stream, bytes]])
    """pictures that are packets of the output"""
    warnings: list[str] = field(default_factory=list[str])
    lacking: bool = False
    """whether some of them end before their time, where the source is damaged"""


class CopiedTrack:
    """Packets as they are."""

    def __init__(self, target: Stream) -> None:
        self._target = target
        self._next: int | None = None

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """The packet itself; one without times follows the one before."""
        if packet.dts is None:
            packet.dts = packet.pts if packet.pts is not None else self._next
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is None:
            packet.pts, packet.dts = 0, 0
        self._next = packet.dts + max(packet.duration or 0, 1)
        packet.stream = self._target
        return [packet]

    def flush(self) -> list[AnyPacket]:
        """Nothing is held."""
        return []


class TextTrack:
    """Text subtitles in another form, by FFmpeg's own decoders and encoders."""

    def __init__(self, source: SubtitleStream, target: SubtitleStream) -> None:
        self._decoder = cast(SubtitleCodecContext, source.codec_context)
        self._encoder = cast(SubtitleCodecContext, target.codec_context)
        self._target = target
        self._name = describe(source)
        self._decoder.open(strict=False)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self._encoder.time_base = source.time_base or Fraction(1, 1000)

    def send(self, packet: AnyPacket) -> list[AnyPacket]:
        """One subtitle; what only ends another, as in MP4, is none."""
        found = self._decoder.decode2(packet)
        if found is None or len(found) == 0:
            return []
        with encoding(self._name):
            encoded = cast("AnyPacket", self._encoder.encode_subtitle(found))
        encoded.stream, encoded.time_base = self._target, packet.time_base
        encoded.pts = encoded.dts = packet.pts
        encoded.duration = packet.duration
        return [encoded]

    def flush(self) -> list[AnyPacket]:
        """Nothing is held."""
        return []


def holds(container: str, stream: Stream) -> bool:
    """Whether a muxer takes a stream as it is: tried, because FFmpeg's own tables promise too much."""
    output: OutputContainer | None = None
    try:
        output = av.open(io.BytesIO(), "w", format=MUXERS[container])
        output.add_stream_from_template(stream, opaque=True)
        output.start_encoding()
    except (FFmpegError, ValueError):
        return False
    finally:
        if output is not None:
            with suppress(FFmpegError, ValueError):  # a file of no packets need not come out well
                output.close()
    return True


def describe(stream: Stream) -> str:
    """How warnings name a stream: number, kind, codec, language and title."""
    context = cast("av.CodecContext | None", getattr(stream, "codec_context", None))
    name = context.name if context is not None else (getattr(stream, "name", None) or "unknown")
    known = [stream.metadata.get("language"), stream.metadata.get("title")]
    return f"stream {stream.index} ({', '.join(str(part) for part in (stream.type, name, *known) if part)})"


def add_stream(output: OutputContainer, container: str, source: InputContainer, stream: Stream, others: Others) -> None:
    """Give one stream of the source, that is not the restored one, its place in the output, or a warning."""
    if isinstance(stream, AttachmentStream):
        _add_attachment(output, container, stream, others)
    elif isinstance(stream, VideoStream) and stream.disposition & Disposition.attached_pic:
        _add_cover(output, container, source, stream, others)
    elif isinstance(stream, DataStream) or stream.type == "data":
        _add_data(output, container, source, stream, others)
    elif holds(container, stream):
        if isinstance(stream, VideoStream):
            others.warnings.append(f"{describe(stream)} is copied, not restored")
        others.tracks[stream.index] = CopiedTrack(_copied(output, stream))
    elif isinstance(stream, SubtitleStream) and stream.codec_context.name in _TEXT:
        _add_text(output, container, stream, others)
    else:
        others.warnings.append(f"{describe(stream)} does not go into {container} and is left out")


def add_audio(output: OutputContainer, container: str, stream: AudioStream, mode: str, others: Others) -> None:
    """Sound: bit for bit where the container holds it and nothing else was asked for.

    Args:
        mode: copy or transcode, as VideoParams.audio says.
    """
    fits = holds(container, stream)
    if mode == "copy" and fits:
        others.tracks[stream.index] = CopiedTrack(_copied(output, stream))
        return
    if mode == "copy":
        others.warnings.append(f"{describe(stream)} does not go into {container} and is encoded anew")
    try:
        transcoder = AudioTranscoder(output, container, stream)
    except (FFmpegError, ValueError) as error:
        others.warnings.append(f"{describe(stream)} cannot be encoded anew and is left out ({str(error)[:100]})")
        return
    _inherit(transcoder.target, stream, copied=False)
    others.tracks[stream.index] = transcoder


def kept_tags(metadata: Mapping[str, str], *, copied: bool) -> dict[str, str]:
    """Tags of a stream that are still true: those that count packets are not, where packets are others."""
    kept = {name: value for name, value in metadata.items() if name.lower() not in ("encoder", "vendor_id", "duration")}
    if copied:
        return kept
    return {name: value for name, value in kept.items() if not name.upper().startswith(_STATISTICS)}


def _inherit(target: Stream, stream: Stream, *, copied: bool) -> None:
    target.metadata.update(kept_tags(stream.metadata, copied=copied))
    target.disposition = stream.disposition


def _copied(output: OutputContainer, stream: Stream) -> Stream:
    target = output.add_stream_from_template(stream, opaque=True)
    _inherit(target, stream, copied=True)
    return target


def _add_text(output: OutputContainer, container: str, stream: SubtitleStream, others: Others) -> None:
    try:
        target = cast(SubtitleStream, output.add_stream(_TEXT_ENCODERS[container]))
        others.tracks[stream.index] = TextTrack(stream, target)
    except (FFmpegError, ValueError) as error:
        others.warnings.append(f"{describe(stream)} cannot be converted and is left out ({str(error)[:100]})")
        return
    _inherit(target, stream, copied=False)
    others.warnings.append(f"{describe(stream)} does not go into {container} and becomes {_TEXT_ENCODERS[container]}")


def _add_attachment(output: OutputContainer, container: str, stream: AttachmentStream, others: Others) -> None:
    name = stream.metadata.get("filename", "")
    if container != "mkv":
        others.warnings.append(f"attachment {name or stream.index} does not go into {container} and is left out")
        return
    target = output.add_attachment(name or f"attachment{stream.index}", stream.mimetype or "", stream.data)
    target.metadata.update(stream.metadata)


def _add_cover(
    output: OutputContainer, container: str, source: InputContainer, stream: VideoStream, others: Others
) -> None:
    """Cover art: an attachment of Matroska, a picture among the tags of MP4."""
    codec = stream.codec_context.name
    picture = next((bytes(packet) for packet in source.demux(stream) if packet.size), b"")
    if not picture or container in ("mov", "webm") or (container == "mkv" and codec not in _COVERS):
        others.warnings.append(f"cover art ({codec}) does not go into {container} and is left out")
    elif container == "mkv":
        name, mimetype = _COVERS[codec]
        output.add_attachment(stream.metadata.get("filename", name), stream.metadata.get("mimetype", mimetype), picture)
    elif not holds(container, stream):
        others.warnings.append(f"cover art ({codec}) does not go into {container} and is left out")
    else:
        target = output.add_stream_from_template(stream, opaque=True)
        target.disposition = Disposition.attached_pic
        others.covers.append((target, picture))


def _add_data(output: OutputContainer, container: str, source: InputContainer, stream: Stream, others: Others) -> None:
    """Data: the text track that MP4 keeps chapters in is written anew; the rest is copied where it can be."""
    name = getattr(stream, "name", None)
    handler = stream.metadata.get("handler_name", "")
    if name == "bin_data" and source.chapters() and "text" not in handler.lower():
        return
    if name is not None and name != "bin_data" and holds(container, stream):
        target = output.add_stream_from_template(stream)
        _inherit(target, stream, copied=True)
        others.tracks[stream.index] = CopiedTrack(target)
        return
    others.warnings.append(f"{describe(stream)} does not go into {container} and is left out")
