"""What flows of a film: its parameters, the plan that its segments share, their frames, and what is known of them.

Frozen and picklable, as all of farm.records, which holds these in items, parts and ledger entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sr_kernel.layout import FrameLayout

ALLOWANCES = ("salvage", "allow_damaged")
"""fields of VideoParams that only allow: a film that is whole is the same with and without them. They are part of no
identity; the ledger says under which of them a film failed, and under which one was published that lacks something"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoParams:
    """What a film's bytes depend on beyond UpscaleParams; part of the item's identity."""

    container: str
    """mp4, mkv, mov, webm, sequence (numbered pictures), or gif, webp, apng (an animated picture)"""
    codec: str
    """auto, or a name of farm.media.video.write.codecs"""
    crf: int | None
    """None: the codec's own default"""
    preset: str
    """empty: the codec's own default"""
    pix_fmt: str
    """auto, or FFmpeg's name of a pixel format"""
    fps: str
    """empty: frame times stay as they are; else NUM/DEN frames a second, to which frames are repeated or left out"""
    segment_frames: int
    """frames of a segment at most; segments are cut alike for the same number on any machine"""
    audio: str
    """copy, transcode or none"""
    deinterlace: bool
    salvage: bool
    """publish what a cut file still holds; no part of the identity, as the next"""
    allow_damaged: bool
    """publish although frames were damaged; each is listed"""
    encoder: str
    """software or nvenc"""
    encoder_threads: int
    """threads of one encoder; x264's bytes depend on them"""
    tag_colours: bool
    """write the matrix that was assumed where the source names none"""
    codecs: str
    """version of PyAV, and so of the encoders inside it"""

    @property
    def allowances(self) -> tuple[str, ...]:
        """What the output may lack: `salvage` and `allow_damaged`, where they are set."""
        return tuple(name for name in ALLOWANCES if getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPlan:
    """How one film is restored: resolved once from its content and the parameters, the same in every segment."""

    source: FrameLayout
    """decoded frames, as they are coded (rotation not applied)"""
    target: FrameLayout
    """frames as they are encoded"""
    stream_index: int
    """of the video stream that is restored"""
    time_base: Fraction
    """seconds a tick of the source's timestamps"""
    rate: Fraction
    """frames a second on average; what encoders and containers are told, never used to place a frame"""
    frames: int
    """frames of the output"""
    encoder: str
    """FFmpeg's name of the encoder, such as libx264; empty where frames become pictures"""
    pix_fmt: str
    """FFmpeg's name of the encoder's pixel format"""
    options: tuple[tuple[str, str], ...]
    """options of the encoder, sorted by name: CRF, preset, threads, closed groups of pictures, HDR metadata"""
    colour_tags: tuple[int, int, int, int]
    """primaries, transfer, matrix and range as H.273 and FFmpeg number them; 2 (range: 0) means unspecified"""
    sample_aspect: Fraction | None
    """width by height of one sample of the output; None where the source does not say"""
    rotation: tuple[int, ...] = ()
    """the nine integers of the display matrix that the output carries; empty: none"""
    asked_base: Fraction | None = None
    """seconds a tick of the output's timestamps where a rate was asked for, of which each frame is a whole number of
    ticks; None: those of the source"""
    deinterlace: bool = False
    fields: str | None = None
    """tff or bff where every frame is deinterlaced, whatever its decoder says, and which field is the first; None:
    those are that say themselves that they are interlaced"""
    version: str = ""
    """of the source (`FileStat.version`) whose packets were read; its segments and its join are of that one alone"""
    lacking: bool = False
    """whether the source is cut or has lost frames, and these are the rest of it"""
    warning: str | None = None
    """what a person should know although the film is restored"""

    @property
    def shown_sides(self) -> tuple[int, int]:
        """Width and height of a source frame as players show it: a size that is asked for is one of these."""
        width, height = self.source.width, self.source.height
        return (height, width) if is_quarter_turn(self.rotation) else (width, height)

    @property
    def shown_aspect(self) -> Fraction | None:
        """Width by height of a sample of an upright frame; None where the source does not say."""
        aspect = self.sample_aspect
        return 1 / aspect if aspect and is_quarter_turn(self.rotation) else aspect

    @property
    def out_base(self) -> Fraction:
        """Seconds a tick of the output's timestamps."""
        return self.asked_base or self.time_base


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The frames of one segment, in presentation order."""

    frames: tuple[int, int]
    """half-open range of output frames of the film"""
    pts: tuple[int, ...]
    """timestamp of the source frame that each output frame is made from, in ticks of the film's time base; the same
    twice running where a rate was asked for that repeats frames"""
    out_pts: tuple[int, ...]
    """timestamp of each output frame, strictly increasing, in ticks of the film's `out_base`"""
    seek_pts: int | None
    """timestamp of the keyframe that decoding starts from; None: the film's packets have no timestamps, `pts` are
    numbers of packets, and decoding starts at the beginning"""
    skip: int = 0
    """of source frames with the timestamp pts[0], how many come before the one that is meant"""
    followed: bool = False
    """whether decoding of the next segment starts where that of this one does: who has decoded this one can go on"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """What is known of a segment's frames."""

    changes: tuple[tuple[int, float, float], ...] = ()
    """(second of the film, sum of the mean absolute change from one source frame to the next in levels of 0..255, the
    same of the restored frames at the source's size); what flicker scores are made of. Of pairs of frames within the
    segment: the frame before its first is not restored here, and restoring it once more would cost what one frame
    costs, of the 48 or fewer that a segment has"""
    damaged: tuple[int, ...] = ()
    """output frames that the decoder had to conceal or to repeat"""


def is_quarter_turn(rotation: Sequence[int]) -> bool:
    """Whether a display matrix, as FilmPlan.rotation, makes width of height."""
    return bool(rotation) and abs(rotation[0]) < abs(rotation[1])


NOTHING_KNOWN = SegmentReport()
"""of pictures, which are no segments"""
