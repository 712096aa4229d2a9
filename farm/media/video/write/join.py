"""All segments of a film into one file, with everything else of the source: nothing is encoded again but what must.

Pieces are opened one after the other and merged with the source's packets by time, so memory does not grow with the
film. Timestamps of frames are the source's. Decode times are made from them for the whole film, with one reorder delay.

Not kept, because no encoder here is told of them: closed captions inside of frames (CEA-608 and 708), Dolby Vision,
HDR10+ and HDR Vivid metadata; the warning says which of them the first frames have. The film then plays as what lies
below: HDR10, HLG or SDR.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from operator import itemgetter
from typing import BinaryIO

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.media.video.faults import check_memory
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.read.source import opened
from farm.media.video.values import Joined
from farm.media.video.write.aspect import write_display_size
from farm.media.video.write.audio import EncodingError
from farm.media.video.write.loss import lost_in_frames
from farm.media.video.write.output import open_output
from farm.media.video.write.piece import BrokenPieceError, PieceReader, template_of
from farm.media.video.write.streams import AnyPacket, Others, add_audio, add_stream, describe, kept_tags
from farm.media.video.write.timing import FrameTimes, last_duration, usual_duration
from farm.records import FilmPlan, UpscaleParams, VideoParams

_ANEW = "run the same command again; pieces that were changed are made anew"
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
) -> Joined:
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
        What a person should know: streams that were left out or changed.

    Raises:
        ItemError: CHANGED_DURING_READ when pieces are damaged or do not make up the film, naming them; CORRUPT when the
            source cannot be read; ENCODE_FAILED when the container or an encoder of sound or subtitles refuses. Errors
            of the files come through as they are.
    """
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    join = _Join(url, film, out_pts, params.video, pieces, stamp)
    if source is None:
        join.write(None, FrameTimes(film=film, out_pts=out_pts, last=usual_duration(film, out_pts)), sink)
    else:
        with opened(source, url) as container:
            if film.stream_index >= len(container.streams):
                raise join.without_stream()
            lost = lost_in_frames(container, film.stream_index)
            last = last_duration(container, film, out_pts, params.video)
        join.others.warnings.extend([lost] if lost else [])
        with opened(source, url) as container:
            join.write(container, FrameTimes(film=film, out_pts=out_pts, last=last), sink)
    if film.sample_aspect is not None and film.sample_aspect != 1 and params.video.container in ("mkv", "webm"):
        try:
            write_display_size(sink, film.sample_aspect)
        except ValueError as error:
            join.others.warnings.append(f"the shape of samples is not in the container ({error})")
    return Joined(warning="; ".join(join.others.warnings) or None, lacking=join.others.lacking)


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
        output = self._open(source, times, sink)
        try:
            video = self._add_video(output, None) if source is None else self._add_streams(output, source)
            output.start_encoding()
            for cover, picture in self.others.covers:
                output.mux(_cover_packet(cover, picture))
            self._merge(output, self._video_packets(video, times), self._other_packets(source, times))
            output.close()
        except EncodingError as error:
            advice = "ask for --audio copy or none, or for --container mkv"
            raise ItemError(ErrorKind.ENCODE_FAILED, self._url, str(error), advice) from error
        except FFmpegError as error:
            raise self._refused(error) from error
        finally:
            with suppress(FFmpegError, OSError, ValueError):  # what went wrong is already on its way
                output.close()

    def _open(self, source: InputContainer | None, times: FrameTimes, sink: BinaryIO) -> OutputContainer:
        try:
            return open_output(sink, source, self._container, times, self._stamp, self.others)
        except (FFmpegError, ValueError, OverflowError) as error:  # the last two of tags and chapters
            raise self._refused(error) from error

    def _refused(self, error: FFmpegError | ValueError | OverflowError) -> ItemError:
        check_memory(error)
        found = f"{self._container} cannot be written ({str(error)[:200]})"
        advice = "ask for --container mkv, or for --audio transcode"
        return ItemError(ErrorKind.ENCODE_FAILED, self._url, found, advice)

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
            raise self.without_stream()
        return added

    def without_stream(self) -> ItemError:
        """The source is not the file that was planned."""
        found = f"it has no stream {self._film.stream_index} any more"
        return ItemError(ErrorKind.CORRUPT, self._url, found, "copy it again, then run again")

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
        stream.time_base = Fraction(1, film.out_base.denominator)
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
            raise self._unfit("there are no pieces of its segments")
        return self._pieces[0]()

    def _video_packets(self, stream: VideoStream, times: FrameTimes) -> Iterator[tuple[Fraction, AnyPacket]]:
        """(decode time in seconds, packet) of the whole film, in coding order."""
        done = 0
        time_base = self._film.out_base
        for index, opener in enumerate(self._pieces):
            with _of_piece(self._url, index), PieceReader(opener()) as piece:
                if piece.extradata != self._extradata:
                    raise self._unfit(f"piece {index} of its segments has other parameter sets than piece 0")
                if done + piece.packets > len(self._out_pts):
                    last = done + piece.packets
                    raise self._unfit(f"piece {index} of its segments ends at frame {last} of {len(self._out_pts)}")
                for position, (number, packet) in enumerate(piece.numbered(), start=done):
                    frame = done + number
                    if frame < position - self._reorder:
                        raise BrokenPieceError(f"frame {number} comes later than {self._reorder} frames after its turn")
                    dts = times.decode_time(position, self._reorder)
                    yield dts * time_base, _timed(packet, stream, times, frame, dts)
                done += piece.packets
        if done != len(self._out_pts):
            raise self._unfit(f"pieces 0-{len(self._pieces) - 1} hold {done} frames of {len(self._out_pts)}")

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
            check_memory(error)
            if not (self._video.salvage or self._video.allow_damaged):
                found = f"its other streams cannot be read to the end ({str(error)[:200]})"
                raise ItemError(ErrorKind.CORRUPT, self._url, found, "copy it again, or ask for --salvage") from error
            self.others.warnings.append("the other streams end where the source is damaged")
            self.others.lacking = True
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
        for _, packet in heapq.merge(video, others, key=itemgetter(0)):  # of two at one time the video's comes first
            output.mux(packet)

    def _unfit(self, found: str) -> ItemError:
        return ItemError(ErrorKind.CHANGED_DURING_READ, self._url, found, _ANEW)


@contextmanager
def _of_piece(url: str, index: int) -> Generator[None]:
    """Names the piece that is found broken."""
    try:
        yield
    except BrokenPieceError as error:
        found = f"piece {index} of its segments is damaged: {error}"
        raise ItemError(ErrorKind.CHANGED_DURING_READ, url, found, _ANEW) from error


def _timed(packet: Packet[VideoStream], stream: VideoStream, times: FrameTimes, frame: int, dts: int) -> AnyPacket:
    """A piece's packet with the film's times, in ticks of 1 / denominator of the output's time base."""
    step = times.film.out_base.numerator
    packet.stream, packet.time_base = stream, Fraction(1, times.film.out_base.denominator)
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
