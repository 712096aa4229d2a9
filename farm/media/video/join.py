"""All segments of a film into one file, with everything else of the source: nothing is encoded again but what must.

Pieces are opened one after the other and merged with the source's packets by time, so memory does not grow with the
film. Timestamps of frames are the source's. Decode times are made from them for the whole film, with one reorder delay.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import BinaryIO

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.media.video.aspect import write_display_size
from farm.media.video.output import open_output
from farm.media.video.piece import BrokenPieceError, PieceReader, template_of
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.source import opened
from farm.media.video.streams import AnyPacket, Others, add_audio, add_stream, describe, kept_tags
from farm.media.video.timing import FrameTimes, last_duration, usual_duration
from farm.records import FilmPlan, UpscaleParams, VideoParams

Opener = Callable[[], BinaryIO]


def join_film(
    source: BinaryIO | None,
    url: str,
    film: FilmPlan,
    out_pts: Sequence[int],
    params: UpscaleParams,
    pieces: Sequence[Opener],
    sink: BinaryIO,
    stamp: Mapping[str, str] | None,
) -> str | None:
    """Write the film: video from the pieces, everything else from the source.

    Args:
        source: seekable; not closed. None: the film is made of pictures, and has nothing else.
        url: of the source; stands in messages only.
        out_pts: timestamp of every frame of the film, strictly increasing, in ticks of the film's time base.
        pieces: one a segment, in order; each is called once, when it is due, but for the first, which is looked at
            before. The files are closed here.
        sink: seekable, for writing and reading back; not closed.
        stamp: written as one tag, beside the source's own.

    Returns:
        What a person should know: streams that were left out or changed. None: everything is as it was.

    Raises:
        ItemError: CORRUPT when the pieces do not make up the film or the source cannot be read, ENCODE_FAILED when the
            container refuses. Errors of the files come through as they are.
    """
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    join = _Join(url, film, out_pts, params.video, pieces, stamp)
    if source is None:
        join.write(None, FrameTimes(film=film, out_pts=out_pts, last=usual_duration(film, out_pts)), sink)
    else:
        with opened(source, url) as container:
            last = last_duration(container, film, out_pts, params.video)
        with opened(source, url) as container:
            join.write(container, FrameTimes(film=film, out_pts=out_pts, last=last), sink)
    if film.sample_aspect is not None and film.sample_aspect != 1 and params.video.container in ("mkv", "webm"):
        try:
            write_display_size(sink, film.sample_aspect)
        except ValueError as error:
            join.others.warnings.append(f"the shape of samples is not in the container ({error})")
    return "; ".join(join.others.warnings) or None


class _Join:
    """One join on its way."""

    def __init__(
        self,
        url: str,
        film: FilmPlan,
        out_pts: Sequence[int],
        video: VideoParams,
        pieces: Sequence[Opener],
        stamp: Mapping[str, str] | None,
    ) -> None:
        self._url = url
        self._film = film
        self._out_pts = out_pts
        self._video = video
        self._container = video.container
        self._pieces = pieces
        self._stamp = stamp
        self.others = Others()

    def write(self, source: InputContainer | None, times: FrameTimes, sink: BinaryIO) -> None:
        """The whole file."""
        output = open_output(sink, source, self._container, times, self._stamp, self.others)
        try:
            video = self._add_video(output, None) if source is None else self._add_streams(output, source)
            output.start_encoding()
            for cover, picture in self.others.covers:
                output.mux(_cover_packet(cover, picture))
            self._merge(output, self._video_packets(video, times), self._other_packets(source, times))
            output.close()
        except FFmpegError as error:
            found = f"{self._container} cannot be written ({str(error)[:200]})"
            advice = "ask for --container mkv, or for --audio transcode"
            raise ItemError(ErrorKind.ENCODE_FAILED, self._url, found, advice) from error
        finally:
            with suppress(FFmpegError, OSError, ValueError):  # what went wrong is already on its way
                output.close()

    def _add_streams(self, output: OutputContainer, source: InputContainer) -> VideoStream:
        """Every stream of the source in its place; the restored one in that of its source."""
        added: VideoStream | None = None
        for stream in source.streams:
            if stream.index == self._film.stream_index:
                added = self._add_video(output, stream)
            elif isinstance(stream, AudioStream):
                if self._video.audio != "none":
                    add_audio(output, self._container, stream, self._video.audio, self.others)
            else:
                add_stream(output, self._container, source, stream, self.others)
        if added is None:
            found = f"it has no stream {self._film.stream_index} any more"
            raise ItemError(ErrorKind.CORRUPT, self._url, found, "copy it again, then run again")
        return added

    def _add_video(self, output: OutputContainer, original: Stream | None) -> VideoStream:
        film = self._film
        with _of_piece(self._url, 0), self._first_piece() as file, template_of(file, dict(film.options)) as template:
            self._reorder = template.codec_context.reorder_depth
            self._extradata = template.codec_context.extradata or b""
            stream = output.add_stream_from_template(template, opaque=True)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = film.target.width, film.target.height, film.pix_fmt
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = film.colour_tags
        if film.sample_aspect is not None:
            context.sample_aspect_ratio = film.sample_aspect
        if film.rotation:
            stream.set_display_matrix(film.rotation)
        if self._container in ("mp4", "mov") and context.name.startswith("hevc"):
            context.codec_tag = "hvc1"  # the name under which Apple's players take it
        elif context.name == "prores" and len(self._extradata) == 4:
            context.codec_tag = self._extradata.decode("ascii", "replace")
        stream.time_base = Fraction(1, film.time_base.denominator)
        if original is not None:
            stream.metadata.update(kept_tags(original.metadata, copied=False))
            stream.disposition = original.disposition
            if self._container in ("mp4", "mov") and stream.metadata.pop("timecode", None):
                self.others.warnings.append(f"the timecode of {describe(original)} is left out")
        pixel_format = parse_pixel_format(film.pix_fmt)
        if pixel_format is not None and pixel_format.alpha and film.encoder == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"
        return stream

    def _first_piece(self) -> BinaryIO:
        if not self._pieces:
            raise self._mismatch(0)
        return self._pieces[0]()

    def _video_packets(self, stream: VideoStream, times: FrameTimes) -> Iterator[tuple[Fraction, AnyPacket]]:
        """(decode time in seconds, packet) of the whole film, in coding order."""
        done = 0
        time_base = self._film.time_base
        for index, opener in enumerate(self._pieces):
            with _of_piece(self._url, index), PieceReader(opener()) as piece:
                if piece.extradata != self._extradata:
                    raise BrokenPieceError("its parameter sets are not those of the first piece")
                if done + piece.packets > len(self._out_pts):
                    raise self._mismatch(done + piece.packets)
                for position, (number, packet) in enumerate(piece.numbered(), start=done):
                    frame = done + number
                    if frame < position - self._reorder:
                        raise BrokenPieceError(f"frame {number} comes later than {self._reorder} frames after its turn")
                    dts = times.decode_time(position, self._reorder)
                    yield dts * time_base, _timed(packet, stream, times, frame, dts)
                done += piece.packets
        if done != len(self._out_pts):
            raise self._mismatch(done)

    def _other_packets(self, source: InputContainer | None, times: FrameTimes) -> Iterator[tuple[Fraction, AnyPacket]]:
        """(decode time in seconds, packet) of everything else, as the source has it, in the order of its file."""
        tracks = self.others.tracks
        if source is None or not tracks:
            return
        wanted = [source.streams[index] for index in tracks]
        for stream in source.streams:
            if stream.index not in tracks:
                stream.discard = Discard.all  # demuxers with an index then leave out the bytes
        now = Fraction(0)
        try:
            for packet in source.demux(wanted):
                if packet.size == 0 and packet.pts is None and packet.dts is None:
                    continue  # how the reader says that this was all
                for made in tracks[packet.stream_index].send(packet):
                    now = _shifted(made, times.shift, now)
                    yield now, made
        except FFmpegError as error:
            if not (self._video.salvage or self._video.allow_damaged):
                found = f"its other streams cannot be read to the end ({str(error)[:200]})"
                raise ItemError(ErrorKind.CORRUPT, self._url, found, "copy it again, or ask for --salvage") from error
            self.others.warnings.append("the other streams end where the source is damaged")
        for track in tracks.values():
            for made in track.flush():
                now = _shifted(made, times.shift, now)
                yield now, made

    def _merge(
        self,
        output: OutputContainer,
        video: Iterator[tuple[Fraction, AnyPacket]],
        others: Iterator[tuple[Fraction, AnyPacket]],
    ) -> None:
        """By decode time, a packet of each side in memory."""
        one, other = next(video, None), next(others, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one[0] <= other[0]):
                assert one is not None
                output.mux(one[1])
                one = next(video, None)
            else:
                output.mux(other[1])
                other = next(others, None)

    def _mismatch(self, frames: int) -> ItemError:
        found = f"its pieces hold {frames} frames or more of {len(self._out_pts)}"
        return ItemError(ErrorKind.CORRUPT, self._url, found, "run again; pieces are made anew")


@contextmanager
def _of_piece(url: str, index: int) -> Generator[None]:
    """Names the piece that is found broken."""
    try:
        yield
    except BrokenPieceError as error:
        found = f"piece {index} of its segments is damaged: {error}"
        raise ItemError(ErrorKind.CORRUPT, url, found, "run again; pieces are made anew") from error


def _timed(packet: Packet[VideoStream], stream: VideoStream, times: FrameTimes, frame: int, dts: int) -> AnyPacket:
    """A piece's packet with the film's times, in ticks of 1 / denominator of the film's time base."""
    step = times.film.time_base.numerator
    packet.stream, packet.time_base = stream, Fraction(1, times.film.time_base.denominator)
    packet.pts, packet.dts = times.shown_at(frame) * step, dts * step
    packet.duration = times.duration(frame) * step
    return packet  # type: ignore[return-value]


def _shifted(packet: AnyPacket, shift: Fraction, before: Fraction) -> Fraction:
    """Move a packet by so many seconds; its decode time, or that of the packet before where it has none."""
    if shift and packet.pts is not None and packet.dts is not None:
        ticks = round(shift / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return before if packet.dts is None else packet.dts * packet.time_base


def _cover_packet(stream: Stream, picture: bytes) -> AnyPacket:
    packet = Packet(picture)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    return packet
