"""Single frames of a film by their numbers: what leads to them is decoded, and they are those of the whole film."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, Span, VideoParams, is_quarter_turn
from farm.kinds import is_sequence
from farm.media.video.pictures.film import is_pictures, iter_pictures, read_pictures
from farm.media.video.plan import plan_film, video_params
from farm.media.video.read.decode import iter_frames
from farm.media.video.read.reader import FilmReader
from farm.media.video.read.table import read_table
from farm.media.video.values import Frame
from farm.params import UpscaleParams

_SKIPPED = 12
"""frames that are rather decoded than skipped by opening the film anew at a later keyframe"""
_VIDEO = VideoParams(
    container="sequence",
    codec="auto",
    crf=None,
    preset="",
    pix_fmt="auto",
    fps="",
    segment_frames=48,
    audio="none",
    deinterlace=False,
    salvage=False,
    allow_damaged=False,
    encoder="software",
    encoder_threads=1,
    tag_colours=False,
    codecs="",
)
_WHOLE = "copy it again, or leave it out"
_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "--salvage": _WHOLE,
        "--allow-damaged": _WHOLE,
        "--deinterlace": "make whole frames of its fields first, such as with ffmpeg -vf bwdif",
    }
)
"""flags that help a film that is restored, and what helps here, where nothing is published that lacks something"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFrames:
    """Every frame of a film, by its number from 0 in the order in which they are shown."""

    url: str
    film: FilmPlan
    params: UpscaleParams
    """of a run that keeps size, depth and times"""
    stamps: tuple[int, ...]
    """what decoders know each frame by (`FilmTable`)"""
    times: tuple[int, ...]
    """when each is shown, in ticks of the film's time base"""
    keys: tuple[int, ...]
    """numbers of frames that decoding may start from, ascending"""
    start: int | None
    """stamp that decoding of the first frame starts from; None: the film is decoded from its beginning every time"""
    pictures: bool
    """whether it is an animated picture"""

    @property
    def turned(self) -> bool:
        """Whether upright frames have the rows of coded ones as columns."""
        return is_quarter_turn(self.film.rotation)

    @property
    def sample_aspect(self) -> Fraction | None:
        """Width by height of a sample of an upright frame; None where the film does not say."""
        return self.film.shown_aspect


def read_frames(source: BinaryIO, url: str, max_pixels: int) -> FilmFrames:
    """The frames of a film or an animated picture; of a film nothing but its beginning is decoded where that will do.

    Raises:
        ItemError: as `farm.media.video.read_film`: TRUNCATED and DECODE_ERRORS for films that are not whole,
            UNSUPPORTED for interlaced ones and for numbered sequences, TOO_LARGE for frames of more than `max_pixels`.
    """
    if is_sequence(url):
        found = "a numbered sequence, whose frames are pictures already"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "give their folder to another operation")
    params = _params(max_pixels)
    with _advised():
        if is_pictures(url):
            return _animation(source, url, params)
        table = read_table(source, url, video_params(params))
        return FilmFrames(
            url=url,
            film=plan_film(table, url, params),
            params=params,
            stamps=table.stamps,
            times=table.times,
            keys=table.keys,
            start=table.start,
            pictures=False,
        )


def iter_chosen(source: BinaryIO, frames: FilmFrames, numbers: Sequence[int]) -> Iterator[Frame]:
    """The frames of these numbers, which ascend; each has its number as index, and the planes of `frames.film.source`.

    A frame is the same whichever others are asked for, and is refused only for damage that it suffers from itself. Its
    planes may be the decoder's memory: what is kept of them keeps a frame.

    Raises:
        ItemError: DECODE_ERRORS, UNSUPPORTED, CORRUPT.
    """
    wanted = set(numbers)
    with _advised():
        for run in _runs(frames, numbers):
            for frame in _decoded(source, frames, run):
                if frame.index in wanted:
                    yield frame


def _decoded(source: BinaryIO, frames: FilmFrames, run: Sequence[int]) -> Iterator[Frame]:
    span = _span(frames, run)
    with closing(FilmReader.of(source, frames.url)) as reader:
        if not frames.pictures:
            yield from iter_frames(reader, frames.film, span, frames.params, outputs=run)
            return
        shown = iter_pictures(reader, frames.url, frames.film, span, frames.params)
        for number, frame in zip(run, shown, strict=True):
            yield Frame(index=number, planes=frame.planes, damaged=frame.damaged)


def _animation(source: BinaryIO, url: str, params: UpscaleParams) -> FilmFrames:
    cut = read_pictures(source, url, params)
    stamps = tuple(stamp for span in cut.spans for stamp in span.pts)
    return FilmFrames(
        url=url, film=cut.film, params=params, stamps=stamps, times=stamps, keys=(), start=None, pictures=True
    )


def _runs(frames: FilmFrames, numbers: Sequence[int]) -> Iterator[list[int]]:
    """The frames that are decoded in one go, with all that share a stamp with one of them and come before it."""
    run: list[int] = []
    for number in numbers:
        first = number
        while first and frames.stamps[first - 1] == frames.stamps[number]:
            first -= 1
        if run and (_key_before(frames, first) or 0) - run[-1] > _SKIPPED:
            yield run
            run = []
        run.extend(range(max(first, run[-1] + 1) if run else first, number + 1))
    if run:
        yield run


def _span(frames: FilmFrames, run: Sequence[int]) -> Span:
    """A run as a segment; its numbers are told beside it."""
    first = run[0]
    key = _key_before(frames, first)
    return Span(
        frames=(0, len(run)),
        pts=tuple(frames.stamps[number] for number in run),
        out_pts=tuple(frames.times[number] for number in run),
        seek_pts=frames.start if key is None else frames.stamps[key],
        skip=frames.stamps[key or 0 : first].count(frames.stamps[first]),
    )


def _key_before(frames: FilmFrames, number: int) -> int | None:
    nearest = bisect_right(frames.keys, number) - 1
    return frames.keys[nearest] if nearest >= 0 else None


@contextmanager
def _advised() -> Generator[None]:
    """What is wrong with a film is told as ever, with advice that helps here."""
    try:
        yield
    except ItemError as error:
        advice = next((advice for flag, advice in _ADVICE.items() if flag in error.advice), None)
        if advice is None:
            raise
        raise ItemError(error.kind, error.url, error.found, advice) from error


def _params(max_pixels: int) -> UpscaleParams:
    """Of a film whose frames become pictures as they are; no network is meant by it."""
    return UpscaleParams(
        model="",
        model_sha256="",
        denoise=1.0,
        scale=1,
        halo_px=0,
        align_px=1,
        whole_body=False,
        outscale=1.0,
        resize="lanczos",
        alpha="model",
        precision="fp32",
        precision_16bit="fp32",
        device_class="cpu",
        batch=1,
        tile_px=256,
        exact_px=0,
        band_px=0,
        format="png",
        quality=0,
        stamp=False,
        pages="first",
        max_pixels_in=max_pixels,
        max_pixels_out=max_pixels,
        pixel_epoch=0,
        video=_VIDEO,
    )
