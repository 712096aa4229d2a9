"""When frames are shown and decoded, in whole ticks of the output's time base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from av import time_base
from av.container import InputContainer
from av.error import FFmpegError

from farm.film import FilmPlan, VideoParams
from farm.media.video.write.late import demuxed


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTimes:
    """The times of every frame of the output."""

    film: FilmPlan
    out_pts: Sequence[int]
    """as planned; strictly increasing"""
    last: int
    """how long the last frame is shown"""

    @property
    def shift(self) -> Fraction:
        """Seconds that everything in the output is later than in the source: no container shows what is before 0."""
        return max(-self.out_pts[0], 0) * self.film.out_base if self.out_pts else Fraction(0)

    def shown_at(self, frame: int) -> int:
        """When a frame appears."""
        return self.out_pts[frame] + max(-self.out_pts[0], 0)

    def duration(self, frame: int) -> int:
        """How long a frame is shown: until the next."""
        return self.out_pts[frame + 1] - self.out_pts[frame] if frame + 1 < len(self.out_pts) else self.last

    def decode_time(self, position: int, delay: int) -> int:
        """When the packet at a position of the coding order is decoded: the time of the frame `delay` frames earlier.

        Before the first frame there is none; there decoding runs at the pace of the first two.
        """
        if position >= delay:
            return self.shown_at(position - delay)
        return self.shown_at(0) - (delay - position) * self.duration(0)


def last_duration(container: InputContainer, film: FilmPlan, out_pts: Sequence[int], video: VideoParams) -> int:
    """How long the last frame is shown, in ticks: as the source says, else, and of what a cut one still holds, as long
    as the frame before.

    Reads packets from the last keyframe on; leaves the container at the end of the file.
    """
    usual = usual_duration(film, out_pts)
    if video.fps or film.lacking or not out_pts:
        return usual
    stream = container.streams[film.stream_index]
    if "mov" in container.format.name:  # packets there say how long it is to the next in coding order
        if stream.duration is None or stream.start_time is None:
            return usual
        rest = stream.start_time + stream.duration - out_pts[-1]
        return rest if 0 < rest <= 1000 * usual else usual
    try:
        container.seek(out_pts[-1], stream=stream)
        found = (packet.duration for packet in demuxed(container, [stream]) if packet.pts == out_pts[-1])
        said = [duration for duration in found if duration]
    except FFmpegError:  # a container that cannot be searched
        return usual
    return said[-1] if said else usual


def drawn_duration(film: FilmPlan, out_pts: Sequence[int]) -> int:
    """How long the last frame of a film made of pictures is shown, in ticks: the film is as long as its rate says.

    `farm.media.video.pictures.cut` makes it so. As long as the frame before where that leaves nothing.
    """
    rest = round(len(out_pts) / (film.rate * film.out_base)) - (out_pts[-1] - out_pts[0])
    return rest if rest > 0 else usual_duration(film, out_pts)


def usual_duration(film: FilmPlan, out_pts: Sequence[int]) -> int:
    """How long the last frame is shown where nothing says it: as long as the frame before."""
    return out_pts[-1] - out_pts[-2] if len(out_pts) > 1 else max(round(1 / (film.rate * film.out_base)), 1)


def constant_rate(film: FilmPlan, out_pts: Sequence[int]) -> Fraction | None:
    """Frames a second where every frame is shown when that rate has it, rounded to the film's ticks; None: it varies.

    What the source says is tried, then the usual rates near to what the times say.
    """
    if len(out_pts) < 2:
        return None
    average = (len(out_pts) - 1) / ((out_pts[-1] - out_pts[0]) * film.out_base)
    whole = round(average)
    tried = (film.rate, Fraction(whole * 1000, 1001), Fraction(whole), average.limit_denominator(1001))
    return next((rate for rate in tried if rate > 0 and _strays(out_pts, 1 / (rate * film.out_base)) <= 1), None)


def _strays(out_pts: Sequence[int], step: Fraction) -> Fraction:
    """How far apart frames are, in ticks, that stray most to either side from a constant step."""
    above, below = step.numerator, step.denominator
    off = [pts * below - number * above for number, pts in enumerate(out_pts)]
    return Fraction(max(off) - min(off), below)


def container_seconds(container: InputContainer) -> Fraction:
    """How long the container says that it is; 0 where it says nothing."""
    return Fraction(container.duration or 0, time_base)
