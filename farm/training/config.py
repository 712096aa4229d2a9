"""What `farm train` is asked: values only, checked where they are made. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from farm.errors import UsageError
from farm.kinds import extension_of
from sr_kernel.degrade.recipe import Usm
from sr_kernel.train.plan import StagePlan

GT_ROLES = ("gt", "gt_usm")
PERCEPTUAL = ("vgg19", "none")
"""where the weights of VGG19 come from, beside a file: the weight store; or no perceptual loss at all"""
LPIPS = ("auto", "alexnet", "none")
"""likewise of AlexNet, with which LPIPS compares; auto: of the weight store, where they and the package are here"""
RECIPE_FILES = ("toml", "yml", "yaml")
WEIGHT_FILES = ("pth", "pt", "safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Where pairs come from: a data set of `farm degrade`, or a manifest whose pictures are degraded when asked for."""

    pairs: str = ""
    """output root of `farm degrade`"""
    manifest: str = ""
    root: str = ""
    """what relative paths of the manifest start from; its own folder unless given"""
    recipe: str = "x4plus"
    """of what is degraded when asked for: a name or a file"""
    per_image: int = 1
    """samples of each picture in an epoch"""
    jpeg: str = "diff"
    """diff or codec, as `farm degrade` takes it"""
    weight: float = 1.0
    """how often, beside the other sources' weights"""

    def __post_init__(self) -> None:
        if bool(self.pairs) == bool(self.manifest):
            raise UsageError("data.sources: name either pairs or a manifest in each")
        _at_least("data.sources.per_image", self.per_image, 1)
        _one_of("data.sources.jpeg", self.jpeg, ("diff", "codec"))
        if not 0 < self.weight < float("inf"):
            raise UsageError(f"data.sources.weight: {self.weight} is not above 0")

    @property
    def url(self) -> str:
        """What messages call it."""
        return self.pairs or self.manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What is learned from."""

    sources: tuple[SourceConfig, ...] = ()
    gt: str = "gt"
    """gt, or gt_usm: the good pictures as they are, or sharpened"""
    patch: int = 256
    """side in good pixels of what is cut out of a pair; 0: pairs whole"""
    batch: int = 48
    """pairs of an iteration, over all workers"""
    flip: bool = True
    loaders: int = -1
    """processes a worker that read and degrade; 0: the worker itself does; -1: one, for a GPU one
    less than its machine has cores for each worker, at most 16. Decides no pixel"""

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("data.sources: is empty; name pairs of farm degrade, or a manifest and a recipe")
        _one_of("data.gt", self.gt, GT_ROLES)
        _at_least("data.patch", self.patch, 0)
        _within("data.batch", self.batch, 1, 1 << 20)
        _within("data.loaders", self.loaders, -1, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """Pictures that are restored now and then, and scored against the good ones."""

    pairs: str = ""
    """a data set of `farm degrade`; empty: no validation"""
    gt: str = "gt"
    every: int = 5000
    """iterations between two"""
    most: int = 0
    """pairs that are scored, the first ones; 0: all"""
    pictures: int = 4
    """of these are saved, each beside the poor and the good one"""
    lpips: str = "auto"
    """one of LPIPS, or a file of torchvision's AlexNet"""

    def __post_init__(self) -> None:
        _one_of("validation.gt", self.gt, GT_ROLES)
        _at_least("validation.every", self.every, 1)
        _at_least("validation.most", self.most, 0)
        _at_least("validation.pictures", self.pictures, 0)
        if not is_weight_file(self.lpips):
            _one_of("validation.lpips", self.lpips, LPIPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepConfig:
    """What is written, and how often."""

    every: int = 5000
    """iterations between two checkpoints"""
    checkpoints: int = 2
    """newest ones that stay; 0: all"""
    weights: int = 0
    """sets of exported weights that stay, the newest ones; 0: all"""
    log: int = 100
    """iterations between two lines of the log and of the progress"""
    tensorboard: bool = True
    """whether TensorBoard's files are written where it is installed"""

    def __post_init__(self) -> None:
        _at_least("keep.every", self.every, 1)
        _at_least("keep.checkpoints", self.checkpoints, 0)
        _at_least("keep.weights", self.weights, 0)
        _at_least("keep.log", self.log, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairForm:
    """What sides the pictures of a pair may have, in pixels of the good one."""

    scale: int
    """of the good picture to the poor one"""
    multiple: int
    """sides are multiples of it"""
    least: int
    """of a side: sharpening mirrors as much, and VGG19 halves so often"""

    def misfit(self, height: int, width: int) -> str | None:
        """What is wrong with a good picture; None where nothing is."""
        if height % self.multiple or width % self.multiple:
            return f"is no multiple of {self.multiple}, which the networks need"
        if min(height, width) < self.least:
            return f"is less than the {self.least} pixels that the losses need"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training, whole."""

    plan: StagePlan
    data: DataConfig
    name: str = "model"
    """what exported weights are called"""
    seed: int = 0
    """of fresh weights and of everything that is drawn"""
    start: str = ""
    """none, a weight file, or a model's name; empty: what the stage starts from as published"""
    start_key: str = ""
    """which weights of the start's file the network begins with, where it has them; empty: the averaged ones, with
    which the average begins in any case"""
    opponent: str = ""
    """as start, of the discriminator"""
    perceptual: str = "vgg19"
    """vgg19: from the weight store; none; or a file of torchvision's VGG19"""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    keep: KeepConfig = field(default_factory=KeepConfig)

    strict: bool = True
    """whether all weights of the start have to fit; otherwise what fits by name and shape is taken"""
    recipes: str = ""
    """of recipes that are files: a digest of what they say"""
    notes: tuple[str, ...] = ()
    """of what the file says and the training does not do as somebody may think: said before it begins"""

    def __post_init__(self) -> None:
        if not self.name or not all(char.isalnum() or char in "-_." for char in self.name):
            raise UsageError(f"name: {self.name!r} is no name of letters, digits, dots, dashes and underscores")
        _within("seed", self.seed, -(1 << 63), (1 << 63) - 1)
        scale = self.plan.network.scale
        if self.data.patch % scale:
            raise UsageError(f"data.patch: {self.data.patch} is no multiple of the network's scale, {scale}")
        if self.plan.stage == "gan" and self.data.patch % 8:
            raise UsageError(f"data.patch: {self.data.patch} is no multiple of 8, which the discriminator needs")
        if self.data.patch and (misfit := self.form.misfit(self.data.patch, self.data.patch)):
            raise UsageError(f"data.patch: {self.data.patch} {misfit}")
        if self.plan.losses.perceptual and not self.plan.losses.layers:
            raise UsageError("losses.layers: is empty; name layers of VGG19, or set losses.perceptual to 0")

    @property
    def form(self) -> PairForm:
        """What pairs the networks and losses take."""
        network, losses = self.plan.network, self.plan.losses
        multiple = network.scale * network.align_px
        sharpened = losses.sharpened_pixel or losses.sharpened_perceptual or losses.sharpened_gan
        halvings = max((int(name[4]) - 1 for name, _ in losses.layers), default=0) if losses.perceptual else 0
        return PairForm(
            scale=network.scale,
            multiple=math.lcm(multiple, 8) if self.plan.stage == "gan" else multiple,
            least=max(Usm().side_px // 2 + 1 if sharpened else 1, 2**halvings),
        )

    def fingerprint(self, content: Sequence[str]) -> str:
        """Of all that decides the curve: a checkpoint of another one is not taken up. `content`: of each source the
        digest of its samples.

        Where files lie does not belong to it, so that a training can go on in another folder or on another machine. How
        long it runs does only where the rate depends on that.
        """
        said: dict[str, Any] = {"plan": asdict(self.plan), "data": asdict(self.data), "seed": self.seed}
        said |= {name: _name_of_weights(getattr(self, name)) for name in ("start", "opponent", "perceptual")}
        said["data"].pop("loaders")
        said["data"]["sources"] = [
            [_said_of_source(source), digest] for source, digest in zip(self.data.sources, content, strict=True)
        ]
        if self.recipes:
            said["recipes"] = self.recipes
        if not self.strict:
            said["strict"] = False
        if self.start_key:
            said["start_key"] = self.start_key
        if self.plan.schedule.kind == "steps":
            said["plan"]["schedule"].pop("iterations")
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def is_weight_file(named: str) -> bool:
    """Whether what is said of weights is a file on a disk or a store, not a name."""
    return extension_of(named.partition("#")[0]) in WEIGHT_FILES


def _name_of_weights(named: str) -> str:
    """A model, or a file without its folder."""
    return named.rpartition("/")[2] if is_weight_file(named) else named


def _said_of_source(source: SourceConfig) -> list[object]:
    """What decides samples beside what they are made of. Of a recipe that is a file, what it says counts."""
    if source.pairs:
        return [source.weight]
    recipe = "" if extension_of(source.recipe) in RECIPE_FILES else source.recipe
    return [source.weight, recipe, source.per_image, source.jpeg]


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise UsageError(f"{name}: {value} is below {least}")


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name}: {value} is not in {least}..{most}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
