"""From the configuration and a model to the parameters of what is restored. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

from farm import params as parameters
from farm.config import RunConfig
from farm.errors import UsageError
from farm.face import FaceParams
from farm.film import VideoParams
from farm.kinds import MediaKind
from farm.params import UpscaleParams
from farm.records import Overrides
from farm.target import most_passes
from sr_kernel.hardware import cpu_has_bf16, cpu_runs_bf16
from sr_kernel.models import ALIASES, has_fused_kernels

if TYPE_CHECKING:
    from sr_kernel.models import ModelSpec

BATCHES: Mapping[str, int] = {"cuda": 8, "cpu": 1}
TILES_PX: Mapping[tuple[str, str], int] = {("cuda", "srvgg"): 512}
"""by device and architecture: eight such windows have the pixels of a 1080p frame, whose network is at 65 % of a GPU's
peak where eight of 256 are at 59, beside a smaller halo (bench/results/kernels-2026-11-27.md)"""
TILE_PX = 256
"""of all others: fits a processor's caches"""
ENCODER_THREADS: Mapping[str, int] = {"cuda": 8, "cpu": 1}
"""threads of one encoder: a CPU worker has one core; what feeds a GPU must not wait for one"""
_HALF = frozenset({"fp16", "bf16"})
"""precisions that fused kernels have"""
_LOSSY = frozenset({"jpg", "webp", "avif"})
"""formats whose quality decides bytes"""


class PlannedModel(Protocol):
    """What planning needs of a model; `farm.fetch.ResolvedModel` is one."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def sha256(self) -> str: ...


class Resolver:
    """What one run restores with. Everything that only a row or its model decides is an argument of `params`.

    Arguments as of `farm.plan.Planner`. Raises UsageError for what the workers cannot compute.
    """

    def __init__(
        self, config: RunConfig, device_class: str, *, cpu_bf16: bool | None, fused: bool, face: FaceParams | None
    ) -> None:
        self.device_class = device_class
        self._config = config
        self.face = face
        self._precision = _resolve_precision(config.model.precision, device_class, cpu_bf16)
        self._fused = _resolve_fused(config.model.kernel, device_class, fused)

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Equal for resolvers that resolve alike, of one configuration."""
        return (self.device_class, self._precision, self._fused, self.face)

    def params(
        self, name: str, model: PlannedModel, asked: Overrides, file_format: str, kind: MediaKind
    ) -> UpscaleParams:
        """Of rows of one kind that ask for `asked`; `name` is what they or the command call the model."""
        config, spec = self._config, model.spec
        size = config.model.size if asked.outscale is None else None
        outscale = 0.0 if size else planned_outscale(name, spec, asked.outscale or config.model.outscale)
        resampled = outscale != spec.scale or config.model.max_side > 0
        official = config.model.resize == "official" and resampled
        denoise = resolve_denoise(asked.denoise, config.model.denoise, spec)
        video = self._video(file_format) if kind is MediaKind.VIDEO else None
        precision, precise = (_supported(one, spec) for one in (self._precision, self._precision_16bit(kind)))
        kernel = "fused" if self._fused and has_fused_kernels(spec) else "plain"
        if file_format == "sequence":
            file_format = config.output.format if config.output.format != "same" else "png"
        return UpscaleParams(
            model=spec.name,
            model_sha256=model.sha256,
            denoise=denoise,
            scale=spec.scale,
            halo_px=spec.halo_px,
            align_px=spec.align_px,
            whole_body=spec.whole_body,
            outscale=outscale,
            resize="official" if official else "lanczos",
            alpha=config.model.alpha,
            precision=precision,
            precision_16bit=precise,
            device_class=self.device_class,
            batch=config.model.batch or BATCHES[self.device_class],
            tile_px=config.model.tile_px or TILES_PX.get((self.device_class, spec.arch), TILE_PX),
            exact_px=config.model.exact_px,
            band_px=config.model.band_px,
            format=file_format,
            quality=config.output.quality if file_format in _LOSSY else 0,
            stamp=config.output.stamp,
            pages="first" if config.limits.pages == "first" and kind is MediaKind.IMAGE else "refuse",
            max_pixels_in=config.limits.max_pixels_in,
            max_pixels_out=config.limits.max_pixels_out,
            pixel_epoch=_epoch(kind, of_fused_kernels=kernel == "fused" and not _HALF.isdisjoint((precision, precise))),
            video=video,
            kernel=kernel,
            tta=config.model.tta,
            keep_colour=config.model.keep_colour,
            face=self.face,
            size=size,
            fit=config.model.fit if size else "contain",
            max_side=config.model.max_side,
            passes=1 if official or 0 < outscale <= spec.scale else most_passes(spec.scale),
            light=config.model.light if resampled or kind is MediaKind.VIDEO else "gamma",
            niqe=config.fidelity.niqe,
            suspect=config.fidelity.suspect,
            origin_px=spec.origin_px,
            salvage=config.video.salvage and kind is MediaKind.IMAGE,
        )

    def _video(self, container: str) -> VideoParams:
        config = self._config.video
        return VideoParams(
            container=container,
            codec=config.codec,
            crf=config.crf,
            preset=config.preset or "",
            pix_fmt=config.pix_fmt,
            fps=f"{config.fps.numerator}/{config.fps.denominator}" if config.fps else "",
            segment_frames=config.segment_frames,
            audio=config.audio,
            deinterlace=config.deinterlace,
            salvage=config.salvage,
            allow_damaged=config.allow_damaged,
            encoder=config.encoder,
            encoder_threads=ENCODER_THREADS[self.device_class],
            tag_colours=config.tag_colours,
            codecs=metadata.version("av"),
        )

    def _precision_16bit(self, kind: MediaKind) -> str:
        """Pictures of 16 bits lose five of them in fp16; films of 10 or 12 bits lose at most one."""
        if self._config.model.precision != "auto":
            return self._precision
        return "fp16" if kind is MediaKind.VIDEO and self.device_class == "cuda" else "fp32"


