"""The file that a film is joined into: its container's options, tags and chapters."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from farm.media.video.write.streams import Others
from farm.media.video.write.template import MUXERS
from farm.media.video.write.timecode import without_timecode
from farm.media.video.write.timing import FrameTimes, container_seconds

if TYPE_CHECKING:
    from av.container.core import Chapter  # only PyAV's stubs have it

_BRAND_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
"""tags that say what file the source was"""
_SHOWN_TAGS = frozenset(("title", "artist", "album", "album_artist", "genre", "show", "composer"))
_MP4_TAGS = _SHOWN_TAGS | frozenset(
    (
        *("comment", "date", "copyright", "grouping", "lyrics", "description", "synopsis", "episode_id", "network"),
        *("keywords", "location", "location-eng", "creation_time", "track", "disc", "compilation", "media_type"),
        *("season_number", "episode_sort", "hd_video", "gapless_playback", "encoding_tool", "rating"),
    )
)
"""lower-case tags that players show, and all that MP4's own form has a place for"""
_TIMESCALE_END, _DURATION_END = 1 << 31, 1 << 32
"""of MP4: ticks a second, and ticks of a film whose duration takes 32 bits, which every player reads"""
_CHAPTERS = 1000
"""ticks a second that chapters are usually given in"""
_FIXED: Mapping[str, str] = MappingProxyType(
    {
        "fflags": "+bitexact",  # no random numbers, no date
        "avoid_negative_ts": "disabled",  # FrameTimes.shift has seen to it
        "max_interleave_delta": "1",  # packets come sorted: FFmpeg need not hold ten seconds of them to sort them
    }
)


def open_output(
    sink: BinaryIO,
    source: InputContainer | None,
    container: str,
    times: FrameTimes,
    stamp: Mapping[str, str] | None,
    others: Others,
) -> OutputContainer:
    """The output with its tags and chapters; streams are yet to be added.

    Args:
        source: what tags and chapters are taken from.
        container: one of MUXERS.
        stamp: written as one tag, beside the source's own.
        others: receives warnings.

    The index of an MP4 or MOV (`moov`) stands at its end, which local players and stores with ranges do not mind; for
    players on the web that read from the front, `ffmpeg -i IN -c copy -movflags +faststart OUT` moves it without
    encoding. It is not done here because FFmpeg would read the finished file back and write it once more.
    """
    found = {} if source is None else source.metadata
    tags = {name: value for name, value in found.items() if name.lower() not in _BRAND_TAGS}
    options = dict(_FIXED)
    if container in ("mp4", "mov"):
        tags = without_timecode(tags)  # the film's own stream has it; of the container's, every video stream gets one
        options |= _timescales(source, times)
    any_name = container != "mp4" or _takes_any_tag(source, tags, others)
    if container in ("mp4", "mov") and any_name:
        options["movflags"] = "use_metadata_tags"
    if stamp:  # where tags have fixed names, that of the program which wrote the file
        tags["farm" if any_name else "encoding_tool"] = "; ".join(f"{name}={value}" for name, value in stamp.items())
    output = av.open(sink, "w", format=MUXERS[container], container_options=options, buffer_size=1 << 20)
    output.metadata.update(tags)
    chapters = [] if source is None else source.chapters()
    if chapters:
        output.set_chapters([_later(chapter, times.shift) for chapter in chapters])
    return output


def _takes_any_tag(source: InputContainer | None, tags: Mapping[str, str], others: Others) -> bool:
    """Whether an MP4 gets QuickTime's form of tags, which takes any name, instead of its own, which players show.

    It does for the tags of telephones (com.android.version) where there is nothing that players show.
    """
    lost = sorted(name for name in tags if name.lower() not in _MP4_TAGS)
    shown = any(name.lower() in _SHOWN_TAGS for name in tags)
    cover = source is not None and any(one.disposition & Disposition.attached_pic for one in source.streams.video)
    if lost and (shown or cover):
        others.warnings.append(f"tags that mp4 has no place for are left out: {', '.join(lost)}")
    return bool(lost) and not shown and not cover


def _timescales(source: InputContainer | None, times: FrameTimes) -> dict[str, str]:
    """Time bases of MP4 that hold the film's own: FFmpeg otherwise doubles small ones and rounds edits to ms."""
    time_base = times.film.out_base
    scale, seconds, shown = time_base.denominator, times.out_pts[-1] * time_base, 1
    rates: list[int] = []
    if source is not None:
        rates = [stream.sample_rate for stream in source.streams.audio if stream.sample_rate]
        seconds = max(seconds, container_seconds(source))
        shown = sum(not stream.disposition & Disposition.attached_pic for stream in source.streams.video)
    wanted = (lcm(scale, _CHAPTERS, *rates), lcm(scale, _CHAPTERS))  # edits of sound and chapters are exact too
    fitting = [one for one in wanted if one < _TIMESCALE_END and one * seconds < _DURATION_END]
    options = {"movie_timescale": str(min(fitting[0] if fitting else scale, _TIMESCALE_END - 1))}
    if shown == 1 and scale < _TIMESCALE_END:
        options["video_track_timescale"] = str(scale)
    return options


def _later(chapter: Chapter, shift: Fraction) -> Chapter:
    """A chapter so many seconds later."""
    ticks = round(shift / (chapter["time_base"] or Fraction(1, av.time_base)))
    return {**chapter, "start": chapter["start"] + ticks, "end": chapter["end"] + ticks}
