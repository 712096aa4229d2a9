"""From a film's table to its plan and its segments. Pure but for the one reading in `read_film`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, Span, VideoParams, is_quarter_turn
from farm.media.video.pictures.target import PICTURE_CONTAINERS, choose_pictures
from farm.media.video.read.containers import misnamed
from farm.media.video.read.facts import DEINTERLACED_MODELS, TELLING, UNSPECIFIED
from farm.media.video.read.table import read_table
from farm.media.video.resample import moments
from farm.media.video.values import FilmCut, FilmTable, FrameFacts
from farm.media.video.write.codecs import EncoderChoice, SourceFacts, choose_encoder, size_step
from farm.params import UpscaleParams
from farm.target import SMALLER, Size, final_size
from sr_kernel.layout import FrameLayout

FIELD_CONTEXT = 2
"""frames on either side that a deinterlaced frame is made from"""
_LEAST = 2
"""frames of a segment that is not the last: H.264 cannot tell two pieces of one frame apart"""
_TWINS = 8
"""frames of one timestamp that are looked back over for the first of them"""
_ASSUMED_TAGS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"bt601": (6, 6, 6), "bt709": (1, 1, 1), "bt2020": (9, 14, 9)}
)
"""primaries, transfer and matrix that go with a matrix; of BT.601 as 525 lines have them"""
_LARGEST_SHIFT = (1 << 31) - 1
_COSTLY = 10
"""times the film that its segments would decode, each by itself, before a person is told"""
_CHEAPER = ("re-encode it with keyframes", "remux it into Matroska or MP4")


def read_film(source: BinaryIO, url: str, params: UpscaleParams) -> FilmCut:
    """Read a film's packets and resolve how it is restored.

    Raises:
        ItemError: as `farm.media.video.read.table.read_table` and `plan_film`.
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
    final = _final_size(facts, params)
    _check_size(facts.layout, final, url, params)
    choice = _choose(facts_for_encoder, final, params, video, url)
    shown = shown_places(table, video, url)
    name = misnamed(url, table.header.container)
    of_frames = (_crop_warning(facts), _fields_warning(table, video), _cost_warning(table, shown, video))
    warnings = (name, table.warning, choice.warning, *of_frames)
    return FilmPlan(
        source=facts.layout,
        target=choice.target,
        stream_index=table.header.stream_index,
        time_base=table.header.time_base,
        asked_base=shown.base,
        rate=facts_for_encoder.rate,
        frames=len(shown.places),
        encoder=choice.encoder,
        pix_fmt=choice.pix_fmt,
        options=choice.options,
        colour_tags=_colour_tags(facts, choice, video),
        sample_aspect=facts.sample_aspect,
        rotation=_grown(facts.rotation, facts.layout, choice.target),
        deinterlace=video.deinterlace,
        fields=facts.fields if video.deinterlace and not facts.interlaced else None,
        warning="; ".join(filter(None, warnings)) or None,
        lacking=table.lacking,
    )


def _has_fields(facts: FrameFacts) -> bool:
    return facts.interlaced or facts.fields is not None


def _check_fields(table: FilmTable, url: str, video: VideoParams) -> None:
    if _has_fields(table.facts) and not video.deinterlace:
        advice = "add --deinterlace, which makes one whole frame of each two fields"
        raise ItemError(ErrorKind.UNSUPPORTED, url, "its frames are interlaced", advice)
    if video.deinterlace and table.facts.layout.model not in DEINTERLACED_MODELS:
        found = f"frames of {table.facts.pix_fmt}, which the deinterlacer does not take"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "leave --deinterlace out: such films have whole frames")


def _final_size(facts: FrameFacts, params: UpscaleParams) -> Size:
    """Of the stored frame, which players turn: a size that is asked for is that of the turned one."""
    width, height = facts.layout.width, facts.layout.height
    if not is_quarter_turn(facts.rotation):
        return final_size(width, height, params)
    across, down = final_size(height, width, params)
    return down, across


