"""What is trained and how: values only, checked where they are made. No torch.

The defaults are those of Real-ESRGAN (Wang et al., 2021): `net_plan` is its first stage, `gan_plan` its second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sr_kernel.models import rrdb_align_px

NetworkKind = Literal["rrdb", "srvgg"]
Stage = Literal["net", "gan"]
GanKind = Literal["vanilla", "relativistic"]
Precision = Literal["fp32", "bf16", "fp16"]
ScheduleKind = Literal["steps", "cosine"]
InitKind = Literal["upstream", "bicubic"]
LayerWeights = tuple[tuple[str, float], ...]
"""names of layers of VGG19 and what each counts"""

NETWORK_KINDS: tuple[NetworkKind, ...] = ("rrdb", "srvgg")
STAGES: tuple[Stage, ...] = ("net", "gan")
GAN_KINDS: tuple[GanKind, ...] = ("vanilla", "relativistic")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
INIT_KINDS: tuple[InitKind, ...] = ("upstream", "bicubic")
SCHEDULE_KINDS: tuple[ScheduleKind, ...] = ("steps", "cosine")
SCALES: dict[NetworkKind, tuple[int, ...]] = {"rrdb": (1, 2, 4), "srvgg": (1, 2, 3, 4, 8)}
PIXEL_FEATURES = 27
"""three colours of nine pixels: what a network that begins as bicubic keeps in its first features"""
VGG_LAYERS = tuple(
    f"conv{block}_{index}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for index in range(1, count + 1)
)
"""the convolutions of VGG19, in their order"""
OFFICIAL_LAYERS: LayerWeights = (
    ("conv1_2", 0.1),
    ("conv2_2", 0.1),
    ("conv3_4", 1.0),
    ("conv4_4", 1.0),
    ("conv5_4", 1.0),
)


class PlanError(ValueError):
    """A plan that cannot be: a value out of its range, or values that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """The network that restores."""

    kind: NetworkKind = "rrdb"
    scale: int = 4
    features: int = 64
    """channels of the hidden layers, 1..512"""
    blocks: int = 23
    """RRDB blocks, or hidden convolutions of SRVGGNetCompact, 0..128"""
    growth: int = 32
    """channels that each convolution of a dense block adds; not read for srvgg"""
    init: InitKind = "upstream"
    """fresh weights of srvgg. upstream: torch's own, under which the signal fades from layer to layer; bicubic: those
    with which the network is a bicubic resampler, from 27 features on. Not read for rrdb"""

    def __post_init__(self) -> None:
        _one_of(self, "kind", NETWORK_KINDS)
        _require(self.scale in SCALES[self.kind], self, "scale", f"is not one of {SCALES[self.kind]} of {self.kind}")
        _one_of(self, "init", INIT_KINDS)
        _within(self, "features", 1, 512)
        _within(self, "blocks", 0, 128)
        _within(self, "growth", 1, 512)
        fits = self.init == "upstream" or self.features >= PIXEL_FEATURES
        _require(fits, self, "features", f"is less than the {PIXEL_FEATURES} that init bicubic wants")

    @property
    def align_px(self) -> int:
        """Sides of poor pictures are multiples of it."""
        return rrdb_align_px(self.scale) if self.kind == "rrdb" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """How long, and the learning rate of each iteration."""

    iterations: int = 1_000_000
    rate: float = 2e-4
    rate_discriminator: float = 1e-4
    """not read by stage net"""
    kind: ScheduleKind = "steps"
    """steps: times `gamma` at each milestone; cosine: from `rate` to `least` over all iterations"""
    milestones: tuple[int, ...] = ()
    """iterations, rising"""
    gamma: float = 0.5
    least: float = 0.0
    """what share of the rate cosine ends at, 0..1"""
    warmup: int = 0
    """iterations over which the rate rises from 0"""

    def __post_init__(self) -> None:
        _within(self, "iterations", 1, 1 << 40)
        _within(self, "rate", 0.0, 1.0)
        _within(self, "rate_discriminator", 0.0, 1.0)
        _one_of(self, "kind", SCHEDULE_KINDS)
        _require(sorted(self.milestones) == list(self.milestones), self, "milestones", "do not rise")
        _within(self, "gamma", 0.0, 1.0)
        _within(self, "least", 0.0, 1.0)
        _within(self, "warmup", 0, self.iterations)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPlan:
    """What is minimised: weights of the losses; 0 leaves one out."""

    pixel: float = 1.0
    """mean absolute difference"""
    perceptual: float = 0.0
    """mean absolute difference of features of VGG19 before their activation"""
    layers: LayerWeights = OFFICIAL_LAYERS
    gan: float = 0.0
    gan_kind: GanKind = "vanilla"
    """relativistic: each judged against the mean of the others (ESRGAN)"""
    sharpened_pixel: bool = False
    """whether the good picture is sharpened for this loss"""
    sharpened_perceptual: bool = False
    sharpened_gan: bool = False
    toward_bicubic: float = 0.0
    """how far the pixel loss' good picture is drawn to the poor one enlarged by bicubic, 0..1. The minimum moves with
    it, so what is learned is that share less than the network would change: shrinkage, for networks that few pictures
    train and that change too much in pictures unlike those"""

    def __post_init__(self) -> None:
        for name in ("pixel", "perceptual", "gan"):
            _within(self, name, 0.0, 1e6)
        _within(self, "toward_bicubic", 0.0, 1.0)
        _one_of(self, "gan_kind", GAN_KINDS)
        unknown = [name for name, _ in self.layers if name not in VGG_LAYERS]
        _require(not unknown, self, "layers", f"names {unknown}, not convolutions of VGG19 such as conv5_4")
        _require(self.pixel + self.perceptual + self.gan > 0, self, "pixel", "and all other losses are 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage of training, whole."""

    stage: Stage = "net"
    network: NetworkPlan = field(default_factory=NetworkPlan)
    schedule: SchedulePlan = field(default_factory=SchedulePlan)
    losses: LossPlan = field(default_factory=LossPlan)
    betas: tuple[float, float] = (0.9, 0.99)
    """of Adam"""
    ema: float = 0.999
    """how much of the averaged weights stays at each iteration; 0: no average is kept"""
    precision: Precision = "fp32"
    """of the networks' arithmetic; weights, losses and Adam stay in fp32"""
    recompute: bool = False
    """whether activations inside blocks are computed anew for the backward pass: less memory, a third more work"""
    channels_last: bool = True
    discriminator_features: int = 64
    discriminator_every: int = 1
    """the restoring network is trained at every n-th iteration of stage gan, the discriminator at each"""
    discriminator_first: int = 0
    """iterations in which only the discriminator is trained"""

    def __post_init__(self) -> None:
        _one_of(self, "stage", STAGES)
        _one_of(self, "precision", PRECISIONS)
        betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _require(betas, self, "betas", "are not two numbers in 0..1")
        _require(0 <= self.ema < 1, self, "ema", "is not in 0..1")
        _within(self, "discriminator_features", 1, 512)
        _within(self, "discriminator_every", 1, 1000)
        _within(self, "discriminator_first", 0, self.schedule.iterations)
        adversarial = self.losses.gan > 0
        _require(adversarial == (self.stage == "gan"), self, "stage", "does not fit losses.gan: gan wants it above 0")


def net_plan(network: NetworkPlan) -> StagePlan:
    """Real-ESRNet: L1 alone."""
    return StagePlan(stage="net", network=network)


def gan_plan(network: NetworkPlan) -> StagePlan:
    """Real-ESRGAN: sharpened pictures for L1 and perceptual loss, plain ones for the discriminator."""
    return StagePlan(
        stage="gan",
        network=network,
        schedule=SchedulePlan(iterations=400_000, rate=1e-4),
        losses=LossPlan(perceptual=1.0, gan=0.1, sharpened_pixel=True, sharpened_perceptual=True),
    )


def _require(holds: bool, owner: object, name: str, text: str) -> None:
    if not holds:
        part = type(owner).__name__.removesuffix("Plan").lower()
        raise PlanError(f"plan: {part}.{name} = {getattr(owner, name)!r} {text}")


def _one_of(owner: object, name: str, known: tuple[str, ...]) -> None:
    _require(getattr(owner, name) in known, owner, name, f"is not one of {', '.join(known)}")


def _within(owner: object, name: str, least: float, most: float) -> None:
    value = getattr(owner, name)
    _require(math.isfinite(value) and least <= value <= most, owner, name, f"is not in {least:g}..{most:g}")
