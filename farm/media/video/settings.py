"""The options that each encoder is opened with: quality, speed, and what makes pieces equal on every run.

A piece is decoded with the parameter sets of the first one, so groups of pictures are closed and nothing of an option
may depend on the segment. Threads and lookahead are fixed: x264's bytes depend on them, and memory is bounded by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.errors import ErrorKind, ItemError
from farm.media.video.hdr import DISPLAY_OPTION, LIGHT_OPTION, HdrMetadata
from farm.media.video.pixel_format import PixelFormat
from farm.records import VideoParams
from sr_kernel.layout import FrameLayout

LOOKAHEAD = 20
"""frames that encoders look ahead: quality hardly gains by more, and each is held in memory"""
_NEVER = "100000"
"""frames before x264 may begin another closed group: one a piece, since two such beginnings in a row, of which the
second begins the next piece, could bear the same idr_pic_id, and decoders would take them for one picture"""
_SPEEDS = ("placebo", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast")
_PRORES_PROFILES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Quality and speed of one encoder."""

    crf: int | None
    """visually lossless at usual distances; None: the codec has no such scale"""
    most: int = 51
    """worst CRF"""
    preset: str
    presets: Mapping[str, str]
    """what may be asked for -> what the encoder is told"""


def _numbers(first: int, last: int, named: tuple[int, ...]) -> Mapping[str, str]:
    """Numbers stand for themselves, and x264's names for the numbers nearest to them."""
    numbers = {str(number): str(number) for number in range(first, last + 1)}
    return {**numbers, **{name: str(number) for name, number in zip(_SPEEDS, named, strict=True)}}


_NAMES = {name: name for name in _SPEEDS}
_NVENC = _Scale(crf=20, preset="p5", presets={f"p{number}": f"p{number}" for number in range(1, 8)})
_SCALES: Mapping[str, _Scale] = MappingProxyType(
    {
        "libx264": _Scale(crf=17, preset="medium", presets=_NAMES),
        "libx265": _Scale(crf=18, preset="medium", presets=_NAMES),
        "libsvtav1": _Scale(crf=22, most=63, preset="7", presets=_numbers(0, 13, (1, 2, 3, 4, 6, 8, 9, 10, 11, 12))),
        "libvpx-vp9": _Scale(crf=20, most=63, preset="3", presets=_numbers(0, 8, (0, 0, 1, 1, 2, 3, 4, 5, 6, 8))),
        "ffv1": _Scale(crf=None, preset="", presets={}),
        "prores_ks": _Scale(crf=None, preset="", presets={name: name for name in _PRORES_PROFILES}),
        "h264_nvenc": _NVENC,
        "hevc_nvenc": _NVENC,
        "av1_nvenc": _Scale(crf=25, preset="p5", presets=_NVENC.presets),
    }
)
_SITINGS: Mapping[str, str] = MappingProxyType({"center": "center", "topleft": "topleft"})
"""siting that is told to the encoder; left is what a bitstream means that says nothing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of an encoder, sorted by name, and what a person should know about them."""

    options: tuple[tuple[str, str], ...]
    warning: str | None


def encoder_options(
    encoder: str, pixel_format: PixelFormat, target: FrameLayout, video: VideoParams, hdr: HdrMetadata | None, url: str
) -> Settings:
    """What an encoder is opened with.

    Raises:
        ItemError: UNSUPPORTED for a CRF or a preset that the encoder does not have.
    """
    scale = _SCALES[encoder]
    crf, preset = video.crf, video.preset
    ignored: list[str] = []
    if crf is not None and scale.crf is None:
        ignored.append("--crf")
    elif crf is not None and not 0 <= crf <= scale.most:
        raise _unsupported(url, f"{encoder} has no CRF of {crf}", f"ask for one from 0 (best) to {scale.most}")
    if preset and not scale.presets:
        ignored.append("--preset")
    elif preset and preset not in scale.presets:
        advice = f"ask for one of {', '.join(scale.presets)}"
        raise _unsupported(url, f"{encoder} has no preset {preset}", advice)
    quality = str(scale.crf if crf is None else crf)
    speed = scale.presets.get(preset or scale.preset, "")
    options = {"threads": str(video.encoder_threads)}
    if target.chroma_shift == (1, 1) and target.siting in _SITINGS:
        options["chroma_sample_location"] = _SITINGS[target.siting]
    options |= _own_options(encoder, quality, speed, pixel_format, video.encoder_threads, hdr or HdrMetadata())
    options = {name: value for name, value in options.items() if value}
    warning = f"{encoder} has no use for {' and '.join(ignored)}" if ignored else None
    return Settings(options=tuple(sorted(options.items())), warning=warning)


def _own_options(
    encoder: str, crf: str, preset: str, pixel_format: PixelFormat, threads: int, hdr: HdrMetadata
) -> dict[str, str]:
    """The options that only this encoder has; empty values mean: not said."""
    display, light = hdr.display(whole=True), hdr.light
    if encoder == "libx264":
        more = _joined(
            {"open-gop": "0", "keyint": "infinite", "min-keyint": _NEVER},
            {"rc-lookahead": str(LOOKAHEAD), "lookahead-threads": "1", "sliced-threads": "0"},
            {"mastering-display": display, "cll": light},
        )
        return {"crf": crf, "preset": preset, "x264-params": more}
    if encoder == "libx265":
        fixed = {"open-gop": "0", "rc-lookahead": str(LOOKAHEAD), "log-level": "none", "hdr10": "1" if display else ""}
        pools = {
            "pools": str(threads) if threads > 1 else "none",
            "frame-threads": "1",
            "wpp": "1" if threads > 1 else "0",
        }
        more = _joined(fixed, pools, {"master-display": display, "max-cll": light})
        return {"crf": crf, "preset": preset, "x265-params": more}
    if encoder == "libsvtav1":
        more = _joined(
            {"lp": str(threads), "lookahead": str(LOOKAHEAD), "irefresh-type": "2"},
            {"mastering-display": hdr.display(whole=False), "content-light": light},
        )
        return {"crf": crf, "preset": preset, "svtav1-params": more}
    untold = {DISPLAY_OPTION: hdr.display(whole=False), LIGHT_OPTION: light}
    if encoder == "libvpx-vp9":
        alt_ref = "0" if pixel_format.alpha else "1"  # libvpx codes alpha apart, and only without hidden frames
        speed = {"deadline": "good", "cpu-used": preset, "row-mt": "0", "lag-in-frames": str(LOOKAHEAD)}
        return {"crf": crf, "b": "0", "auto-alt-ref": alt_ref, **speed, **untold}
    if encoder == "ffv1":
        return {"level": "3", "slicecrc": "1", "g": "1", "context": "1", "coder": "range_tab", **untold}
    if encoder == "prores_ks":
        fit = "4444" if pixel_format.chroma_shift == (0, 0) else "hq"
        return {"profile": preset or fit, "vendor": "apl0", **untold}
    # Without B-frames: what the join knows of reordering it takes from the parameter sets, and those of NVENC say less.
    fixed = {"rc": "vbr", "b": "0", "bf": "0", "forced-idr": "1", "rc-lookahead": str(LOOKAHEAD)}
    return {"preset": preset, "cq": crf, **fixed}


def _joined(*parts: Mapping[str, str]) -> str:
    """NAME=VALUE:NAME=VALUE of all that has a value."""
    return ":".join(f"{name}={value}" for part in parts for name, value in part.items() if value)


def _unsupported(url: str, found: str, advice: str) -> ItemError:
    return ItemError(ErrorKind.UNSUPPORTED, url, found, advice)
