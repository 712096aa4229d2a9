"""From a film's table to its plan and its segments. Pure but for the one reading in `read_film`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.media.video.codecs import EncoderChoice, SourceFacts, choose_encoder, size_step
from farm.media.video.picture_target import PICTURE_CONTAINERS, choose_pictures
from farm.media.video.planes import source_format
from farm.media.video.table import read_table
from farm.media.video.values import FilmCut, FilmTable, VideoHeader
from farm.records import FilmPlan, Span, UpscaleParams, VideoParams
from sr_kernel.layout import FrameLayout

FIELD_CONTEXT = 2
"""frames on either side that a deinterlaced frame is made from"""
_LEAST = 2
"""frames of a segment that is not the last: H.264 cannot tell two pieces of one frame apart"""
_TWINS = 8
"""frames of one timestamp that are looked back over for the first of them"""
DEINTERLACED_MODELS = ("yuv", "gray")
_UNSPECIFIED = (2, 2, 2, 0)
"""colour tags of a film that has not been looked into"""


def read_film(source: BinaryIO, url: str, params: UpscaleParams) -> FilmCut:
    """Read a film's packets and resolve how it is restored.

    Raises:
        ItemError: as `farm.media.video.table.read_table` and `plan_film`.
    """
    table = read_table(source, url, video_params(params))
    film = plan_film(table, url, params)
    return FilmCut(film=film, spans=plan_spans(table, film, video_params(params)))


def video_params(params: UpscaleParams) -> VideoParams:
    """The part that films need; ValueError where there is none."""
    if params.video is None:
        raise ValueError("a film without parameters for films")
    return params.video


def plan_film(table: FilmTable, url: str, params: UpscaleParams) -> FilmPlan:
    """How the film is restored: a pure function of its table and the parameters.

    Raises:
        ItemError: UNSUPPORTED for fields without `deinterlace`, and for what the encoder cannot do; TOO_LARGE.
    """
    video, facts = video_params(params), table.facts
    _check_fields(table, url, video)
    facts_for_encoder = SourceFacts(
        codec=table.header.codec,
        layout=facts.layout,
        rate=_rate(table, video),
        colour_tags=facts.colour_tags,
        hdr=facts.hdr,
    )
    _check_size(facts.layout, url, params)
    choice = _choose(facts_for_encoder, params, video, url)
    shown = shown_places(table, video, url)
    return FilmPlan(
        source=facts.layout,
        target=choice.target,
        stream_index=table.header.stream_index,
        time_base=table.header.time_base,
        rate=facts_for_encoder.rate,
        frames=len(shown.places),
        encoder=choice.encoder,
        pix_fmt=choice.pix_fmt,
        options=choice.options,
        colour_tags=choice.colour_tags,
        sample_aspect=facts.sample_aspect,
        rotation=facts.rotation,
        deinterlace=video.deinterlace,
        warning="; ".join(part for part in (table.warning, choice.warning) if part) or None,
    )


def check_header(header: VideoHeader, url: str, params: UpscaleParams) -> None:
    """What the container alone says: whether limits, codec and container allow the output.

    Raises:
        ItemError: TOO_LARGE, UNSUPPORTED.
    """
    kind = source_format(header.pix_fmt)
    if kind is None or min(header.width, header.height) < 1:
        return  # frames know better than a header that says nothing
    layout = FrameLayout(
        width=header.width,
        height=header.height,
        model=kind.model,
        depth=kind.depth,
        chroma_shift=kind.chroma_shift,
        alpha=kind.alpha,
    )
    _check_size(layout, url, params)
    facts = SourceFacts(codec=header.codec, layout=layout, rate=header.rate, colour_tags=_UNSPECIFIED)
    _choose(facts, params, video_params(params), url)


def _check_fields(table: FilmTable, url: str, video: VideoParams) -> None:
    if table.facts.interlaced and not video.deinterlace:
        advice = "add --deinterlace, which makes one whole frame of each two fields"
        raise ItemError(ErrorKind.UNSUPPORTED, url, "its frames are interlaced", advice)
    if video.deinterlace and table.facts.layout.model not in DEINTERLACED_MODELS:
        found = f"frames of {table.facts.pix_fmt}, which the deinterlacer does not take"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "leave --deinterlace out: such films have whole frames")


def _check_size(layout: FrameLayout, url: str, params: UpscaleParams) -> None:
    """Limits of the source and of the output, before anything of that size is made."""
    made = (int(layout.width * params.outscale), int(layout.height * params.outscale))
    for (width, height), limit, advice in (
        ((layout.width, layout.height), params.max_pixels_in, "raise --max-pixels if the film is to be trusted"),
        (made, params.max_pixels_out, "raise --max-pixels-out or lower --outscale"),
    ):
        if width * height > limit:
            found = f"frames of {width} x {height} are {width * height} pixels (limit {limit})"
            raise ItemError(ErrorKind.TOO_LARGE, url, found, advice)


def _choose(source: SourceFacts, params: UpscaleParams, video: VideoParams, url: str) -> EncoderChoice:
    """Encoder and target, whose sides are rounded down to what the encoder's chroma needs."""
    sides = [max(1, int(side * params.outscale)) for side in (source.layout.width, source.layout.height)]
    if video.container in PICTURE_CONTAINERS:
        return choose_pictures(source, (sides[0], sides[1]), params, url)
    steps = size_step(source, params, url)
    width, height = (max(step, side // step * step) for side, step in zip(sides, steps, strict=True))
    return choose_encoder(source, (width, height), params, url)


def _rate(table: FilmTable, video: VideoParams) -> Fraction:
    return Fraction(video.fps) if video.fps else table.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The output's frames: which source frame each is made from, and when it is shown."""

    places: Sequence[int]
    times: Sequence[int]


def shown_places(table: FilmTable, video: VideoParams, url: str) -> Shown:
    """Every source frame once, or, where a rate is asked for, whichever is shown at each of its moments."""
    if not video.fps:
        return Shown(places=range(len(table.stamps)), times=table.times)
    step = 1 / (Fraction(video.fps) * table.header.time_base)
    if step < 1:
        found = f"times in steps of {table.header.time_base} s, too coarse for {video.fps} frames a second"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "remux the film into Matroska or MP4 first, or ask for less")
    first = table.times[0]
    last_tick = 1 / (table.rate * table.header.time_base)
    count = -((-(table.times[-1] - first + last_tick)) // step)
    times = [first + round(number * step) for number in range(max(1, int(count)))]
    places = [max(0, bisect_right(table.times, first + number * step) - 1) for number in range(len(times))]
    places = [table.stamps.index(table.stamps[place], max(0, place - _TWINS), place + 1) for place in places]
    return Shown(places=places, times=times)


def plan_spans(table: FilmTable, film: FilmPlan, video: VideoParams) -> tuple[Span, ...]:
    """The segments: each ends at a keyframe where one is near its end, else after `segment_frames` frames.

    A pure function of its arguments. In a counted film timestamps are the numbers of packets, and decoding starts from
    the beginning every time.
    """
    shown = shown_places(table, video, "")
    keys = frozenset(table.keys)
    most, spans = video.segment_frames, list[Span]()
    start = 0
    while start < len(shown.places):
        end = min(start + most, len(shown.places))
        if end < len(shown.places):
            near = range(end, start + max(_LEAST, -(-most // 2)) - 1, -1)
            end = next((cut for cut in near if _is_cut(cut, shown.places, keys)), end)
        spans.append(_span(table, film, shown, start, end))
        start = end
    return tuple(spans)


def _is_cut(place: int, places: Sequence[int], keys: frozenset[int]) -> bool:
    """Whether a segment that starts with this output frame starts with a keyframe."""
    return places[place] in keys and places[place] != places[place - 1]


def _span(table: FilmTable, film: FilmPlan, shown: Shown, start: int, end: int) -> Span:
    first = shown.places[start]
    stamp = table.stamps[first]
    earliest = max(0, first - FIELD_CONTEXT) if film.deinterlace else first
    nearest = bisect_right(table.keys, earliest) - 1
    key = table.keys[nearest] if nearest >= 0 else None
    from_start = 0 if key is None else key
    return Span(
        frames=(start, end),
        pts=tuple(table.stamps[place] for place in shown.places[start:end]),
        out_pts=tuple(shown.times[start:end]),
        seek_pts=table.start if key is None else table.stamps[key],
        skip=table.stamps[from_start:first].count(stamp),
    )
