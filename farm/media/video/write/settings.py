"""The options that each encoder is opened with: quality, speed, and what makes pieces equal on every run.

A piece is decoded with the parameter sets of the first one, so groups of pictures are closed and nothing of an option
may depend on the segment. Threads and lookahead are fixed: x264's bytes depend on them, and memory is bounded by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.encoders import SCALES, Misfit, crf_misfit, preset_misfit
from farm.errors import ErrorKind, ItemError
from farm.film import VideoParams
from farm.media.video.hdr import DISPLAY_OPTION, LIGHT_OPTION, HdrMetadata
from farm.media.video.pixel_format import PixelFormat
from sr_kernel.layout import FrameLayout

_NEVER = "100000"
"""frames before x264 may begin another closed group: one a piece, since two such beginnings in a row, of which the
second begins the next piece, could bear the same idr_pic_id, and decoders would take them for one picture"""
_NARROW_PX = 48
"""width up to which x265 goes without its tree of costs: the vectors of its AVX code are wider than the three blocks of
a row, and what they write past its end breaks the heap (PyAV 17.1)"""
_SITINGS: Mapping[str, str] = MappingProxyType({"center": "center", "topleft": "topleft"})
"""siting that is told to the encoder; left is what a bitstream means that says nothing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How many frames around one an encoder uses for it: each is held in memory, and quality hardly gains by many."""

    up_to_px: int
    """largest frame in luma samples that is encoded so"""
    lookahead: int
    b_frames: int | None = None
    """between two others, of x264 and x265; None: as the preset says"""
    refs: int | None = None
    """frames that one is predicted from; None: as the preset says"""
    layers: int = 3
    """of the pyramid of SVT-AV1, which holds 2 ** layers frames to begin with. With its own choice of 5, and with 3 and
    less than 10 frames of lookahead, its threads now and then give other bytes for the same frames"""


_REACHES = (
    Reach(up_to_px=1920 * 1088, lookahead=20),
    Reach(up_to_px=4096 * 2304, lookahead=10, b_frames=3, refs=2),
)
_LARGEST: Mapping[str, Reach] = MappingProxyType(
    {
        "libx264": Reach(up_to_px=1 << 62, lookahead=5, b_frames=1, refs=1),
        "libx265": Reach(up_to_px=1 << 62, lookahead=3, b_frames=0, refs=1),
        "libsvtav1": Reach(up_to_px=1 << 62, lookahead=0, layers=2),
        "libvpx-vp9": Reach(up_to_px=1 << 62, lookahead=5),
    }
)
"""for frames larger than those: an encoder of 7680x4320 must not take the memory that all else of a worker needs"""
_FEW_REFS = frozenset({"ultrafast", "superfast", "veryfast"})
"""presets of x264 and x265 that have hardly more references than any reach allows, and choose B-frames simply"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of an encoder, sorted by name, and what a person should know about them."""

    options: tuple[tuple[str, str], ...]
    warning: str | None


def size_class(target: FrameLayout) -> int:
    """0: frames of up to Full HD; 1: of up to 4K; 2: larger ones."""
    return sum(target.width * target.height > reach.up_to_px for reach in _REACHES)


def reach_of(encoder: str, target: FrameLayout) -> Reach:
    """How far an encoder looks for frames of this size. A pure function: the bytes of the film depend on it."""
    return (*_REACHES, _LARGEST.get(encoder, _REACHES[-1]))[size_class(target)]


def encoder_options(
    encoder: str, pixel_format: PixelFormat, target: FrameLayout, video: VideoParams, hdr: HdrMetadata | None, url: str
) -> Settings:
    """What an encoder is opened with.

    Raises:
        ItemError: UNSUPPORTED for a CRF or a preset that the encoder does not have.
    """
    scale = SCALES[encoder]
    crf, preset = video.crf, video.preset
    misfit = crf_misfit(encoder, crf) or preset_misfit(encoder, preset)
    if misfit:
        raise _unsupported(url, misfit)
    ignored = ["--crf"] if crf is not None and scale.crf is None else []
    ignored += ["--preset"] if preset and not scale.presets else []
    quality = str(scale.crf if crf is None else crf)
    speed = scale.presets.get(preset or scale.preset, "")
    options = {"threads": str(video.encoder_threads)}
    if target.chroma_shift == (1, 1) and target.siting in _SITINGS:
        options["chroma_sample_location"] = _SITINGS[target.siting]
    reach = reach_of(encoder, target)
    options |= _own_options(encoder, quality, speed, pixel_format, video.encoder_threads, hdr or HdrMetadata(), reach)
    if encoder == "libx265" and target.width <= _NARROW_PX:
        options["x265-params"] += ":cutree=0"
    options = {name: value for name, value in options.items() if value}
    warning = f"{encoder} has no use for {' and '.join(ignored)}" if ignored else None
    return Settings(options=tuple(sorted(options.items())), warning=warning)