def _resolve_precision(asked: str, device_class: str, cpu_bf16: bool | None) -> str:
    """fp16, bf16 or fp32 for 8-bit sources; the same for every item of the run."""
    if device_class == "cuda":
        return "fp16" if asked == "auto" else asked
    if asked == "fp16":
        raise UsageError("--precision: fp16 on a CPU is hundreds of times slower; use auto, bf16 or fp32")
    if asked == "bf16" and cpu_bf16 is None and not cpu_runs_bf16():
        raise UsageError("--precision: torch has no bf16 on this machine's processor; use auto or fp32")
    if asked != "auto":
        return asked
    return "bf16" if (cpu_has_bf16() if cpu_bf16 is None else cpu_bf16) else "fp32"


def _supported(precision: str, spec: ModelSpec) -> str:
    """The run's precision where the model's network can be computed in it, else fp32."""
    return precision if {"fp16": spec.fp16, "bf16": spec.bf16}.get(precision, True) else "fp32"


def _epoch(kind: MediaKind, *, of_fused_kernels: bool) -> int:
    of_film = parameters.FILM_EPOCH if kind is MediaKind.VIDEO else 0
    return parameters.PIXEL_EPOCH + of_film + (parameters.FUSED_EPOCH if of_fused_kernels else 0)


def resolve_denoise(asked: float | None, configured: float | None, spec: ModelSpec) -> float:
    """What a row or the configuration asks for, else the model's own; 1 for models without a partner."""
    if not spec.partner:
        return 1.0
    return next(value for value in (asked, configured, spec.denoise) if value is not None)


def _resolve_fused(asked: str, device_class: str, able: bool) -> bool:
    """Whether networks run in the fused kernels; `able`: the GPUs that are known can."""
    if asked == "fused" and device_class != "cuda":
        raise UsageError("--kernel: fused is for GPUs, and CPUs work here; use auto or plain")
    return device_class == "cuda" and (asked == "fused" or (asked == "auto" and able))


def planned_outscale(name: str, spec: ModelSpec, asked: float | None) -> float:
    """What a row or the configuration asks for, else what the model's name means, else the network's scale."""
    return float(asked or alias_outscale(name) or spec.scale)


def alias_outscale(name: str) -> float | None:
    """The scale that another program's name of a model means, where nobody asks for one."""
    return ALIASES[name].outscale if name in ALIASES else None
