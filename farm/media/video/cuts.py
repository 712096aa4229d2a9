"""Where a film is cut into segments. Pure integers, so that it is cut alike on any machine, whoever works there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

_LEAST = 2
"""frames of a segment that is not the last: H.264 cannot tell two pieces of one frame apart"""


def segments(keys: Sequence[int], frames: int, most: int) -> Iterator[tuple[int, int]]:
    """The output frames of each segment, half-open: together all of `frames`, `most` or fewer each.

    A segment ends with the last keyframe that makes it half as long as it may be or longer. Where there is none, all up
    to the next keyframe, or to the end, is shared out evenly over as few segments as can hold it: of one that is much
    shorter than the others, workers would wait for those.

    Args:
        keys: output frames that a segment may start with at little cost, in order, without 0.
    """
    stops, start = (*keys, frames), 0
    while start < frames:
        end = _end(stops, start, most)
        yield start, end
        start = end


def _end(stops: Sequence[int], start: int, most: int) -> int:
    """Of the segment that begins with an output frame; `stops`: keyframes, and the end."""
    if stops[-1] - start <= most:
        return stops[-1]
    beyond = bisect_right(stops, start + most)
    if beyond and stops[beyond - 1] - start >= max(_LEAST, -(-most // 2)):
        return stops[beyond - 1]
    ahead = stops[beyond] - start
    even = ahead // -(-ahead // most)
    return start + (even if even >= _LEAST else most)
