"""The timecode of a film's first frame: where a source says it, and whether MOV and MP4 hold it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from av.container import InputContainer
from av.stream import Stream

TAG = "timecode"
_FORM = re.compile(r"\d\d:\d\d:\d\d([:;.])\d\d")
_MOST_A_SECOND = 255
"""frames, which have one byte in a track of timecodes"""


def timecode_in(metadata: Mapping[str, str]) -> str | None:
    """What the tags of a stream or container say; Matroska writes names in capitals."""
    return next((value for name, value in metadata.items() if name.lower() == TAG), None)


def timecode_of(source: InputContainer, film: Stream) -> str | None:
    """As the film's own stream says it, else as a track of timecodes does, else the container."""
    places = (film.metadata, *(stream.metadata for stream in source.streams.data), source.metadata)
    return next(filter(None, map(timecode_in, places)), None)


def without_timecode(metadata: Mapping[str, str]) -> dict[str, str]:
    """The tags but for a timecode."""
    return {name: value for name, value in metadata.items() if name.lower() != TAG}


def is_held(timecode: str, rate: Fraction) -> bool:
    """Whether FFmpeg's muxer makes a track of it; where it does not, it says nothing.

    Args:
        rate: frames a second.
    """
    form, frames = _FORM.fullmatch(timecode), round(rate)
    dropping = form is not None and form[1] != ":"
    return form is not None and 0 < frames <= _MOST_A_SECOND and not (dropping and frames % 30)
