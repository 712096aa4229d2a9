"""A film made of pictures, cut: its times, its output and its segments. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from farm.film import FilmPlan, Span, VideoParams
from farm.media.video.pictures.target import PICTURE_CONTAINERS, choose_pictures
from farm.media.video.resample import moments
from farm.media.video.values import FilmCut
from farm.media.video.write.codecs import SourceFacts, choose_encoder, size_step
from farm.params import UpscaleParams
from farm.target import final_size
from sr_kernel.layout import FrameLayout

_RGB_TAGS = (1, 1, 0, 2)
"""What pictures are told as: BT.709 primaries and transfer, RGB, full range. sRGB differs from BT.709 in the transfer
only, and players show a film tagged 1-1-1 as they show the pictures; as YUV it becomes BT.709 of limited range."""
_GRAY_TAGS = (1, 1, 1, 1)
_SHORT, _SHORT_SHOWN = Fraction(1, 100), Fraction(1, 10)
"""Every browser shows a frame of an animated picture that asks for this or less for the other instead."""
_LARGEST_BASE = (1 << 31) - 1
"""ticks a second that containers can say"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When each source frame of a film is shown."""

    time_base: Fraction
    pts: tuple[int, ...]
    """strictly increasing, in ticks"""
    end: int
    """when the last one is over"""

    @property
    def length(self) -> int:
        return self.end - self.pts[0]


def timeline_of(delays: Sequence[Fraction], rate: Fraction | None) -> Timeline:
    """The times of an animated picture as a film: delays of up to 10 ms become 100 ms, as browsers show them.

    Args:
        delays: seconds that each frame asks to be shown.
        rate: frames a second that the output is to have; its times are ticks too.
    """
    shown = [_SHORT_SHOWN if delay <= _SHORT else delay for delay in delays]
    base = math.lcm(1000, *{delay.denominator for delay in shown}, rate.numerator if rate else 1)
    if base > _LARGEST_BASE:
        base = 1_000_000
    times = [0]
    total = Fraction(0)
    for delay in shown:
        total += delay
        times.append(max(round(total * base), times[-1] + 1))  # of the sum: roundings do not add up
    return Timeline(time_base=Fraction(1, base), pts=tuple(times[:-1]), end=times[-1])


def cut_pictures(
    layout: FrameLayout,
    times: Timeline,
    codec: str,
    params: UpscaleParams,
    url: str,
    *,
    asked_rate: Fraction | None = None,
    lacking: bool = False,
    warnings: Sequence[str] = (),
    one_file: bool = False,
) -> FilmCut:
    """The plan of a film made of pictures, and its segments: each of exactly `segment_frames` frames but the last.

    Args:
        layout: of the source's frames: rgb or gray.
        codec: png, gif, webp or apng, or what the pictures of a sequence are.
        url: of the source; stands in messages only.
        asked_rate: frames a second that are to be made of others; None: frames and times stay.
        lacking: whether the file is cut or damaged, and these frames are the rest.
        one_file: whether a frame is decoded after all those before it.

    Raises:
        ItemError: UNSUPPORTED or TOO_LARGE, from the choice of the encoder.
    """
    video = video_of(params)
    pts, out_pts, base = _resampled(times, asked_rate, url)
    rate = asked_rate or len(pts) / (times.length * times.time_base)
    gray = layout.model == "gray"
    facts = SourceFacts(
        codec=codec,
        layout=replace(layout, full_range=False) if gray else layout,  # what becomes a film is of limited range
        rate=rate,
        colour_tags=_GRAY_TAGS if gray else _RGB_TAGS,
    )
    size = final_size(layout.width, layout.height, params)
    if video.container in PICTURE_CONTAINERS:
        choice = choose_pictures(facts, size, params, url)
    else:
        across, down = size_step(facts, params, url)
        size = (max(across, size[0] // across * across), max(down, size[1] // down * down))
        choice = choose_encoder(facts, size, params, url)
    film = FilmPlan(
        source=layout,
        target=choice.target,
        stream_index=0,
        time_base=times.time_base,
        asked_base=base,
        rate=rate,
        frames=len(pts),
        encoder=choice.encoder,
        pix_fmt=choice.pix_fmt,
        options=choice.options,
        colour_tags=choice.colour_tags,
        sample_aspect=None,
        warning="; ".join(filter(None, (*warnings, choice.warning))) or None,
        lacking=lacking,
    )
    return FilmCut(film=film, spans=_spans(pts, out_pts, video.segment_frames, one_file=one_file))


def video_of(params: UpscaleParams) -> VideoParams:
    """The parameters of a film."""
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    return params.video


def _resampled(
    times: Timeline, rate: Fraction | None, url: str
) -> tuple[tuple[int, ...], tuple[int, ...], Fraction | None]:
    """Source frame of each output frame, when that is shown, and in which ticks: frame j is what is seen at j/rate."""
    if rate is None:
        return times.pts, tuple(pts - times.pts[0] for pts in times.pts), None
    asked = moments(times.pts, Fraction(times.end - times.pts[-1]), times.time_base, rate, url)
    return tuple(times.pts[place] for place in asked.places), tuple(asked.ticks), asked.base


def _spans(pts: tuple[int, ...], out_pts: tuple[int, ...], most: int, *, one_file: bool) -> tuple[Span, ...]:
    """Every picture can be decoded by itself, or from the start of its file: cuts need no keyframes."""
    return tuple(
        Span(
            frames=(start, min(start + most, len(pts))),
            pts=pts[start : start + most],
            out_pts=out_pts[start : start + most],
            seek_pts=None,
            followed=one_file and start + most < len(pts),
        )
        for start in range(0, len(pts), most)
    )
