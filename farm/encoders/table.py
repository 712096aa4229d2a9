"""The table of codecs: encoders, containers, pixel formats and limits, a row each. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSpec:
    """A codec, as a row of the table."""

    name: str
    families: tuple[str, ...]
    """names of FFmpeg's decoders whose films `auto` encodes with it"""
    encoder: str
    nvenc: str = ""
    """FFmpeg's encoder on NVIDIA's hardware; empty: there is none"""
    nvenc_pix_fmts: tuple[str, ...] = ()
    """what that one takes and every GPU that has it encodes: few have 10 bits of H.264"""
    containers: tuple[str, ...]
    pix_fmts: tuple[str, ...]
    """what the encoder takes of what frames can be made from, for the build that PyAV ships"""
    side: int
    """largest width and height in pixels"""
    short_side: int = 65_535
    """largest height in pixels where that is less"""
    area: int = 1 << 62
    """most luma samples of a frame"""
    rate: int = 1 << 62
    """most luma samples a second of its highest level: players need not keep up with more"""
    least_side: int = 1
    widened: bool = False
    """whether decoders give its samples more bits than any encoder here takes: that is no reason for another codec"""
    limited: bool = False
    """whether it cannot say that samples use all levels, and every reader takes them for limited"""
    even: bool = False
    """whether subsampled chroma needs sides that are multiples of the subsampling"""


def _planar(*chromas: str, depths: Sequence[int], prefix: str = "yuv") -> tuple[str, ...]:
    ends = [f"p{depth}le" if depth > 8 else "p" for depth in depths]
    return tuple(f"{prefix}{chroma}{end}" for chroma in chromas for end in ends)


_LEVEL_6_2 = 35_651_584
"""luma samples of a frame in the highest level of H.264 (139 264 macroblocks) and of HEVC"""
_RATE_6_2 = 4_278_190_080
"""luma samples a second there (16 711 680 macroblocks)"""
_FFV1 = (
    *_planar("420", "422", "444", depths=(8, 9, 10, 12, 14, 16)),
    *_planar("440", depths=(8, 10, 12)),
    *_planar("411", "410", depths=(8,)),
    *_planar("420", depths=(8, 9, 10, 16), prefix="yuva"),
    *_planar("422", "444", depths=(8, 9, 10, 16), prefix="yuva"),  # FFmpeg before 6 reads none of 12 bits
    *("gray", "gray9le", "gray10le", "gray12le", "gray14le", "gray16le", "ya8", "bgr0", "bgra"),
    *(f"gbrp{depth}le" for depth in (9, 10, 12, 14, 16)),
    *(f"gbrap{depth}le" for depth in (10, 12, 14, 16)),
)
CODECS: Mapping[str, CodecSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            CodecSpec(
                name="h264",
                families=("h264",),
                encoder="libx264",
                nvenc="h264_nvenc",
                nvenc_pix_fmts=("yuv420p", "yuv444p"),
                containers=("mp4", "mov", "mkv"),
                pix_fmts=(*_planar("420", "422", "444", depths=(8, 10)), "gray", "gray10le"),
                side=16_384,
                area=_LEVEL_6_2,
                rate=_RATE_6_2,
                even=True,
            ),
            CodecSpec(
                name="hevc",
                families=("hevc",),
                encoder="libx265",
                nvenc="hevc_nvenc",
                nvenc_pix_fmts=("yuv420p", "p010le", "yuv444p"),
                containers=("mp4", "mov", "mkv"),
                pix_fmts=(
                    *_planar("420", "422", "444", depths=(8, 10, 12)),
                    *("gbrp", "gbrp10le", "gbrp12le", "gray", "gray10le", "gray12le"),
                ),
                side=16_888,
                area=_LEVEL_6_2,
                rate=_RATE_6_2,
                least_side=16,
                even=True,
            ),
            CodecSpec(
                name="av1",
                families=("av1", "libdav1d", "libaom-av1"),
                encoder="libsvtav1",
                nvenc="av1_nvenc",
                nvenc_pix_fmts=("yuv420p", "p010le"),
                containers=("mp4", "mkv", "webm"),
                pix_fmts=_planar("420", depths=(8, 10)),
                side=16_384,
                short_side=8_704,
                least_side=16,
                even=True,
            ),
            CodecSpec(
                name="vp9",
                families=("vp9", "vp8", "libvpx-vp9", "libvpx"),
                encoder="libvpx-vp9",
                containers=("mp4", "mkv", "webm"),
                pix_fmts=("yuv420p", "yuv422p", "yuv440p", "yuv444p", "gbrp", "yuva420p"),
                side=65_535,
            ),
            CodecSpec(
                name="ffv1",
                families=("ffv1",),
                encoder="ffv1",
                containers=("mkv",),
                pix_fmts=_FFV1,
                side=65_535,
                least_side=4,
            ),
            CodecSpec(
                name="prores",
                families=("prores",),
                encoder="prores_ks",
                containers=("mov", "mkv"),
                pix_fmts=("yuv422p10le", "yuv444p10le", "yuva444p10le"),
                side=65_534,
                widened=True,
                limited=True,
            ),
        )
    }
)
