"""Single pictures of films: each n-th frame, the first of each scene, or the sharpest of each n.

A film is cut into windows of `every` frames, counted in the order in which they are shown; window n are the frames
from n * every to (n + 1) * every - 1, of the last one what is left. Windows know nothing of each other: `make` gives
the same samples of them however they are handed out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from threading import Lock
from types import MappingProxyType
from typing import BinaryIO

from farm.media import video
from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.media.rgb import ALPHA_DROPPED, GRAY_EXPANDED
from farm.sample import FramesOptions, Made, Member, PrepareParams, Sample, SourceRow
from farm.tasks.operations.base import Content
from sr_kernel.frame_rgb import frame_luma, frame_rgb, luma_range
from sr_kernel.frame_score import histogram_change, luma_histogram
from sr_kernel.measures import sharpness

_FILMS_KNOWN = 2
"""films whose table of frames is kept: a long one is read once a worker, not once for each run of its windows"""
_PNG = EncodeSpec(format="png")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picked:
    """A frame that becomes a sample."""

    frame: video.Frame
    sharpness: float | None = None
    """None: nobody has asked yet"""
    change: float | None = None
    """share of its histogram that is not in the frame before; None where that was not looked at"""


class Frames:
    """The operation `frames`; see farm.tasks.operations.base.Operation.

    With `most`, a film's windows share so many frames: floor((n + 1) * most / windows + 1/2) less what n gives instead
    of n + 1. That is all of them where each window has one frame to give (every, sharpest); of scenes, each window
    gives up to its share, those that change most, and what a window without scenes does not use is not passed on.
    """

    def __init__(self, params: PrepareParams) -> None:
        if not isinstance(params.options, FramesOptions):
            raise ValueError(f"options of frames, not {type(params.options).__name__}")
        self._options = params.options
        self._max_pixels = params.max_pixels_in
        self._known: OrderedDict[tuple[str, str], video.FilmFrames] = OrderedDict()
        self._lock = Lock()

    @property
    def sample_columns(self) -> Mapping[str, type]:
        """`frame` counts from 0, `pts` in the film's ticks; `scene_change` only where scenes are picked."""
        columns = {"frame": int, "pts": int, "time_s": float, "sharpness": float, "scene_change": float}
        return MappingProxyType({**columns, "width": int, "height": int, "sample_aspect": str})

    @property
    def source_columns(self) -> Mapping[str, type]:
        """`primaries` and `transfer` as H.273 numbers them: pixels keep the film's own."""
        return MappingProxyType({"frames": int, "rate": float, "depth": int, "primaries": int, "transfer": int})

    def windows(self, content: Content, row: SourceRow) -> int:
        """How many windows a film has, from its packets. Raises ItemError for a film that cannot be read at all."""
        return self._count(self._film(row, _opened(content)))

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:
        source = _opened(content)
        film = self._film(row, source)
        count = self._count(film)
        shares = {n: share for n in range(first, min(last, count)) if (share := self._share(n, count))}
        frames = video.iter_chosen(source, film, self._numbers(film, shares))
        picked = self._picked(film, frames, shares)
        found = ((self._window(one.frame.index), one.change or 0.0, _sample(row, film, one)) for one in picked)
        layout, tags = film.film.source, film.film.colour_tags
        rules = ((ALPHA_DROPPED, layout.alpha), (GRAY_EXPANDED, layout.model == "gray"))
        return Made(
            samples=tuple(_within(found, shares)),
            rules=tuple(rule for rule, applies in rules if applies),
            record={
                "frames": len(film.stamps),
                "rate": float(film.film.rate),
                "depth": layout.depth,
                "primaries": tags[0],
                "transfer": tags[1],
            },
        )

    def _film(self, row: SourceRow, source: BinaryIO) -> video.FilmFrames:
        """Its frames, from memory where the same version was read before."""
        key = (row.url, row.version)
        with self._lock:
            if row.version and key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        film = video.read_frames(source, row.url, self._max_pixels)
        with self._lock:
            self._known[key] = film
            while len(self._known) > _FILMS_KNOWN:
                self._known.popitem(last=False)
        return film

    def _count(self, film: video.FilmFrames) -> int:
        return -(-len(film.stamps) // self._options.every)

    def _share(self, window: int, count: int) -> int:
        """How many frames a window may give; as many as it has where no number was asked for."""
        most = self._options.most
        if not most:
            return self._options.every
        return ((window + 1) * most + count // 2) // count - (window * most + count // 2) // count

    def _numbers(self, film: video.FilmFrames, windows: Iterable[int]) -> list[int]:
        """The frames that must be looked at, ascending."""
        every, pick = self._options.every, self._options.pick
        numbers: list[int] = []
        for window in windows:
            start = window * every
            if pick == "every":
                numbers.append(start)
                continue
            if pick == "scene" and start and (not numbers or numbers[-1] != start - 1):
                numbers.append(start - 1)
            numbers.extend(range(start, min(start + every, len(film.stamps))))
        return numbers

    def _picked(
        self, film: video.FilmFrames, frames: Iterator[video.Frame], shares: Mapping[int, int]
    ) -> Iterator[_Picked]:
        if self._options.pick == "every":
            return (_Picked(frame=frame) for frame in frames)
        if self._options.pick == "sharpest":
            return self._sharpest(film, frames)
        return (one for one in self._scenes(film, frames) if self._window(one.frame.index) in shares)

    def _window(self, number: int) -> int:
        return number // self._options.every

    def _sharpest(self, film: video.FilmFrames, frames: Iterator[video.Frame]) -> Iterator[_Picked]:
        """The sharpest of each window, of equal ones the first; one frame is held beside the one that is looked at."""
        for _, window in groupby(frames, lambda frame: self._window(frame.index)):
            best, most = None, -1.0
            for frame in window:
                if (sharpness := _sharpness(film, frame)) > most:
                    best, most = frame, sharpness
            if best is not None:
                yield _Picked(frame=best, sharpness=most)

    def _scenes(self, film: video.FilmFrames, frames: Iterator[video.Frame]) -> Iterator[_Picked]:
        """The frames at which scenes begin. The first of the film is one, and all of it is new."""
        layout, before, last = film.film.source, None, -1
        for frame in frames:
            histogram = luma_histogram(frame_luma(frame.planes, layout), layout.depth)
            change = None
            if frame.index == 0:
                change = 1.0
            elif before is not None and last == frame.index - 1:
                change = histogram_change(before, histogram)
            if change is not None and change >= self._options.scene_change:
                yield _Picked(frame=frame, change=change)
            before, last = histogram, frame.index


def _within(found: Iterable[tuple[int, float, Sample]], shares: Mapping[int, int]) -> Iterator[Sample]:
    """Of each window no more than its share: those that change most, of equal ones the first; in the film's order.

    `found`: window, change and sample of each frame, in that order.
    """
    for window, group in groupby(found, lambda one: one[0]):
        kept = sorted(group, key=lambda one: -one[1])[: shares[window]]
        yield from sorted((sample for _, _, sample in kept), key=lambda sample: sample.key)


def _opened(content: Content) -> BinaryIO:
    return BytesIO(content.data) if isinstance(content.data, bytes) else content.data


def _sharpness(film: video.FilmFrames, frame: video.Frame) -> float:
    layout = film.film.source
    found = sharpness(frame_luma(frame.planes, layout), luma_range(layout)[1])
    return 0.0 if found is None else found  # of frames too narrow for it


def _sample(row: SourceRow, film: video.FilmFrames, picked: _Picked) -> Sample:
    frame, layout = picked.frame, film.film.source
    pixels = video.turned(frame_rgb(frame.planes, layout), film.film.rotation)
    height, width, channels = pixels.shape
    aspect, pts = film.sample_aspect, film.times[frame.index]
    sharpness = _sharpness(film, frame) if picked.sharpness is None else picked.sharpness
    image = Member(
        role="image",
        extension="png",
        data=encode(pixels, ImageMeta(), _PNG, row.url),
        width=width,
        height=height,
        channels=channels,
    )
    record = {
        "frame": frame.index,
        "pts": pts,
        "time_s": float(pts * film.film.time_base),
        "sharpness": sharpness,
        "scene_change": picked.change,
        "width": width,
        "height": height,
        "sample_aspect": f"{aspect.numerator}:{aspect.denominator}" if aspect else None,
    }
    return Sample(key=f"{row.key}_f{frame.index:08d}", members=(image,), record=record)
