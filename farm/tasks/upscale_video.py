"""The task that restores films: the cut into segments, the segments, and the join into one file.

A film's packets are read once (FILM); each SEGMENT is decoded, restored and encoded once, by any worker, and waits
under OUT/.farm; the JOIN puts segments together without encoding anything again and copies all else from the source.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import BinaryIO, Protocol

from farm import entries, failpoints, storage
from farm.errors import ErrorKind, ItemError, LostPiecesError
from farm.film import FilmPlan, SegmentReport, Span
from farm.kinds import is_frame_name
from farm.media import video
from farm.params import UpscaleParams
from farm.records import Done, Part, PartKind, Piece, Split, WorkItem
from farm.sizes import refuse_size
from farm.target import SMALLER
from farm.tasks.chain import Plans, mode_of, plan_chain
from farm.tasks.faces import check_whole, face_bytes
from farm.tasks.frames import FramePipeline, ShownFrame
from farm.tasks.open_films import OpenFilms, Turn, Wanted
from farm.tasks.restore import batch_note, body_bytes
from farm.tasks.station import Clock, Settled, Station, check_digest, reading, stamp_of
from sr_kernel.believable.floors import suspicions
from sr_kernel.colour import Planes
from sr_kernel.fidelity import PixelStats
from sr_kernel.hardware import give_back_freed_memory

_GPU_DECODER_THREADS = 4
_DECODER_FRAMES = 24
"""frames that a decoder, its reordering and a deinterlacer hold at most"""
_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED, ErrorKind.MISSING, ErrorKind.CHANGED_DURING_READ})
_PROBE_BYTES = 256 << 20
"""what reading all packets, or joining all pieces, holds in memory at most"""
_HOLES_S = 10.0
"""between two times that freed memory is given back: each costs what follows some tenths of a second"""
_SMALLER = f"lower --tile-px or --exact-px, use fewer --workers, or {SMALLER}"


class UpscaleVideo:
    """One per worker; see farm.tasks.base.Task."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._films = OpenFilms(station.budget, in_turn=station.context.device == "cpu")
        self._closed_s = time.monotonic()

    def run(self, part: Part, batch_limit: int | None) -> Done | Split:
        clock = Clock()
        if part.kind is PartKind.FILM:
            return self._film(part, clock)
        if part.kind is PartKind.SEGMENT:
            done = self._segment(part, clock, batch_limit)
            self._close_holes()
            return done
        return self._join(part, clock)

    def stop(self) -> None:
        self._station.stop()
        self._films.stop()

    # -- the three kinds of parts ------------------------------------------------------------------------------

    def _film(self, part: Part, clock: Clock) -> Split:
        item, url = part.item, part.item.row.source_url
        with self._source(item, clock) as source, self._station.budget.hold(_PROBE_BYTES):
            if item.row.sha256 is not None and source.file is not None:
                check_digest(item, storage.sha256_of(url))
            cut = video.read_film(source.file, url, item.upscale)
            film = replace(cut.film, version=source.settled.version)
        refusal = refuse_size(item, *film.shown_sides)
        if refusal is not None:
            raise refusal
        check_whole(item.upscale.face, url, film.source.width, film.source.height)
        return Split(
            part_id=part.part_id,
            size=(film.source.width, film.source.height),
            film=film,
            spans=cut.spans,
            node=self._station.node,
            worker=self._station.name,
        )

    def _segment(self, part: Part, clock: Clock, batch_limit: int | None) -> Done:
        item, film, span = part.item, _film_of(part), _span_of(part)
        plans = _frame_plans(item, film)
        pipeline = FramePipeline(self._station, item, film, plans, batch_limit, clock)
        wanted = _segment_bytes(film, span, plans, pipeline, item.upscale)
        wanted += face_bytes(item.upscale.face, film.source.width, film.source.height, self._station.context.device)
        notes = _Notes(film, span)
        with (
            self._turn(item, film, span, clock) as turn,
            self._station.held(item, wanted, _SMALLER),
            self._settled(item, clock, film.version) as settled,
        ):
            with closing(self._decoded(turn, item, film, span)) as frames, self._sink(item, film) as sink:
                for shown in pipeline.run(frames):
                    notes.add(shown)
                    with clock.stage("encode"):
                        failpoints.hit("encode", item.output_url)
                        sink.write(shown.index, shown.planes)
                with clock.stage("encode"):
                    data = sink.finish()
            with clock.stage("write"):
                settled.check()
                published = self._station.publish(self._station.piece_url(part), data, key=part.part_id)
        return self._done(
            part,
            published,
            clock,
            frames=len(span.pts),
            stats=notes.stats,
            mode=mode_of(plans),
            precision=entries.joined_precision(pipeline.precisions),
            report=notes.report,
            extent=span.frames,
            warning=batch_note(item.upscale, pipeline.smaller),
            lacking=bool(notes.report.damaged),
        )

    @contextmanager
    def _turn(self, item: WorkItem, film: FilmPlan, span: Span, clock: Clock) -> Generator[Turn]:
        """The film, open already where that helps; waits for the segments before this one, and holds nothing else."""
        url = item.row.source_url
        if video.is_sequence(url):
            yield Turn(None)
            return
        held = _DECODER_FRAMES * film.source.bytes
        with ExitStack() as stack:
            with clock.stage("wait"):
                wanted = Wanted(url=url, version=film.version, span=span, held_bytes=held)
                turn = stack.enter_context(self._films.turn(wanted, partial(_opened, url)))
            yield turn

    def _decoded(self, turn: Turn, item: WorkItem, film: FilmPlan, span: Span) -> Generator[video.Frame]:
        """The segment's frames; when all are there the next one may be decoded, while this one is still restored."""
        yield from video.iter_frames(turn.reader, item.row.source_url, film, span, item.upscale, self._decoder)
        turn.end()

    def _close_holes(self) -> None:
        """So that a worker takes no more memory for a long film than for a short one."""
        if time.monotonic() - self._closed_s >= _HOLES_S:
            give_back_freed_memory()
            self._closed_s = time.monotonic()

    def _join(self, part: Part, clock: Clock) -> Done:
        item, film = part.item, _film_of(part)
        self._films.end_film(item.row.source_url)
        report = entries.joined_report(piece.report for piece in part.pieces)
        if len(report.damaged) == film.frames:
            advice = "it may be encrypted; copy it again from where it plays"
            raise ItemError(ErrorKind.DECODE_ERRORS, item.row.source_url, "not one frame of it is whole", advice)
        stats = sum((piece.stats for piece in part.pieces), PixelStats())
        suspect = self._station.judged(suspicions(stats), item, "the restored film")
        mode = mode_of(_frame_plans(item, film))
        precision = entries.joined_precision(piece.precision for piece in part.pieces)
        stamp = stamp_of(item, precision=precision, mode=mode)
        with (
            self._source(item, clock, film.version) as source,
            self._station.budget.hold(_PROBE_BYTES),
            self._joining(part),
            clock.stage("encode"),
        ):
            failpoints.hit("join", item.output_url)
            join = self._joined if film.encoder else self._indexed
            published, joined = join(part, source, film, stamp)
        done = self._done(
            part,
            published,
            clock,
            frames=film.frames,
            stats=stats,
            mode=mode,
            precision=precision,
            report=report,
            warning=entries.joined_warning(
                film.warning, joined.warning, _damage(report), *(piece.warning for piece in part.pieces)
            ),
            lacking=film.lacking or joined.lacking or bool(report.damaged),
        )
        return replace(done, suspect=suspect)

    def _joined(
        self, part: Part, source: _Source, film: FilmPlan, stamp: dict[str, str] | None
    ) -> tuple[storage.Published, video.Joined]:
        """The film as one file."""
        item = part.item
        openers = [partial(storage.open_read, piece.url) for piece in part.pieces]
        with self._station.root.open_write(item.output_url, key=item.item_id) as sink:
            url, params = item.row.source_url, item.upscale
            joined = video.join_film(source.file, url, film, part.out_pts, params, openers, sink, stamp)
            source.settled.check()
            self._station.check_alive()
            return sink.commit(), joined

    def _indexed(
        self, part: Part, source: _Source, film: FilmPlan, stamp: dict[str, str] | None
    ) -> tuple[storage.Published, video.Joined]:
        """The film as pictures, which are there already: they are looked at, and their index is written."""
        item = part.item
        folder = storage.parent(item.output_url)
        there = {stat.url: stat.bytes for stat in storage.list_files(folder)}
        wanted = {url: (sha256, size) for piece in part.pieces for url, sha256, size in _pictures_of(piece)}
        if any(there.get(url) != size for url, (_, size) in wanted.items()):
            found = f"pictures of it in {folder} are not those that its segments wrote"
            raise ItemError(ErrorKind.MISSING, item.row.source_url, found, "run the same command again")
        for url in there.keys() - wanted.keys() - {item.output_url}:
            if is_frame_name(storage.name(url)):
                storage.delete(url)  # of a longer film that had this name before
        index = video.sequence_index(film, part.out_pts, item.upscale, stamp, tuple(wanted.values()))
        source.settled.check()
        warning = video.left_behind(source.file, item.row.source_url, film, item.upscale)
        return self._station.publish(item.output_url, index, key=item.item_id), video.Joined(warning=warning)

    @contextmanager
    def _joining(self, part: Part) -> Generator[None]:
        """Segments that are damaged, lost or unfit are no fault of the source: they go; the next run makes them anew.

        Unfit are those that other encoders made than the rest: those of another build of FFmpeg, or another driver's.
        """
        try:
            yield
        except ItemError as error:
            bad = [piece for piece in part.pieces if error.kind in _DAMAGE and not _is_whole(piece)]
            what = "were damaged or lost"
            if not bad and isinstance(error, video.UnfitPiecesError):
                bad = [piece for piece in part.pieces if error.index in (None, piece.index)]
                what = "did not fit together"
            if not bad:
                raise
            for piece in bad:
                storage.delete(piece.url)
            raise LostPiecesError(
                ErrorKind.CHANGED_DURING_READ,
                part.item.row.source_url,
                f"{len(bad)} finished segments of it {what} before the join ({error.found})",
                "run the same command again, which makes them anew",
            ) from error

    @property
    def _decoder(self) -> video.DecoderConfig:
        """A CPU worker has one core; what feeds a GPU must not wait for one."""
        context = self._station.context
        if context.device == "cpu":
            return video.DecoderConfig()
        return video.DecoderConfig(threads=_GPU_DECODER_THREADS, hardware=context.decoder == "nvdec")

    # -- what they share ---------------------------------------------------------------------------------------

    @contextmanager
    def _source(self, item: WorkItem, clock: Clock, version: str = "") -> Generator[_Source]:
        """The source, of which only what is asked for is read; no file for the pictures of a numbered sequence."""
        url = item.row.source_url
        with self._settled(item, clock, version) as settled:
            if video.is_sequence(url):
                yield _Source(settled=settled, file=None)
            else:
                with _opened(url) as file:
                    yield _Source(settled=settled, file=file)

    def _settled(self, item: WorkItem, clock: Clock, version: str) -> AbstractContextManager[Settled]:
        """Checks that the source is, before and after the block, the one that was planned."""
        stat = video.sequence_stat if video.is_sequence(item.row.source_url) else storage.stat
        return self._station.settled(item, stat, clock, version=version)

    @contextmanager
    def _sink(self, item: WorkItem, film: FilmPlan) -> Generator[_Sink]:
        if film.encoder:
            with video.SegmentEncoder(film, item.row.source_url) as encoder:
                yield _Encoded(encoder)
        else:
            yield _Pictures(self._station, item, film)

    def _done(
        self,
        part: Part,
        published: storage.Published,
        clock: Clock,
        *,
        frames: int,
        stats: PixelStats,
        mode: str,
        precision: str,
        report: SegmentReport,
        lacking: bool,
        extent: tuple[int, int] | None = None,
        warning: str | None = None,
    ) -> Done:
        film = _film_of(part)
        done = self._station.done(part, published, clock, stats=stats, mode=mode, precision=precision)
        return replace(
            done,
            width=film.target.width,
            height=film.target.height,
            source_px=film.source.width * film.source.height * frames,
            frames=frames,
            report=report,
            extent=extent,
            warning=warning,
            lacking=lacking,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A film's source while a part of it is done."""

    settled: Settled
    file: BinaryIO | None
    """None for a numbered sequence, whose pictures are opened one by one"""


class _Sink(Protocol):
    """Where the frames of a segment go."""

    def write(self, index: int, planes: Planes) -> None: ...

    def finish(self) -> bytes:
        """What is kept under OUT/.farm until the join."""
        ...


class _Encoded:
    """Frames become a piece of a film."""

    def __init__(self, encoder: video.SegmentEncoder) -> None:
        self._encoder = encoder

    def write(self, index: int, planes: Planes) -> None:  # noqa: ARG002 (pieces count from 0)
        self._encoder.write(planes)

    def finish(self) -> bytes:
        return self._encoder.finish()


class _Pictures:
    """Frames become pictures of a numbered sequence at once; its index, written by the join, makes it whole."""

    def __init__(self, station: Station, item: WorkItem, film: FilmPlan) -> None:
        self._station = station
        self._item = item
        self._film = film
        self._written: list[tuple[str, str, int]] = []

    def write(self, index: int, planes: Planes) -> None:
        params = self._item.upscale
        url = storage.join(storage.parent(self._item.output_url), video.frame_name(index, params))
        picture = video.encode_still(planes, self._film, params, self._item.row.source_url)
        published = self._station.publish(url, picture, key=self._item.item_id)
        self._written.append((url, published.sha256, published.bytes))

    def finish(self) -> bytes:
        return json.dumps(self._written).encode()


class _Notes:
    """What is known of a segment's frames, gathered while they are shown."""

    def __init__(self, film: FilmPlan, span: Span) -> None:
        self._time_base = film.out_base
        self._pts = dict(zip(range(*span.frames), span.out_pts, strict=True))
        self._changes: defaultdict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self._damaged: list[int] = []
        self.stats = PixelStats()

    def add(self, shown: ShownFrame) -> None:
        self.stats = self.stats + shown.stats
        if shown.damaged:
            self._damaged.append(shown.index)
        if shown.change_in is not None and shown.change_out is not None:
            second = int(Fraction(self._pts[shown.index]) * self._time_base)
            before = self._changes[second]
            self._changes[second] = (before[0] + shown.change_in, before[1] + shown.change_out)

    @property
    def report(self) -> SegmentReport:
        changes = ((second, round(one, 4), round(two, 4)) for second, (one, two) in sorted(self._changes.items()))
        return SegmentReport(changes=tuple(changes), damaged=tuple(self._damaged))


def _opened(url: str) -> BinaryIO:
    with reading(url):
        return storage.open_read(url)


def _film_of(part: Part) -> FilmPlan:
    if part.film is None:
        raise ValueError(f"{part.part_id} has no film")
    return part.film


def _span_of(part: Part) -> Span:
    if part.span is None:
        raise ValueError(f"{part.part_id} has no span")
    return part.span


def _frame_plans(item: WorkItem, film: FilmPlan) -> Plans:
    source, target = film.source, film.target
    return plan_chain(item.upscale, source.width, source.height, (target.width, target.height))


def _segment_bytes(film: FilmPlan, span: Span, plans: Plans, pipeline: FramePipeline, params: UpscaleParams) -> int:
    """What a segment needs in memory: frames in flight on both sides, decoder, canvas, encoder, features of a body.

    Between passes the frames of one batch lie as pictures.
    """
    spec, deep = plans[-1].spec, 1 if film.source.depth == 8 else 2
    frames = (pipeline.frames_held + _DECODER_FRAMES) * film.source.bytes + pipeline.frames_held * film.target.bytes
    canvas = spec.out_width * spec.out_height * 3 * deep + spec.width * spec.height * 3 * 4
    canvas += (
        sum(plan.spec.out_width * plan.spec.out_height for plan in plans[:-1]) * 3 * deep * pipeline.frames_a_batch
    )
    body = max(body_bytes(plan, params, pipeline.precision) for plan in plans)
    return frames + canvas + body + (video.encoder_bytes(film, len(span.pts)) if film.encoder else 0)


def _damage(report: SegmentReport) -> str | None:
    if not report.damaged:
        return None
    return f"{len(report.damaged)} damaged frames were concealed: {video.frame_ranges(report.damaged)}"


def _is_whole(piece: Piece) -> bool:
    """Whether a piece, and for a sequence every picture that it lists, is as it was written."""
    try:
        if storage.sha256_of(piece.url) != piece.sha256:
            return False
        return all(storage.stat(url).bytes == size for url, _, size in _pictures_of(piece))
    except ItemError:
        return False


def _pictures_of(piece: Piece) -> list[tuple[str, str, int]]:
    """(URL, sha256, bytes) of the pictures that a segment of a sequence wrote; empty for segments of a film."""
    with storage.open_read(piece.url) as file:
        if file.read(1) != b"[":
            return []
    listed: list[tuple[str, str, int]] = json.loads(storage.read_bytes(piece.url))
    return [(url, sha256, size) for url, sha256, size in listed]