def _own_options(
    encoder: str, crf: str, preset: str, pixel_format: PixelFormat, threads: int, hdr: HdrMetadata, reach: Reach
) -> dict[str, str]:
    """The options that only this encoder has; empty values mean: not said."""
    display, light, ahead = hdr.display(whole=True), hdr.light, str(reach.lookahead)
    if encoder == "libx264":
        more = _joined(
            {"open-gop": "0", "keyint": "infinite", "min-keyint": _NEVER},
            {"rc-lookahead": ahead, "lookahead-threads": "1", "sliced-threads": "0"},
            _frames_used(encoder, reach, preset),
            {"mastering-display": display, "cll": light},
        )
        return {"crf": crf, "preset": preset, "x264-params": more}
    if encoder == "libx265":
        fixed = {"open-gop": "0", "rc-lookahead": ahead, "log-level": "none", "hdr10": "1" if display else ""}
        pools = {
            "pools": str(threads) if threads > 1 else "none",
            "frame-threads": "1",
            "wpp": "1" if threads > 1 else "0",
        }
        more = _joined(
            fixed, pools, _frames_used(encoder, reach, preset), {"master-display": display, "max-cll": light}
        )
        return {"crf": crf, "preset": preset, "x265-params": more}
    if encoder == "libsvtav1":
        more = _joined(
            {"lp": str(threads), "lookahead": ahead, "hierarchical-levels": str(reach.layers), "irefresh-type": "2"},
            {"mastering-display": hdr.display(whole=False), "content-light": light},
        )
        return {"crf": crf, "preset": preset, "svtav1-params": more}
    untold = {DISPLAY_OPTION: hdr.display(whole=False), LIGHT_OPTION: light}
    if encoder == "libvpx-vp9":
        alt_ref = "0" if pixel_format.alpha else "1"  # libvpx codes alpha apart, and only without hidden frames
        speed = {"deadline": "good", "cpu-used": preset, "row-mt": "0", "lag-in-frames": ahead}
        return {"crf": crf, "b": "0", "auto-alt-ref": alt_ref, **speed, **untold}
    if encoder == "ffv1":
        return {"level": "3", "slicecrc": "1", "g": "1", "context": "1", "coder": "range_tab", **untold}
    if encoder == "prores_ks":
        fit = "4444" if pixel_format.chroma_shift == (0, 0) else "hq"
        return {"profile": preset or fit, "vendor": "apl0", **untold}
    # Without B-frames: what the join knows of reordering it takes from the parameter sets, and those of NVENC say less.
    fixed = {"rc": "vbr", "b": "0", "bf": "0", "forced-idr": "1", "rc-lookahead": ahead}
    return {"preset": preset, "cq": crf, **fixed}


def _frames_used(encoder: str, reach: Reach, preset: str) -> dict[str, str]:
    """B-frames and references where they may not be as the preset says; x264's ultrafast has no B-frames anyhow."""
    used: dict[str, str] = {}
    if reach.b_frames is not None and (encoder, preset) != ("libx264", "ultrafast"):
        used["bframes"] = str(reach.b_frames)
    if reach.refs is not None and preset not in _FEW_REFS:
        used |= {"ref": str(reach.refs), "b-adapt": "1" if reach.b_frames else "0"}
    return used


def _joined(*parts: Mapping[str, str]) -> str:
    """NAME=VALUE:NAME=VALUE of all that has a value."""
    return ":".join(f"{name}={value}" for part in parts for name, value in part.items() if value)


def _unsupported(url: str, misfit: Misfit) -> ItemError:
    return ItemError(ErrorKind.UNSUPPORTED, url, misfit.found, misfit.advice)
