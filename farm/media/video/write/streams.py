"""Everything of a film that is not the restored video: what is copied, what is converted, what is left out and said."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import AttachmentStream, DataStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from farm.media.video.write.audio import AudioTranscoder
from farm.media.video.write.template import MUXERS, add_at_rate, add_like
from farm.media.video.write.timecode import timecode_in
from farm.media.video.write.tracks import CopiedTrack, TextTrack, Track
from farm.media.video.write.trial import SiftedTrack, Trial

_TEXT = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
"""FFmpeg's names of decoders of subtitles that are text"""
_TEXT_ENCODERS: Mapping[str, str] = MappingProxyType(
    {"mp4": "mov_text", "mov": "mov_text", "mkv": "srt", "webm": "webvtt"}
)
"""what text subtitles become where their own form does not go in"""
_STATISTICS = ("BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS")
"""how mkvmerge's tags begin that count packets and bytes"""
_COVERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        **{"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp")},
        **{"gif": ("cover.gif", "image/gif"), "tiff": ("cover.tif", "image/tiff")},
    }
)
"""FFmpeg's name of a picture's decoder -> name and kind of the attachment that it becomes"""


@dataclass(slots=True)
class Others:
    """The source's other streams in the output."""

    tracks: dict[int, Track] = field(default_factory=dict[int, Track])
    """by the index of the source's stream"""
    covers: list[tuple[Stream, bytes]] = field(default_factory=list[tuple[Stream, bytes]])
    """pictures that are packets of the output"""
    lenient: bool = False
    """whether what is damaged may be left out"""
    timecode: str | None = None
    """of the film's first frame, where the source says it"""
    warnings: list[str] = field(default_factory=list[str])
    lacking: bool = False
    """whether some of them end before their time, where the source is damaged"""


def holds(container: str, stream: Stream) -> bool:
    """Whether a muxer takes a stream as it is: tried, because FFmpeg's own tables promise too much."""
    output: OutputContainer | None = None
    try:
        output = av.open(io.BytesIO(), "w", format=MUXERS[container])
        add_like(output, stream)
        output.start_encoding()
    except (FFmpegError, ValueError):
        return False
    finally:
        if output is not None:
            with suppress(FFmpegError, ValueError):  # a file of no packets need not come out well
                output.close()
    return True


def codec_of(stream: Stream) -> str | None:
    """FFmpeg's name of the decoder; None: it has none."""
    context = cast("av.CodecContext | None", getattr(stream, "codec_context", None))
    return None if context is None else context.name


def describe(stream: Stream) -> str:
    """How warnings name a stream: number, kind, codec, language and title."""
    name = codec_of(stream) or getattr(stream, "name", None) or "unknown"
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
        _copy(output, container, stream, others)
    elif isinstance(stream, SubtitleStream) and codec_of(stream) in _TEXT:
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
        _copy(output, container, stream, others)
        return
    if codec_of(stream) is None:
        others.warnings.append(f"{describe(stream)} is left out: FFmpeg has no decoder for it")
        return
    if mode == "copy":
        others.warnings.append(f"{describe(stream)} does not go into {container} and is encoded anew")
    try:
        transcoder = AudioTranscoder(output, container, stream, describe(stream))
    except (FFmpegError, ValueError) as error:
        others.warnings.append(f"{describe(stream)} cannot be encoded anew and is left out ({str(error)[:100]})")
        return
    _inherit(transcoder.target, stream, copied=False)
    others.tracks[stream.index] = transcoder


def kept_tags(metadata: Mapping[str, str], *, copied: bool) -> dict[str, str]:
    """Tags of a stream that are still true: those that count packets are not, where packets are others.

    FFmpeg reads the name of a track of MP4 and MOV as `name`, and writes what is called `title`, as Matroska does.
    """
    kept = {name: value for name, value in metadata.items() if name.lower() not in ("encoder", "vendor_id", "duration")}
    if "name" in kept and "title" not in kept:
        kept["title"] = kept.pop("name")
    if copied:
        return kept
    return {name: value for name, value in kept.items() if not name.upper().startswith(_STATISTICS)}


def _inherit(target: Stream, stream: Stream, *, copied: bool) -> None:
    target.metadata.update(kept_tags(stream.metadata, copied=copied))
    target.disposition = stream.disposition


def _copy(output: OutputContainer, container: str, stream: Stream, others: Others) -> None:
    """Packets as they are."""
    rate = stream.average_rate if isinstance(stream, VideoStream) else None
    if isinstance(stream, VideoStream) and rate and container in ("mp4", "mov") and timecode_in(stream.metadata):
        target: Stream = add_at_rate(output, stream, rate)
    else:
        target = add_like(output, stream)
    _inherit(target, stream, copied=True)
    name = describe(stream)
    sifted = SiftedTrack(target, name, Trial(container, stream)) if others.lenient else CopiedTrack(target, name)
    others.tracks[stream.index] = sifted


def _add_text(output: OutputContainer, container: str, stream: SubtitleStream, others: Others) -> None:
    try:
        target = cast(SubtitleStream, output.add_stream(_TEXT_ENCODERS[container]))
        others.tracks[stream.index] = TextTrack(stream, target, describe(stream))
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
    codec = codec_of(stream) or "unknown"
    if stream.frames > 1:  # thumbnails of chapters
        others.warnings.append(f"{stream.frames - 1} further pictures of {describe(stream)} are left out")
    picture = next((bytes(packet) for packet in source.demux(stream) if packet.size), b"")
    if not picture or container in ("mov", "webm") or (container == "mkv" and codec not in _COVERS):
        others.warnings.append(f"cover art ({codec}) does not go into {container} and is left out")
    elif container == "mkv":
        name, mimetype = _COVERS[codec]
        output.add_attachment(stream.metadata.get("filename", name), stream.metadata.get("mimetype", mimetype), picture)
    elif not holds(container, stream):
        others.warnings.append(f"cover art ({codec}) does not go into {container} and is left out")
    else:
        target = add_like(output, stream)
        target.disposition = Disposition.attached_pic
        others.covers.append((target, picture))


def _add_data(output: OutputContainer, container: str, source: InputContainer, stream: Stream, others: Others) -> None:
    """Data: tracks of chapters and of the film's timecode are written anew; the rest is copied where it can be."""
    name = getattr(stream, "name", None)
    handler = stream.metadata.get("handler_name", "")
    if name == "bin_data" and source.chapters() and "text" not in handler.lower():
        return
    said = timecode_in(stream.metadata)
    if said is not None and said == others.timecode:
        return
    if name is not None and name != "bin_data" and holds(container, stream):
        _copy(output, container, stream, others)
        return
    others.warnings.append(f"{describe(stream)} does not go into {container} and is left out")
