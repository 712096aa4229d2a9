"""Quality and speed of each encoder: which CRF and which presets may be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.encoders.misfit import Misfit

_SPEEDS = ("placebo", "veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast", "superfast", "ultrafast")
_PRORES_PROFILES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
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
_NVENC = Scale(crf=20, preset="p5", presets={f"p{number}": f"p{number}" for number in range(1, 8)})
SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "libx264": Scale(crf=17, preset="medium", presets=_NAMES),
        "libx265": Scale(crf=18, preset="medium", presets=_NAMES),
        "libsvtav1": Scale(crf=22, most=63, preset="7", presets=_numbers(0, 13, (1, 2, 3, 4, 6, 8, 9, 10, 11, 12))),
        "libvpx-vp9": Scale(crf=20, most=63, preset="3", presets=_numbers(0, 8, (0, 0, 1, 1, 2, 3, 4, 5, 6, 8))),
        "ffv1": Scale(crf=None, preset="", presets={}),
        "prores_ks": Scale(crf=None, preset="", presets={name: name for name in _PRORES_PROFILES}),
        "h264_nvenc": _NVENC,
        "hevc_nvenc": _NVENC,
        "av1_nvenc": Scale(crf=25, preset="p5", presets=_NVENC.presets),
    }
)
"""FFmpeg's name of an encoder -> its scale"""


def crf_misfit(encoder: str, crf: int | None) -> Misfit | None:
    """A CRF that the encoder does not have; one that has none at all has no use for it, and that is all."""
    scale = SCALES[encoder]
    if crf is None or scale.crf is None or 0 <= crf <= scale.most:
        return None
    advice = f"ask for one from 0 (best) to {scale.most}"
    return Misfit(option="--crf", found=f"{encoder} has no CRF of {crf}", advice=advice)


def preset_misfit(encoder: str, preset: str) -> Misfit | None:
    """A preset that the encoder does not have; one that has none at all has no use for it, and that is all."""
    presets = SCALES[encoder].presets
    if not preset or not presets or preset in presets:
        return None
    advice = f"ask for one of {', '.join(presets)}"
    return Misfit(option="--preset", found=f"{encoder} has no preset {preset}", advice=advice)
