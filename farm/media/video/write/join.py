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
from av.stream import Stream
from av.video.stream import VideoStream

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, VideoParams
from farm.media.video.faults import check_memory
from farm.media.video.read.source import opened
from farm.media.video.values import Joined
from farm.media.video.write.aspect import write_display_size
from farm.media.video.write.audio import EncodingError
from farm.media.video.write.film_stream import add_film
from farm.media.video.write.late import opened_wide
from farm.media.video.write.loss import lost_in_frames
from farm.media.video.write.other_packets import damaged_packet, other_packets
from farm.media.video.write.output import open_output
from farm.media.video.write.piece import BrokenPieceError, PieceReader, UnfitPiecesError, template_of
from farm.media.video.write.streams import Others, add_audio, add_stream, describe
from farm.media.video.write.timecode import timecode_of
from farm.media.video.write.timing import FrameTimes, constant_rate, drawn_duration, last_duration
from farm.media.video.write.tracks import AnyPacket, CopiedTrack
from farm.media.video.write.trial import first_refused
from farm.params import UpscaleParams

Opener = Callable[[], BinaryIO]


class _PacketRefusedError(Exception):
    """The container refused a packet, which may be one that was given to it before."""

    def __init__(self, error: FFmpegError) -> None:
        super().__init__(str(error))
        self.error = error


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
        out_pts: timestamp of every frame of the film, strictly increasing, in ticks of the film's `out_base`.
        pieces: one a segment, in order; each is called once, when it is due, but for the first, which is looked at
            before. The files are closed here.
        sink: seekable, for writing and reading back; not closed.
        stamp: written as one tag, beside the source's own.

    Returns:
        What a person should know: streams that were left out or changed.

    Raises:
        UnfitPiecesError: pieces are damaged or do not make up the film; CHANGED_DURING_READ, naming them.
        ItemError: DECODE_ERRORS when packets of other streams are damaged, unless that is allowed; CORRUPT when the
            source cannot be read; ENCODE_FAILED when the container or an encoder of sound or subtitles refuses. Errors
            of the files come through as they are.
    """
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    join = _Join(url, film, out_pts, params.video, pieces, stamp)
    if source is None:
        join.write(None, FrameTimes(film=film, out_pts=out_pts, last=drawn_duration(film, out_pts)), sink)
    else:
        with opened(source, url) as container:
            if film.stream_index >= len(container.streams):
                raise join.without_stream()
            lost = lost_in_frames(container, film.stream_index, params.video.container)
            last = last_duration(container, film, out_pts, params.video)
        join.others.warnings.extend([lost] if lost else [])
        times = FrameTimes(film=film, out_pts=out_pts, last=last)
        try:
            with opened_wide(source, url) as container:
                join.write(container, times, sink)
        except _PacketRefusedError as error:
            with opened_wide(source, url) as container:
                raise join.refused_in(container, error) from error
    if film.sample_aspect is not None and film.sample_aspect != 1 and params.video.container in ("mkv", "webm"):
        try:
            write_display_size(sink, film.sample_aspect, join.rank)
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
        self.others = Others(lenient=video.salvage or video.allow_damaged)
        self.rank = 0
        """video streams of the output before the restored one"""

    def write(self, source: InputContainer | None, times: FrameTimes, sink: BinaryIO) -> None:
        """The whole file."""
        output = self._open(source, times, sink)
        try:
            video = self._add_video(output, None) if source is None else self._add_streams(output, source)
            output.start_encoding()
            for cover, picture in self.others.covers:
                output.mux(_cover_packet(cover, picture))
            others = iter(()) if source is None else other_packets(source, self._url, self.others, times.shift)
            self._merge(output, self._video_packets(video, times), others)
        except _PacketRefusedError as error:
            if source is None:
                raise self._refused(error.error) from error
            raise
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

    def refused_in(self, source: InputContainer, refusal: _PacketRefusedError) -> ItemError:
        """What a refused packet means: that another stream is damaged, where it is refused alone as well.

        Args:
            source: opened anew.
        """
        copied = [index for index, track in self.others.tracks.items() if isinstance(track, CopiedTrack)]
        found = first_refused(source, self._container, copied)
        if found is None:
            return self._refused(refusal.error)
        stream, time = found
        return damaged_packet(self._url, describe(stream), time)

    def _add_streams(self, output: OutputContainer, source: InputContainer) -> VideoStream:
        """Every stream of the source in its place; the restored one in that of its source."""
        added: VideoStream | None = None
        self.others.timecode = timecode_of(source, source.streams[self._film.stream_index])
        for stream in source.streams:
            if stream.index == self._film.stream_index and isinstance(stream, VideoStream):
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

    def _add_video(self, output: OutputContainer, original: VideoStream | None) -> VideoStream:
        film = self._film
        rate, self.rank = constant_rate(film, self._out_pts), len(output.streams.video)
        with _of_piece(self._url, 0), self._first_piece() as file, template_of(file, dict(film.options)) as piece:
            self._reorder = piece.codec_context.reorder_depth
            self._extradata = piece.codec_context.extradata or b""
            return add_film(output, film, self._video, piece, original, rate, self.others)

    def _first_piece(self) -> BinaryIO:
        if not self._pieces:
            raise UnfitPiecesError(self._url, "there are no pieces of its segments")
        return self._pieces[0]()

    def _video_packets(self, stream: VideoStream, times: FrameTimes) -> Iterator[tuple[Fraction, AnyPacket]]:
        """(decode time in seconds, packet) of the whole film, in coding order."""
        done = 0
        time_base = self._film.out_base
        for index, opener in enumerate(self._pieces):
            with _of_piece(self._url, index), PieceReader(opener()) as piece:
                if piece.extradata != self._extradata:
                    found = f"piece {index} of its segments has other parameter sets than piece 0"
                    raise UnfitPiecesError(self._url, f"{found}: encoders of two versions or two machines made them")
                if done + piece.packets > len(self._out_pts):
                    last = done + piece.packets
                    raise UnfitPiecesError(
                        self._url, f"piece {index} of its segments ends at frame {last} of {len(self._out_pts)}"
                    )
                for position, (number, packet) in enumerate(piece.numbered(), start=done):
                    frame = done + number
                    if frame < position - self._reorder:
                        raise BrokenPieceError(f"frame {number} comes later than {self._reorder} frames after its turn")
                    dts = times.decode_time(position, self._reorder)
                    yield dts * time_base, _timed(packet, stream, times, frame, dts)
                done += piece.packets
        if done != len(self._out_pts):
            raise UnfitPiecesError(
                self._url, f"pieces 0-{len(self._pieces) - 1} hold {done} frames of {len(self._out_pts)}"
            )

    def _merge(
        self,
        output: OutputContainer,
        video: Iterator[tuple[Fraction, AnyPacket]],
        others: Iterator[tuple[Fraction, AnyPacket]],
    ) -> None:
        """By decode time, a packet of each side in memory; then the end of the file."""
        for _, packet in heapq.merge(video, others, key=itemgetter(0)):  # of two at one time the video's comes first
            failpoints.hit("mux", self._url)
            with _written():
                output.mux(packet)
        with _written():
            output.close()


@contextmanager
def _of_piece(url: str, index: int) -> Generator[None]:
    """Names the piece that is found broken."""
    try:
        yield
    except BrokenPieceError as error:
        raise UnfitPiecesError(url, f"piece {index} of its segments is damaged: {error}", index) from error


@contextmanager
def _written() -> Generator[None]:
    """Inside, what FFmpeg refuses is a packet: this one, or one that it has held back until now."""
    try:
        yield
    except FFmpegError as error:
        check_memory(error)
        raise _PacketRefusedError(error) from error


def _timed(packet: Packet[VideoStream], stream: VideoStream, times: FrameTimes, frame: int, dts: int) -> AnyPacket:
    """A piece's packet with the film's times, in ticks of 1 / denominator of the output's time base."""
    step = times.film.out_base.numerator
    packet.stream, packet.time_base = stream, Fraction(1, times.film.out_base.denominator)
    packet.pts, packet.dts = times.shown_at(frame) * step, dts * step
    packet.duration = times.duration(frame) * step
    return packet  # type: ignore[return-value]


def _cover_packet(stream: Stream, picture: bytes) -> AnyPacket:
    packet = Packet(picture)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    return packet
