"""Which frames of a whole film are damaged: asked only after a segment has found that some are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.media.video.plan import shown_places, video_params
from farm.media.video.read.decoder import FrameSource
from farm.media.video.read.source import opened
from farm.media.video.read.table import read_table
from farm.params import UpscaleParams

_SCAN_FRAMES = 20_000
"""frames that are decoded at most to list the damaged ones; a segment's deadline must not pass meanwhile"""
_RANGES = 24


def scan_damage(
    source: BinaryIO, url: str, film: FilmPlan, params: UpscaleParams, limit: int = _SCAN_FRAMES
) -> tuple[int, ...]:
    """The output frames that are damaged, missing, or predicted from such, of the first `limit` source frames.

    Raises:
        ItemError: as `farm.media.video.read.table.read_table`.
    """
    video = replace(video_params(params), salvage=True)
    table = read_table(source, url, video)
    got: list[int] = []
    with opened(source, url) as container:
        stream = next(one for one in container.streams.video if one.index == film.stream_index)
        frames = FrameSource(container, stream, counted=table.start is None, threads=1, start=table.start)
        for one in frames.frames():
            got.append(one.stamp)
            if len(got) >= limit:
                break
    whole = {stamp for stamp in got if not frames.tracker.is_damaged(stamp)}
    seen = table.stamps if len(got) < limit else table.stamps[: len(got)]
    damaged = {place for place, stamp in enumerate(seen) if stamp not in whole}
    return tuple(output for output, place in enumerate(shown_places(table, video, url).places) if place in damaged)


def decode_error(source: BinaryIO, url: str, film: FilmPlan, params: UpscaleParams, output: int) -> ItemError:
    """The error that lists all damaged frames of the film, of which `output` is one."""
    damaged = sorted({*scan_damage(source, url, film, params), output})
    found = f"frame{'s' * (len(damaged) > 1)} {listed(damaged)} damaged of {film.frames}"
    if film.frames > _SCAN_FRAMES:
        found += f" (only the first {_SCAN_FRAMES} were looked at)"
    advice = "copy it again, or go on with --allow-damaged, which repeats or conceals them"
    return ItemError(ErrorKind.DECODE_ERRORS, url, found, advice)


def listed(numbers: Iterable[int]) -> str:
    """Ascending numbers as ranges, `12-19, 44`; long lists end in how many more there are."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    words = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_RANGES]]
    rest = sum(last - first + 1 for first, last in ranges[_RANGES:])
    return ", ".join(words) + (f" and {rest} more" if rest else "")
