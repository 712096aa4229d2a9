"""The frames of one segment, exactly those that were planned, from a film that any worker opens anew.

Decoding begins at the packet that the plan names, or goes on from where another segment that began there has ended
(`reader.py`). Only where the first frames cannot be had from there is it tried from earlier keyframes, and from the
start of the film, before anything is called damage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, Span
from farm.media.video.plan import FIELD_CONTEXT, video_params
from farm.media.video.planes import SourceFormat, is_transparent, lacks_palette, source_format
from farm.media.video.read.damage import decode_error
from farm.media.video.read.decoder import DecodedFrame, FrameSource
from farm.media.video.read.deinterlace import deinterlaced
from farm.media.video.read.facts import other_colours
from farm.media.video.read.reader import FilmReader, Opening, StartNotFoundError
from farm.media.video.values import ONE_THREAD, DecoderConfig, Frame, Planes
from farm.params import UpscaleParams

_EARLIER_S = (0, 1, 10)
"""how far before the wanted keyframe is sought: demuxers that search by decode times land behind it"""
_AHEAD = 4
"""frames that may come before one that is still missing is given up"""


@dataclass(slots=True)
class _Wanted:
    """One source frame that the segment is made of."""

    stamp: int
    outputs: list[int]
    """output frames that show it"""


class _Damage(Exception):
    """A frame of the segment is damaged or missing."""

    def __init__(self, output: int, *, at_start: bool, lost: bool = False) -> None:
        super().__init__(output)
        self.output = output
        self.at_start = at_start
        """whether no whole frame came before it, so that another start may help"""
        self.lost = lost
        """whether the packet to start from was not found"""


def iter_frames(
    reader: FilmReader,
    film: FilmPlan,
    span: Span,
    params: UpscaleParams,
    how: DecoderConfig = ONE_THREAD,
    outputs: Sequence[int] | None = None,
) -> Generator[Frame]:
    """The segment's frames, in order; one that is shown twice has the same planes, the same object, twice.

    Args:
        reader: of the film; what it keeps is used where it helps, and something is kept for the next segment.
        outputs: numbers of the frames that the span's `pts` name, where they are not all of its `frames`: what lies
            between them is decoded, but may be damaged where they do not depend on it.

    Raises:
        ItemError: DECODE_ERRORS, which lists the damaged frames of the whole film, unless `allow_damaged` is set: a
            missing frame then repeats another, and those that suffered say so. UNSUPPORTED for frames that are not as
            the plan says: other sizes, other formats, fields.
    """
    allowed = video_params(params).allow_damaged
    segment = _Segment(reader, film, span, params, outputs)
    how = ONE_THREAD if allowed else how  # which packet was refused is only known of one thread in software
    searching = True
    for opening in reader.openings(segment.openings(how), span):
        if opening.packet is not None and not searching:
            continue
        try:
            yield from segment.frames(opening)
            return
        except _Damage as damage:
            if segment.changed is not None:
                raise segment.changed from damage
            searching = searching and damage.lost
            if opening.last or not damage.at_start:
                raise decode_error(reader.source, reader.url, film, params, damage.output) from damage


class _Segment:
    """What is still to come of one segment, over several attempts."""

    def __init__(
        self,
        reader: FilmReader,
        film: FilmPlan,
        span: Span,
        params: UpscaleParams,
        outputs: Sequence[int] | None,
    ) -> None:
        video = video_params(params)
        self._reader = reader
        self._url = reader.url
        self._film = film
        self._span = span
        self._allowed = video.allow_damaged
        self._wanted = _wanted(span, outputs or range(*span.frames), repeats=bool(video.fps))
        self._places: dict[int, list[int]] = {}
        for place, one in enumerate(self._wanted):
            self._places.setdefault(one.stamp, []).append(place)
        self._ascending = all(a.stamp <= b.stamp for a, b in zip(self._wanted, self._wanted[1:], strict=False))
        self.changed: ItemError | None = None
        """what is told of frames of another size or format than the film's"""
        self._surprised = False
        """whether another segment might not come to where this one has come"""
        self._next = 0
        self._sound = False
        """whether a whole frame was given"""
        self._previous: Planes | None = None
        self._spare: DecodedFrame | None = None
        """a frame before the segment, or behind it, that stands for frames of which nothing is left"""

    def openings(self, how: DecoderConfig) -> list[Opening]:
        """The attempts, each dearer than the one before."""
        packet = self._span.seek_pts

        def opening(seek: int | None, packet: int | None, *, last: bool = False) -> Opening:
            return Opening(
                seek=seek,
                packet=packet,
                stream_index=self._film.stream_index,
                counted=self._span.seek_pts is None,
                settled=self._allowed,
                how=how,
                last=last,
            )

        whole = opening(None, None, last=True)
        if packet is None:
            return [whole]
        earlier = [packet - int(seconds / self._film.time_base) for seconds in _EARLIER_S]
        return [*(opening(seek, packet) for seek in (*earlier, None)), opening(earlier[-1], None), whole]

    def frames(self, opening: Opening) -> Iterator[Frame]:
        """Frames that were not given before; raises _Damage."""
        try:
            with self._reader.decoding(opening) as decoding:
                shown = self._checked(decoding.frames(), opening, knows_colours=decoding.decoder.is_own)
                if self._film.deinterlace:
                    shown = deinterlaced(self._near(shown), self._url, self._film.fields)
                yield from self._matched(shown, opening, decoding.decoder)
                decoding.keeps = self._leaves_in_order(decoding.decoder)
        except StartNotFoundError:
            raise self._damage(lost=True) from None

    def _leaves_in_order(self, decoder: FrameSource) -> bool:
        """Whether the next segment, opened anew, would come to the same decoder: nothing is damaged, nothing odd."""
        return decoder.found_start and not (decoder.failed or self._surprised or self.changed)

    def _checked(
        self, frames: Iterable[DecodedFrame], opening: Opening, *, knows_colours: bool
    ) -> Iterator[DecodedFrame]:
        """Frames that are as the plan says; of damaged ones, others are as good as missing.

        `knows_colours`: what frames say of them is what the plan was told, as of another decoder it is not.
        """
        layout = self._film.source
        planned = (layout.width, layout.height, layout.model, layout.depth, layout.chroma_shift)
        others = 0
        for one in frames:
            frame, kind = one.frame, source_format(one.frame.format.name)
            found = kind and (frame.width, frame.height, kind.model, kind.depth, kind.chroma_shift)
            if kind is not None and found == planned and (kind.alpha or not layout.alpha):
                if not (self._sound or opening.last) and lacks_palette(one.frame):
                    raise self._damage(lost=True)
                if self._place(one.stamp) is not None:
                    self._refuse_other(one, kind)
                    if knows_colours and not one.damaged:
                        self._refuse_colours(one, kind)
                yield one
            elif not one.damaged:
                self.changed = self._change(one)
                others += 1
                if self._place(one.stamp) is not None:
                    raise self.changed
                if others > _AHEAD:
                    return

    def _refuse_other(self, one: DecodedFrame, kind: SourceFormat) -> None:
        """Refuse a frame of the segment that has what the film was planned without."""
        if one.frame.interlaced_frame and not self._film.deinterlace:
            found = f"frame {self._number(one.stamp)} is interlaced, others before it are not"
            advice = "add --deinterlace, which makes one whole frame of each two fields"
            raise ItemError(ErrorKind.UNSUPPORTED, self._url, found, advice)
        if not self._film.source.alpha and is_transparent(one.frame, kind):
            found = f"frame {self._number(one.stamp)} is transparent, the first has no transparency"
            raise ItemError(ErrorKind.UNSUPPORTED, self._url, found, "cut the film where its format changes")

    def _refuse_colours(self, one: DecodedFrame, kind: SourceFormat) -> None:
        other = other_colours(one.frame, kind, self._film)
        if other is not None:
            found = f"frame {self._number(one.stamp)} is of {other}, the first is not"
            raise ItemError(ErrorKind.UNSUPPORTED, self._url, found, "cut the film where its colours change")

    def _change(self, one: DecodedFrame) -> ItemError:
        """The error of a film whose frames change; decoders also lose frames just before that."""
        frame, layout = one.frame, self._film.source
        where = "a frame" if self._place(one.stamp) is None else f"frame {self._number(one.stamp)}"
        found = f"{where} is {frame.width} x {frame.height} {frame.format.name}, "
        found += f"the first is {layout.width} x {layout.height}"
        return ItemError(ErrorKind.UNSUPPORTED, self._url, found, "cut the film where its size or format changes")

    def _near(self, frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The segment's frames and those around it, which fields are made whole from."""
        before: deque[DecodedFrame] = deque(maxlen=FIELD_CONTEXT)
        begun, after = False, 0
        last = self._wanted[-1].stamp
        for one in frames:
            begun = begun or self._place(one.stamp) is not None
            if not begun:
                before.append(one)
                continue
            while before:
                yield before.popleft()
            yield one
            after += one.stamp == last or after > 0
            if after > FIELD_CONTEXT:
                return

    def _matched(self, frames: Iterable[DecodedFrame], opening: Opening, decoder: FrameSource) -> Iterator[Frame]:
        """The frames of the segment among those that are decoded, in order, none twice, none left out."""
        ahead: dict[int, DecodedFrame] = {}
        skip, past = self._span.skip, 0
        for one in frames:
            if skip and one.stamp == self._wanted[0].stamp:
                skip -= 1
                continue
            place = self._place(one.stamp, ahead)
            if place is not None:
                ahead[place] = one
                while self._next in ahead or len(ahead) > _AHEAD:
                    yield from self._taken(ahead, opening)
            elif self._ascending and one.stamp > self._wanted[-1].stamp:
                past += 1
                self._spare = self._spare or one
            elif self._next == 0:
                self._spare = one
            if self._next == len(self._wanted) or past > _AHEAD:
                break
        if not decoder.found_start:
            raise self._damage(lost=True)
        while self._next < len(self._wanted):
            yield from self._taken(ahead, opening)

    def _taken(self, ahead: dict[int, DecodedFrame], opening: Opening) -> Iterator[Frame]:
        """The next frame, out of those that have come; concealed by another where it has not."""
        one = ahead.pop(self._next, None)
        damaged = one is None or one.damaged
        if damaged and (not self._allowed or (not self._sound and not opening.last)):
            raise self._damage()
        if one is not None:
            planes = self._planes(one)
        elif self._previous is not None:
            planes = self._previous
        elif self._spare is not None:
            planes = self._planes(self._spare)
        elif ahead:
            planes = self._planes(ahead[min(ahead)])
        else:
            self._surprised = True
            raise self._damage(lost=True)
        outputs = self._wanted[self._next].outputs
        self._next += 1
        self._sound = self._sound or not damaged
        self._previous = planes
        for output in outputs:
            yield Frame(index=output, planes=planes, damaged=damaged)

    def _planes(self, one: DecodedFrame) -> Planes:
        kind = source_format(one.frame.format.name)
        if kind is None:
            raise ValueError(f"unchecked frame of {one.frame.format.name}")
        return kind.read(one.frame)[: len(self._film.source.plane_sizes)]

    def _place(self, stamp: int, ahead: Iterable[int] = ()) -> int | None:
        """Which of the frames still wanted this is, or None."""
        places = self._places.get(stamp, ())
        return next((place for place in places if place >= self._next and place not in ahead), None)

    def _number(self, stamp: int) -> int:
        return self._wanted[self._place(stamp) or 0].outputs[0]

    def _damage(self, *, lost: bool = False) -> _Damage:
        self._surprised = self._surprised or not lost or bool(self._next)
        wanted = self._wanted[min(self._next, len(self._wanted) - 1)]
        return _Damage(wanted.outputs[0], at_start=not self._sound, lost=lost)


def _wanted(span: Span, outputs: Sequence[int], *, repeats: bool) -> list[_Wanted]:
    """The source frames of a segment; equal timestamps are one frame shown again where a rate was asked for."""
    wanted: list[_Wanted] = []
    for output, stamp in zip(outputs, span.pts, strict=True):
        if repeats and wanted and wanted[-1].stamp == stamp:
            wanted[-1].outputs.append(output)
        else:
            wanted.append(_Wanted(stamp, [output]))
    return wanted
