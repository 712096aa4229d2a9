"""What is known of a film, from its header to its frames. No live objects of PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from farm.film import FilmPlan, Span
from farm.media.video.hdr import HdrMetadata
from sr_kernel.layout import FrameLayout

FULL_RANGE, LIMITED_RANGE = 2, 1
"""FFmpeg's numbers of the range that samples span (AVColorRange); 0: nobody says"""
Planes = tuple[NDArray[np.uint8] | NDArray[np.uint16], ...]
"""The planes of one frame, as its FrameLayout says; they may be views into the decoder's memory and are not written"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoHeader:
    """What a container says of its film before a packet is read. None of it is believed where packets say otherwise."""

    container: str
    """FFmpeg's names of the demuxer, such as mov,mp4,m4a,3gp,3g2,mj2"""
    stream_index: int
    codec: str
    """FFmpeg's name of the decoder"""
    width: int
    height: int
    """as coded; rotation is not applied"""
    pix_fmt: str
    time_base: Fraction
    """seconds a tick"""
    rate: Fraction
    """frames a second; 25 where nothing is said"""
    frames: int | None
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What the first decoded frame says of all of them."""

    layout: FrameLayout
    pix_fmt: str
    colour_tags: tuple[int, int, int, int]
    """primaries, transfer, matrix and range, as FilmPlan has them"""
    sample_aspect: Fraction | None
    rotation: tuple[int, ...]
    """display matrix; empty: none"""
    interlaced: bool
    """whether decoded frames say that they are"""
    hdr: HdrMetadata | None
    fields: str | None = None
    """tff or bff where the container says that each frame is two fields, and the decoder cannot tell: which is first"""
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    """pixels at the left, right, top and bottom that the container tells players to hide"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmTable:
    """Every frame of a film, in the order in which they are shown.

    A frame is named by its stamp: the timestamp of its packet, or, in a counted film, whose packets have none, the
    number of its packet from the start of the file.
    """

    header: VideoHeader
    facts: FrameFacts
    rate: Fraction
    """frames a second on average, from the times"""
    stamps: tuple[int, ...]
    times: tuple[int, ...]
    """when each frame is shown, in ticks; the stamps themselves, but for films whose stamps are not in order"""
    keys: tuple[int, ...]
    """positions, ascending, of frames that decoding may start from: all that are shown after them are whole"""
    start: int | None
    """stamp of the packet that decoding of the first frame starts from; None: the film is counted"""
    warning: str | None = None
    lacking: bool = False
    """whether the file is cut or has lost frames, and these are the rest"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmCut:
    """A film with everything resolved, and its segments."""

    film: FilmPlan
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a person should know of a film that was written."""

    warning: str | None = None
    """what was left out or changed; None: everything is as it was"""
    lacking: bool = False
    """whether something is lost because the source is damaged"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """How frames are decoded; none of it changes a pixel."""

    threads: int = 1
    hardware: bool = False
    """the GPU's own decoder (NVDEC) where it knows the codec, else FFmpeg's"""


ONE_THREAD = DecoderConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame of a film."""

    index: int
    """number of the output frame that is made of it"""
    planes: Planes
    damaged: bool = False
    """whether the decoder had to conceal something in it or in what it was predicted from, or to repeat another"""
