"""Whether what is asked for can be had: of one codec, and of all codecs and containers that a film may get.

Only what holds for every film is said here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from farm.encoders.misfit import Misfit
from farm.encoders.scale import SCALES, crf_misfit, preset_misfit
from farm.encoders.table import CODECS, CodecSpec

_CONTAINERS = ("mp4", "mkv", "mov", "webm")
"""what films with a codec are written as, and so what `same` may become"""
INTERLEAVED: Mapping[str, str] = MappingProxyType({"p010le": "yuv420p10le"})
"""format of NVIDIA's encoders -> the usual one of the same samples"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that speak of codecs, as farm.config.VideoConfig has them."""

    codec: str = "auto"
    container: str = "same"
    encoder: str = "software"
    crf: int | None = None
    preset: str = ""
    pix_fmt: str = "auto"

    @property
    def flags(self) -> Mapping[str, str]:
        """Of those that a codec has or has not: flag -> what was asked for."""
        said = {"--preset": self.preset, "--crf": "" if self.crf is None else str(self.crf)}
        said["--pix-fmt"] = "" if self.pix_fmt == "auto" else self.pix_fmt
        return {flag: value for flag, value in said.items() if value}

    def only(self, flag: str) -> Asked:
        """The same without the other flags."""
        kept = {"--preset": "preset", "--crf": "crf", "--pix-fmt": "pix_fmt"}[flag]
        bare = replace(self, crf=None, preset="", pix_fmt="auto")
        return replace(bare, **{kept: getattr(self, kept)})


def contradiction(asked: Asked) -> Misfit | None:
    """What keeps every film from being encoded as asked; None: some film could be.

    A codec that was named may have no use for a quality or a preset, which its films then say in a warning; of `auto`
    some codec must know them. Containers of pictures have no use for any of this.
    """
    containers = _CONTAINERS if asked.container == "same" else (asked.container,)
    if not set(containers) <= set(_CONTAINERS):
        return None
    if asked.codec == "auto":
        return _no_codec(asked, containers)
    codec = CODECS[asked.codec]
    fits = [container for container in containers if container in codec.containers]
    if not fits:
        return container_misfit(codec, asked.container)
    misfits = [_misfit(codec, container, asked) for container in fits]
    return None if None in misfits else misfits[0]


def container_misfit(codec: CodecSpec, container: str) -> Misfit | None:
    """A container that does not hold the codec."""
    if container in codec.containers:
        return None
    held = [spec.name for spec in CODECS.values() if container in spec.containers]
    advice = f"ask for --container {' or '.join(codec.containers)}, or for --codec {' or '.join(held)}"
    return Misfit(option="--codec", found=f"{codec.name} does not go into {container}", advice=advice)


def hardware_misfit(codec: CodecSpec, encoder: str) -> Misfit | None:
    """A codec that the GPU does not encode."""
    if encoder != "nvenc" or codec.nvenc:
        return None
    advice = "ask for --encoder software, or for h264, hevc or av1"
    return Misfit(option="--encoder", found=f"NVENC has no {codec.name}", advice=advice)


def pix_fmts(codec: CodecSpec, container: str, encoder: str) -> tuple[str, ...]:
    """What an encoder takes, of what the container then holds."""
    names = codec.nvenc_pix_fmts if encoder == "nvenc" else codec.pix_fmts
    if codec.name == "vp9" and container == "mp4":
        return tuple(name for name in names if name != "yuva420p")  # alpha of VP9 lies in Matroska's BlockAdditions
    return names


def which_format(asked: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is meant: by its own name, without its byte order, or by the usual one of its samples."""
    wanted = {asked, f"{asked}le"}
    return next((name for name in names if name in wanted or INTERLEAVED.get(name) in wanted), None)


def pix_fmt_misfit(codec: CodecSpec, container: str, encoder: str, pix_fmt: str) -> Misfit | None:
    """A pixel format that the encoder does not take."""
    names = pix_fmts(codec, container, encoder)
    if pix_fmt == "auto" or which_format(pix_fmt, names):
        return None
    found = f"{codec.name} in {container} takes no {pix_fmt}"
    return Misfit(option="--pix-fmt", found=found, advice=f"ask for one of {', '.join(names)}")


def _misfit(codec: CodecSpec, container: str, asked: Asked) -> Misfit | None:
    """The first thing that this codec in this container does not have."""
    if misfit := hardware_misfit(codec, asked.encoder):
        return misfit
    name = _encoder(codec, asked)
    return (
        pix_fmt_misfit(codec, container, asked.encoder, asked.pix_fmt)
        or crf_misfit(name, asked.crf)
        or preset_misfit(name, asked.preset)
    )


def _no_codec(asked: Asked, containers: Iterable[str]) -> Misfit | None:
    """Why none of the codecs that `auto` may choose takes what is asked; None: one does."""
    pairs = [(spec, container) for spec in CODECS.values() for container in containers if container in spec.containers]
    if asked.encoder == "nvenc":
        pairs = [(spec, container) for spec, container in pairs if spec.nvenc]

    def can(wanted: Asked) -> bool:
        return any(_knows(spec, wanted) and _misfit(spec, container, wanted) is None for spec, container in pairs)

    if can(asked):
        return None
    where = ("NVENC" if asked.encoder == "nvenc" else "codec") + (
        "" if asked.container == "same" else f" for {asked.container}"
    )
    scales = [SCALES[_encoder(spec, asked)] for spec, _ in pairs]
    words = {
        "--preset": ("has a preset", f"ask for one of {', '.join(scales[0].presets)}, or name the --codec that has it"),
        "--crf": ("has a CRF of", f"ask for one from 0 (best) to {max(one.most for one in scales if one.crf)}"),
        "--pix-fmt": ("takes the pixel format", "leave it at auto, or ask for one such as yuv420p10le"),
    }
    for flag, value in asked.flags.items():
        if not can(asked.only(flag)):
            verb, advice = words[flag]
            return Misfit(option=flag, found=f"no {where} {verb} {value}", advice=advice)
    together = " with ".join(f"{flag} {value}" for flag, value in asked.flags.items())
    advice = "leave one of them out, or name a --codec to hear what it takes"
    return Misfit(option=next(iter(asked.flags)), found=f"no {where} takes {together}", advice=advice)


def _knows(codec: CodecSpec, asked: Asked) -> bool:
    """Whether the encoder has a scale for all that is asked."""
    scale = SCALES[_encoder(codec, asked)]
    return (asked.crf is None or scale.crf is not None) and (not asked.preset or bool(scale.presets))


def _encoder(codec: CodecSpec, asked: Asked) -> str:
    return codec.nvenc if asked.encoder == "nvenc" else codec.encoder
