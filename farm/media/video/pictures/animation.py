"""Animated GIF, WebP and APNG as films: every frame as it is seen, disposal and blending done.

libvips unfolds GIF and WebP, FFmpeg APNG, which libvips does not know; both page by page, so memory is that of a frame
and of the compressed file. A picture that is no animation is a film of one frame of a tenth of a second. Delays are the
file's own; what shows them as a film follows the browsers (`picture_cut.timeline_of`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from itertools import islice
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pyvips
from av.error import FFmpegError

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, Span
from farm.media.formats import HEAD_BYTES, misnamed, sniff
from farm.media.gate import GATE
from farm.media.image import ImageHeader, Pixels, ReadLimits, decode, decode_rows, read_header
from farm.media.video.faults import check_memory
from farm.media.video.pictures.animation_table import AnimationTable, read_animation_table
from farm.media.video.pictures.cut import Timeline, cut_pictures, timeline_of, video_of
from farm.media.video.pictures.still_frames import is_opaque, pixels_of, planes_of, profile_warning
from farm.media.video.pictures.target import KEEP_PROFILE
from farm.media.video.planes import source_format
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import FilmCut, Frame, Planes
from farm.media.vips import OpenSource, translated
from farm.params import UpscaleParams
from sr_kernel.layout import FrameLayout

_LOADERS: Mapping[str, str] = MappingProxyType({"gif": "gifload_source", "webp": "webpload_source"})
_ROWS = 5_000_000
"""of pages loaded as one tall picture: half of what libvips allowed for a side when it allowed least"""
_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED, ErrorKind.DECODE_ERRORS})
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """An animated picture whose header has passed the rules."""

    file: BinaryIO
    """the source, or what a cut one still holds of whole frames"""
    url: str
    format: str
    """by content: gif, webp, png, or another of one frame"""
    header: ImageHeader
    table: AnimationTable
    limits: ReadLimits
    lost: str | None = None
    """what of the file is lost, where that is allowed"""

    @property
    def frames(self) -> int:
        return self.table.frames

    def pictures(self, first: int, last: int) -> Generator[Pixels, None, None]:
        """Frames ``first <= frame < last``, each whole.

        Raises:
            ItemError: CORRUPT when one of them cannot be decoded.
        """
        if not self.table.animated:
            yield decode(self.file, self.url, self.limits).pixels
        elif self.format in _LOADERS:
            yield from self._vips_pictures(first, last)
        else:
            yield from self._apng_pictures(first, last)

    def _vips_pictures(self, first: int, last: int) -> Generator[Pixels, None, None]:
        height, width = self.header.height, self.header.width
        most = max(1, _ROWS // height)
        for start in range(first, last, most):
            count = min(most, last - start)
            source = OpenSource(self.file)
            with GATE.together(), translated(self._damaged, source):
                image = pyvips.Operation.call(
                    _LOADERS[self.format],
                    source.vips(),
                    access="sequential",
                    fail_on="error",
                    page=start,
                    n=count,
                )
            for number in range(count):
                with GATE.together(), translated(self._damaged, source):
                    region = pyvips.Region.new(image)  # it belongs to the thread that made it, and those change
                    data = region.fetch(0, number * height, width, height)
                yield np.frombuffer(cast("Any", data), np.uint8).reshape(height, width, image.bands)

    def _apng_pictures(self, first: int, last: int) -> Generator[Pixels, None, None]:
        self.file.seek(0)
        number = 0
        try:
            with av.open(self.file, "r", format="apng") as container:
                for frame in container.decode(video=0):
                    found = source_format(frame.format.name)
                    if found is None or frame.is_corrupt:
                        raise self._damaged(f"frame {number} as {frame.format.name}")
                    if first <= number < last:
                        yield pixels_of(found.read(frame))
                    number += 1
                    if number >= last:
                        return
        except FFmpegError as error:
            check_memory(error)
            raise self._damaged(str(error)) from error
        raise self._damaged(f"{number} of {self.frames} frames decodable")

    def _damaged(self, message: str) -> ItemError:
        name = "apng" if self.format == "png" else self.format
        return ItemError(ErrorKind.CORRUPT, self.url, f"damaged {name} ({message[:200]})", "copy it again")


def open_animation(source: BinaryIO, url: str, params: UpscaleParams) -> Animation:
    """Judge an animated picture by its structure and its header; no pixel is decoded.

    Raises:
        ItemError: as `farm.media.image.read_header` says; TRUNCATED for a file that ends early, unless `salvage`:
            then its whole frames are the film; NO_FRAMES.
    """
    video = video_of(params)
    source.seek(0)
    file_format = sniff(source.read(HEAD_BYTES), url)
    table, lost = read_animation_table(source, file_format), None
    if not table.whole and not (video.salvage and table.frames):
        total = f" of {table.declared}" if table.declared else ""
        found = f"the file ends too early, {table.frames}{total} frames decodable"
        raise ItemError(ErrorKind.TRUNCATED, url, found, "copy it again, or keep what there is with --salvage")
    if not table.frames:
        raise ItemError(ErrorKind.NO_FRAMES, url, "not one frame", "remove the row")
    if not table.whole:
        lost = f"the file is cut; the {table.frames} frames that it still holds were kept"
    file = source if table.whole else _whole_frames(source, file_format, table)
    limits = ReadLimits(max_pixels=params.max_pixels_in, pages="first", salvage=video.salvage)
    header = read_header(file, url, limits)
    if file_format in _LOADERS and table.animated and header.pages < table.frames:
        found = lost = f"{header.pages} of {table.frames} frames decodable"
        if not (video.salvage or video.allow_damaged):
            raise ItemError(ErrorKind.DECODE_ERRORS, url, found, "copy it again, or keep what there is with --salvage")
        table = replace(table, delays=table.delays[: header.pages])
    return Animation(file=file, url=url, format=file_format, header=header, table=table, limits=limits, lost=lost)


def _lost(animation: Animation) -> str | None:
    """What of the file is lost; a picture that is no animation is decoded once more, without --salvage, to know."""
    if animation.table.animated or not animation.limits.salvage or _is_sound(animation):
        return animation.lost
    return animation.lost or "the picture is damaged; what it still holds was kept"


def _left_out(animation: Animation, params: UpscaleParams) -> str | None:
    """What is said of a colour profile; nothing where the output keeps it (`animation_join`)."""
    if animation.table.whole and video_of(params).container in KEEP_PROFILE:
        return None
    try:
        return profile_warning(decode_rows(animation.file, animation.url, animation.limits, 0, 1).meta)
    except ItemError as error:  # damage was judged when all frames were decoded
        if error.kind not in _DAMAGE:
            raise
        return None


def _is_sound(animation: Animation) -> bool:
    try:
        decode(animation.file, animation.url, replace(animation.limits, salvage=False))
    except ItemError as error:
        if error.kind not in _DAMAGE:
            raise
        return False
    return True


def read_animation(source: BinaryIO, url: str, params: UpscaleParams) -> FilmCut:
    """The plan of an animated picture. Decodes it once: whether it is whole, and whether its alpha is used.

    Raises:
        ItemError: as `open_animation` says; CORRUPT for frames that cannot be decoded, unless `allow_damaged`.
    """
    animation = open_animation(source, url, params)
    header = animation.header
    opaque = True
    for _, pixels, _ in _shown(animation, 0, animation.frames, params):
        opaque = opaque and is_opaque(pixels)
    layout = FrameLayout(
        width=header.width,
        height=header.height,
        model="gray" if header.gray else "rgb",
        depth=header.depth,
        full_range=True,
        alpha=header.has_alpha and not opaque,  # often it only says what does not change from frame to frame
    )
    lost = _lost(animation)
    warnings = [misnamed(url, animation.format), lost, _left_out(animation, params)]
    codec = "apng" if animation.format == "png" else animation.format
    return cut_pictures(
        layout,
        _timeline(animation, params),
        codec,
        params,
        url,
        asked_rate=_asked_rate(params),
        lacking=lost is not None,
        one_file=True,
        warnings=tuple(filter(None, warnings)),
    )


def iter_animation(reader: FilmReader, film: FilmPlan, span: Span, params: UpscaleParams) -> Iterator[Frame]:
    """The frames of one segment; as frames build on each other, decoded from the start of the file, or from where a
    segment before this one has ended.

    Raises:
        ItemError: as `read_animation` says.
    """
    kept = reader.take(span)
    if isinstance(kept, _Walk) and kept.params == params:
        walk = kept
    else:
        if kept is not None:
            kept.close()
        walk = _walk(reader, span, params)
    given = 0
    with ExitStack() as stack:
        stack.callback(walk.close)
        try:
            for frame in walk.segment(film, span):
                yield frame
                given += 1
        except ItemError as error:
            if error.kind not in _DAMAGE:
                raise
        else:
            stack.pop_all()
            reader.keep(walk)
            return
    animation, first, last = walk.animation, walk.numbers[span.pts[0]], walk.numbers[span.pts[-1]]
    with closing(_shown(animation, first, last + 1, params)) as shown:  # what is damaged may lie behind the segment
        yield from islice(_Walk(animation, walk.numbers, shown, params).segment(film, span), given, None)


class _Walk:
    """Through the frames of an animation, segment by segment; how it ends with a damaged one is not for it to say."""

    def __init__(
        self,
        animation: Animation,
        numbers: Mapping[int, int],
        shown: Generator[tuple[int, Pixels, bool], None, None],
        params: UpscaleParams,
    ) -> None:
        self.animation = animation
        self.numbers = numbers
        """timestamp of a frame -> its number"""
        self.params = params
        self._shown = shown
        self._last: tuple[int, Pixels, bool] | None = None

    def segment(self, film: FilmPlan, span: Span) -> Iterator[Frame]:
        """Its frames; one that is shown twice running has the same planes, the same object."""
        at, planes, damaged = -1, cast(Planes, ()), False
        for index, pts in zip(range(*span.frames), span.pts, strict=True):
            number = self.numbers[pts]
            if number != at:
                at, pixels, damaged = self._to(number)
                planes = planes_of(pixels, film.source)
            yield Frame(index=index, planes=planes, damaged=damaged)

    def _to(self, number: int) -> tuple[int, Pixels, bool]:
        last = self._last
        while last is None or last[0] < number:
            self._last = last = next(self._shown)
        return last

    def goes_on(self, span: Span) -> bool:
        """Whether a segment is still to come."""
        return self._last is None or self.numbers[span.pts[0]] >= self._last[0]

    def close(self) -> None:
        """Let go of the decoder."""
        self._shown.close()


def _walk(reader: FilmReader, span: Span, params: UpscaleParams) -> _Walk:
    """From a segment on to the end of the file."""
    animation = open_animation(reader.source, reader.url, params)
    numbers = {pts: number for number, pts in enumerate(_timeline(animation, params).pts)}
    return _Walk(animation, numbers, _undamaged(animation, numbers[span.pts[0]]), params)


def _undamaged(animation: Animation, first: int) -> Generator[tuple[int, Pixels, bool], None, None]:
    """(number, pixels, False) of frames from one on. Raises ItemError where one of them is damaged."""
    for number, pixels in enumerate(animation.pictures(first, animation.frames), first):
        yield number, pixels, False


def _timeline(animation: Animation, params: UpscaleParams) -> Timeline:
    return timeline_of(animation.table.delays, _asked_rate(params))


def _asked_rate(params: UpscaleParams) -> Fraction | None:
    fps = video_of(params).fps
    return Fraction(fps) if fps else None


def _shown(
    animation: Animation, first: int, last: int, params: UpscaleParams
) -> Generator[tuple[int, Pixels, bool], None, None]:
    """(number, pixels, damaged) of frames; with `allow_damaged` the last good one stands for all after it."""
    number, pixels = first, None
    try:
        for pixels in animation.pictures(first, last):
            yield number, pixels, False
            number += 1
        return
    except ItemError as error:
        if error.kind not in _DAMAGE or not video_of(params).allow_damaged:
            raise
        while pixels is None:
            first -= 1
            if first < 0:
                raise
            pixels = _alone(animation, first)
    for missing in range(number, last):
        yield missing, pixels, True


def _alone(animation: Animation, number: int) -> Pixels | None:
    """One frame; None when it cannot be decoded."""
    try:
        return next(animation.pictures(number, number + 1))
    except ItemError as error:
        if error.kind not in _DAMAGE:
            raise
    return None


def _whole_frames(source: BinaryIO, file_format: str, table: AnimationTable) -> BytesIO:
    """What a cut file holds of whole frames, with the end that its format wants."""
    source.seek(0)
    data = source.read(table.end)
    if file_format == "webp":
        return BytesIO(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    return BytesIO(data + (b";" if file_format == "gif" else _PNG_END))
