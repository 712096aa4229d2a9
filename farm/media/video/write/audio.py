"""Sound encoded anew, where it cannot be copied or was asked not to be: in sync within one audio frame."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from types import MappingProxyType
from typing import Any, cast

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndOfStreamError
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream

from farm.media.video.faults import check_memory
from farm.media.video.write.template import LAYOUTS

_LOSSLESS = ("pcm_", "flac", "alac", "truehd", "mlp", "wavpack", "tta", "ape", "s302m", "wmalossless", "als")
"""how the names of decoders begin whose sound lost nothing so far"""
_PLAIN: Mapping[str, str] = MappingProxyType(
    {"s32": "pcm_s32le", "s64": "pcm_s32le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}
)
"""form of samples, which may lie a channel a plane -> encoder of plain ones that holds each of them; else 16 bits do"""
_BITS_PER_CHANNEL = {"aac": 96_000, "libopus": 80_000}
_OPUS_RATE = 48_000
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)


class EncodingError(Exception):
    """An encoder of sound or subtitles refused, which is no fault of the source; the message says which and how."""


@contextmanager
def encoding(name: str) -> Generator[None]:
    """Inside, what FFmpeg refuses is its encoder's or its filters' fault.

    Args:
        name: of the stream.
    """
    try:
        yield
    except EncodingError:
        raise
    except (FFmpegError, ValueError) as error:
        check_memory(error)
        raise EncodingError(f"{name} cannot be encoded anew ({str(error)[:200]})") from error


class AudioTranscoder:
    """Decodes, fills gaps with silence so that sound stays where it was, and encodes. A Track of `tracks`."""

    def __init__(self, output: OutputContainer, container: str, source: AudioStream, name: str) -> None:
        """Add the stream to the output.

        Args:
            name: of the source's stream, as warnings have it.

        Raises:
            FFmpegError, ValueError: the sound cannot be decoded, or not be encoded.
        """
        context = source.codec_context
        context.open(strict=False)
        encoder = _encoder(container, context.name, context.format.name)
        channels = max(context.layout.nb_channels, 1)
        layout = LAYOUTS.get(channels, "stereo")  # what both encoders hold
        rate = _rate(encoder, context.sample_rate or _OPUS_RATE)
        self._source = source
        self.name = name
        self.damaged = 0
        self.instead = "silence"
        self._before = 0
        """packets that could not be decoded, before any that could"""
        self._last: AudioFrame | None = None
        """that was decoded"""
        self.target = cast(AudioStream, output.add_stream(encoder, rate=rate))
        self._encoder: AudioCodecContext = self.target.codec_context
        self._encoder.layout = layout
        self._encoder.time_base = Fraction(1, rate)
        if encoder in _BITS_PER_CHANNEL:
            self._encoder.bit_rate = _BITS_PER_CHANNEL[encoder] * (channels if channels in LAYOUTS else 2)
        if encoder == "flac":
            self._encoder.format = "s16" if context.format.bytes <= 2 else "s32"
        self._encoder.open()
        self._graph: Graph | None = None
        self._uniform: _Uniform | None = None

    def send(self, packet: Packet[Stream]) -> list[Packet[Stream]]:
        """Packets of the output; a damaged packet of the source is silence."""
        return list(self._encoded(self._decoded(packet)))

    def flush(self) -> list[Packet[Stream]]:
        """The end of the sound."""
        packets = list(self._encoded(self._decoded(None)))
        if self._graph is not None and self._uniform is not None:
            for frame in self._alike(self._uniform, None):
                packets += self._filtered(self._graph, frame)
            packets += self._filtered(self._graph, None)
        if self._last is None:
            self.damaged = self._before
        return packets + self._tagged(None)

    def _decoded(self, packet: Packet[Stream] | None) -> list[AudioFrame]:
        """Frames of a packet, and silence for a damaged one.

        What comes before the first that can be decoded is no damage: a recording starts anywhere.
        """
        try:
            frames = self._source.decode(cast("Packet[Any] | None", packet))
        except FFmpegError as error:
            check_memory(error)
            if self._last is None:
                self._before += 1
                return []
            self.damaged += 1
            return [] if packet is None else [_silence(packet, self._last)]
        self._last = frames[-1] if frames else self._last
        return frames

    def _encoded(self, frames: Iterable[AudioFrame]) -> Iterator[Packet[Stream]]:
        for frame in frames:
            if frame.pts is None:
                continue
            if self._graph is None or self._uniform is None:
                with encoding(self.name):
                    self._graph = self._filter(frame)
                ticks = frame.time_base or self._source.time_base or Fraction(1, frame.sample_rate)
                self._uniform = _Uniform(frame, ticks)
            for one in self._alike(self._uniform, frame):
                yield from self._filtered(self._graph, one)

    def _alike(self, uniform: _Uniform, frame: AudioFrame | None) -> list[AudioFrame]:
        with encoding(self.name):
            return list(uniform.frames(frame))

    def _filtered(self, graph: Graph, frame: AudioFrame | None) -> list[Packet[Stream]]:
        """What comes out when this frame, or the end of the sound, goes in."""
        packets: list[Packet[Stream]] = []
        with encoding(self.name):
            graph.push(frame)
            while True:
                try:
                    made = cast(AudioFrame, graph.pull())
                except (NothingYetError, EndOfStreamError):
                    return packets
                packets += self._tagged(made)

    def _tagged(self, frame: AudioFrame | None) -> list[Packet[Stream]]:
        with encoding(self.name):
            return cast("list[Packet[Stream]]", self.target.encode(frame))

    def _filter(self, first: AudioFrame) -> Graph:
        """From frames as decoded to frames as the encoder takes them; gaps and overlaps from 0.1 s on are mended."""
        graph, encoder = Graph(), self._encoder
        time_base = first.time_base or self._source.time_base
        source = graph.add_abuffer(
            sample_rate=first.sample_rate, format=first.format, layout=first.layout, time_base=time_base
        )
        resample = graph.add("aresample", f"{encoder.sample_rate}:async=1")
        form = graph.add(
            "aformat",
            f"sample_fmts={encoder.format.name}:sample_rates={encoder.sample_rate}"
            f":channel_layouts={encoder.layout.name}",
        )
        graph.link_nodes(source, resample, form, graph.add("abuffersink")).configure()
        if encoder.frame_size:
            graph.set_audio_frame_size(encoder.frame_size)
        return graph


class _Uniform:
    """Frames in the form of the first: broadcasts change channels, and rates, where another programme begins, and
    filters take frames of one form only."""

    def __init__(self, first: AudioFrame, time_base: Fraction) -> None:
        self._form = self._given = _form_of(first)
        self._time_base = time_base
        self._resampler: AudioResampler | None = None

    def frames(self, frame: AudioFrame | None) -> Iterator[AudioFrame]:
        """What is made of one frame, or of the end of the sound; raises what FFmpeg raises."""
        form = None if frame is None else _form_of(frame)
        if self._resampler is not None and form != self._given:
            yield from self._timed(self._resampler.resample(None))
            self._resampler = None
        if frame is None or form is None:
            return
        self._given = form
        if form == self._form:
            yield frame
            return
        self._resampler = self._resampler or AudioResampler(*self._form)
        yield from self._timed(self._resampler.resample(frame))

    def _timed(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        """In ticks of the first frame."""
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts = round(frame.pts * frame.time_base / self._time_base)
                frame.time_base = self._time_base
            yield frame


def _form_of(frame: AudioFrame) -> tuple[str, str, int]:
    """(format of samples, layout of channels, samples a second)"""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _silence(packet: Packet[Stream], last: AudioFrame) -> AudioFrame:
    """What a damaged packet becomes: as long as it says, up to a second, else as long as the frame before."""
    seconds = min(max(packet.duration or 0, 0) * packet.time_base, 1)
    frame = AudioFrame(last.format, last.layout, round(seconds * last.sample_rate) or last.samples)
    frame.pts, frame.time_base, frame.sample_rate = packet.pts, packet.time_base, last.sample_rate
    middle = b"\x80" if last.format.name.startswith("u8") else b"\0"
    for plane in frame.planes:
        plane.update(middle * plane.buffer_size)
    return frame


def _encoder(container: str, decoder: str, samples: str) -> str:
    """FFmpeg's name of the encoder: what lost nothing so far loses nothing in Matroska and QuickTime.

    Args:
        samples: form that the decoder gives them in.
    """
    lossless = decoder.startswith(_LOSSLESS)
    if container == "mov" and lossless:
        return _PLAIN.get(samples.removesuffix("p"), "pcm_s16le")
    if container in ("mp4", "mov"):
        return "aac"
    return "flac" if container == "mkv" and lossless else "libopus"


def _rate(encoder: str, rate: int) -> int:
    """The source's sample rate where the encoder has it, else the nearest above."""
    if encoder == "libopus":
        return _OPUS_RATE
    if encoder == "aac":
        return min((have for have in _AAC_RATES if have >= rate), default=_AAC_RATES[0])
    return rate