def _check_size(layout: FrameLayout, made: Size, url: str, params: UpscaleParams) -> None:
    """Limits of the source and of the output, before anything of that size is made."""
    for (width, height), limit, advice in (
        ((layout.width, layout.height), params.max_pixels_in, "raise --max-pixels if the film is to be trusted"),
        (made, params.max_pixels_out, f"raise --max-pixels-out or {SMALLER}"),
    ):
        if width * height > limit:
            found = f"frames of {width} x {height} are {width * height} pixels (limit {limit})"
            raise ItemError(ErrorKind.TOO_LARGE, url, found, advice)


def _choose(source: SourceFacts, sides: Size, params: UpscaleParams, video: VideoParams, url: str) -> EncoderChoice:
    """Encoder and target, whose sides are rounded down to what the encoder's chroma needs."""
    if video.container in PICTURE_CONTAINERS:
        return choose_pictures(source, sides, params, url)
    steps = size_step(source, params, url)
    width, height = (max(step, side // step * step) for side, step in zip(sides, steps, strict=True))
    return choose_encoder(source, (width, height), params, url)


def _rate(table: FilmTable, video: VideoParams) -> Fraction:
    return Fraction(video.fps) if video.fps else table.rate


def _colour_tags(facts: FrameFacts, choice: EncoderChoice, video: VideoParams) -> tuple[int, int, int, int]:
    """Those of the encoder; with `tag_colours`, what was assumed where the source does not name its matrix."""
    tags, source = choice.colour_tags, facts.layout
    unnamed = facts.colour_tags[2] == UNSPECIFIED and {source.model, choice.target.model} == {"yuv"}
    if not (video.tag_colours and unnamed and source.matrix in _ASSUMED_TAGS):
        return tags
    primaries, transfer, matrix = (
        assumed if tag == UNSPECIFIED else tag for tag, assumed in zip(tags, _ASSUMED_TAGS[source.matrix], strict=False)
    )
    return primaries, transfer, matrix, tags[3]


def _grown(rotation: tuple[int, ...], source: FrameLayout, target: FrameLayout) -> tuple[int, ...]:
    """The display matrix of the output: what it shifts by grows with the picture, what it turns by stays.

    The nine integers (a b u, c d v, x y w) take a point (p, q) to (ap + cq + x, bp + dq + y). A shift undoes where the
    turn has taken a side, so it grows as that side does; the two differ where sides are rounded.
    """
    if not rotation:
        return ()
    a, b, _, c, d, _, x, y, _ = rotation
    across, down = Fraction(target.width, source.width), Fraction(target.height, source.height)
    x, y = (
        max(-_LARGEST_SHIFT, min(_LARGEST_SHIFT, round(shift * _mixed(across, abs(p), down, abs(q)))))
        for shift, p, q in ((x, a, c), (y, b, d))
    )
    return (*rotation[:6], x, y, rotation[8])


def _mixed(one: Fraction, weight: int, other: Fraction, other_weight: int) -> Fraction:
    total = weight + other_weight
    return (one * weight + other * other_weight) / total if total else one


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The output's frames: which source frame each is made from, and when it is shown."""

    places: Sequence[int]
    times: Sequence[int]
    """in ticks of `base`"""
    base: Fraction | None = None
    """seconds a tick where a rate is asked for; None: the film's own"""


def shown_places(table: FilmTable, video: VideoParams, url: str) -> Shown:
    """Every source frame once, or, where a rate is asked for, whichever is shown at each of its moments.

    Raises:
        ItemError: UNSUPPORTED for rates that the film's ticks are too coarse for, and for outputs without end.
    """
    if not video.fps:
        return Shown(places=range(len(table.stamps)), times=table.times)
    rate, time_base = Fraction(video.fps), table.header.time_base
    if rate * time_base > 1:
        found = f"times in steps of {time_base} s, too coarse for {video.fps} frames a second"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "remux the film into Matroska or MP4 first, or ask for less")
    asked = moments(table.times, 1 / (table.rate * time_base), time_base, rate, url)
    places = [table.stamps.index(table.stamps[place], max(0, place - _TWINS), place + 1) for place in asked.places]
    start = round(table.times[0] * time_base / asked.base)
    return Shown(places=places, times=[start + tick for tick in asked.ticks], base=asked.base)


def plan_spans(table: FilmTable, film: FilmPlan, video: VideoParams) -> tuple[Span, ...]:
    """The segments: each ends at a keyframe where one is near its end, else after `segment_frames` frames.

    A pure function of its arguments. In a counted film timestamps are the numbers of packets, and decoding starts from
    the beginning every time, unless a worker goes on with what it has decoded.
    """
    shown = shown_places(table, video, "")
    spans = [_span(table, film, shown, start, end) for start, end in _cuts(table, shown, video)]
    return tuple(
        replace(span, followed=after is not None and after.seek_pts == span.seek_pts)
        for span, after in zip(spans, [*spans[1:], None], strict=True)
    )


def _cuts(table: FilmTable, shown: Shown, video: VideoParams) -> Iterator[tuple[int, int]]:
    """The output frames of each segment, half-open."""
    keys = frozenset(table.keys)
    most, start = video.segment_frames, 0
    while start < len(shown.places):
        end = min(start + most, len(shown.places))
        if end < len(shown.places):
            near = range(end, start + max(_LEAST, -(-most // 2)) - 1, -1)
            end = next((cut for cut in near if _is_cut(cut, shown.places, keys)), end)
        yield start, end
        start = end


def _is_cut(place: int, places: Sequence[int], keys: frozenset[int]) -> bool:
    """Whether a segment that starts with this output frame starts with a keyframe."""
    return places[place] in keys and places[place] != places[place - 1]


def _span(table: FilmTable, film: FilmPlan, shown: Shown, start: int, end: int) -> Span:
    first = shown.places[start]
    stamp = table.stamps[first]
    key = _key_before(table, max(0, first - FIELD_CONTEXT) if film.deinterlace else first)
    from_start = 0 if key is None else key
    return Span(
        frames=(start, end),
        pts=tuple(table.stamps[place] for place in shown.places[start:end]),
        out_pts=tuple(shown.times[start:end]),
        seek_pts=table.start if key is None else table.stamps[key],
        skip=table.stamps[from_start:first].count(stamp),
    )


def _key_before(table: FilmTable, place: int) -> int | None:
    """The last place up to this one that decoding may start from; None: the start of the film."""
    nearest = bisect_right(table.keys, place) - 1
    return table.keys[nearest] if nearest >= 0 else None


def _crop_warning(facts: FrameFacts) -> str | None:
    """What players did not show of the source and show of the output, which has no such mark."""
    sides = zip(facts.crop, ("left", "right", "top", "bottom"), strict=True)
    hidden = [f"{count} at the {side}" for count, side in sides if count]
    if not hidden:
        return None
    return f"pixels that the container hides ({', '.join(hidden)}) are restored and shown"


def _fields_warning(table: FilmTable, video: VideoParams) -> str | None:
    """That --deinterlace has nothing to do as far as is known, where a codec cannot tell: later frames are seen when
    they are decoded."""
    if not video.deinterlace or _has_fields(table.facts) or table.header.codec in TELLING:
        return None
    unsaid = "neither the container nor the first frames say that they are interlaced"
    return f"{unsaid}: frames that do not say so are not deinterlaced"


def _cost_warning(table: FilmTable, shown: Shown, video: VideoParams) -> str | None:
    """That segments have no keyframe near them; None where that costs little."""
    frames, decoded = len(table.stamps), 0
    most = _COSTLY * max(frames, len(shown.places))
    for start, end in _cuts(table, shown, video):
        decoded += shown.places[end - 1] + 1 - (_key_before(table, shown.places[start]) or 0)
    if decoded <= most:
        return None
    places = f"{len(table.keys)} keyframe{'s' * (len(table.keys) > 1)} in {frames} frames"
    has = "has no timestamps" if table.start is None else f"has {places if table.keys else 'no keyframe'}"
    cost = "each worker decodes all that comes before what it restores"
    return f"{has}: {cost}; {_CHEAPER[table.start is None]} for speed"
