"""Recipes from the option files of BasicSR and Real-ESRGAN (RealESRNetModel, RealESRGANModel). Reading only.

What upstream's code fixes and its options cannot say is taken from the code: crops of 400 pixels, kernel sides of
7..21, sharpening with radius 50. `gt_size` there is the patch that training cuts from a finished pair: no part of a
recipe.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping
from typing import cast

import yaml

from sr_kernel.degrade.recipe import (
    DIRECTIONS,
    Blur,
    Final,
    Jpeg,
    Noise,
    Range,
    Recipe,
    RecipeError,
    Resize,
    Stage,
    Usm,
    Weights,
)

_STAGE_KEYS = (
    "resize_prob",
    "resize_range",
    "gaussian_noise_prob",
    "noise_range",
    "poisson_scale_range",
    "gray_noise_prob",
    "jpeg_range",
)
_BLUR_KEYS = (
    "blur_kernel_size",
    "kernel_list",
    "kernel_prob",
    "sinc_prob",
    "blur_sigma",
    "betag_range",
    "betap_range",
)
TOP_KEYS = frozenset(
    {f"{key}{suffix}" for key in _STAGE_KEYS for suffix in ("", "2")}
    | {"scale", "second_blur_prob", "gt_usm", "high_order_degradation"}
)
TRAIN_KEYS = frozenset(
    {f"{key}{suffix}" for key in _BLUR_KEYS for suffix in ("", "2")} | {"final_sinc_prob", "use_hflip", "use_rot"}
)
"""what a recipe is read from, at the top level and under datasets.train"""
_PAIRED = "RealESRGANPairedDataset"
_TOP_IGNORED = frozenset(
    [
        "name",
        "model_type",
        "num_gpu",
        "manual_seed",
        "l1_gt_usm",
        "percep_gt_usm",
        "gan_gt_usm",
        "gt_size",
        "queue_size",
        "datasets",
        "network_g",
        "network_d",
        "path",
        "train",
        "val",
        "logger",
        "dist_params",
        "is_train",
        "dist",
        "find_unused_parameters",
    ]
)
"""what belongs to training and not to its pairs"""
_TRAIN_IGNORED = frozenset(
    [
        "name",
        "type",
        "phase",
        "scale",
        "dataroot_gt",
        "meta_info",
        "io_backend",
        "gt_size",
        "use_shuffle",
        "num_worker_per_gpu",
        "batch_size_per_gpu",
        "dataset_enlarge_ratio",
        "prefetch_mode",
        "num_prefetch_queue",
        "pin_memory",
        "persistent_workers",
    ]
)
_KERNEL_SIDE = 21
"""upstream's code pads to this, and reads `blur_kernel_size` without using it"""


def recipe_from_basicsr(text: str) -> Recipe:
    """The recipe that an option file (.yml) of upstream's training describes.

    Raises RecipeError for what is no such file, for a missing key, for one that neither upstream's degradation nor its
    training knows, and for values out of range.
    """
    try:
        loaded: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of dates and numbers that cannot be; of its depth
        raise RecipeError(f"recipe: not YAML: {error}") from error
    top = _mapping(loaded, "the file")
    train = _mapping(_mapping(top.get("datasets", {}), "datasets").get("train", {}), "datasets.train")
    if top.get("high_order_degradation", True) is not True or train.get("type") == _PAIRED:
        raise RecipeError(
            f"recipe: high_order_degradation is off, or datasets.train is a {_PAIRED}: this option file trains on "
            "pairs that are ready and degrades nothing; start from one that degrades good pictures, such as "
            "finetune_realesrgan_x4plus.yml, and name yours there"
        )
    _refuse_unknown(top, TOP_KEYS | _TOP_IGNORED, "the top level")
    _refuse_unknown(train, TRAIN_KEYS | _TRAIN_IGNORED, "datasets.train")
    options = _Options({**_only(train, TRAIN_KEYS), **_only(top, TOP_KEYS)})
    return Recipe(
        scale=options.whole("scale"),
        hflip_prob=0.5 if options.flag("use_hflip") else 0.0,
        rotate=options.flag("use_rot"),
        usm=Usm() if options.flag("gt_usm", True) else None,
        stages=(
            Stage(
                blur=options.blur("", 1.0),
                resize=options.resize("", "running"),
                noise=options.noise(""),
                jpeg=Jpeg(quality=options.range("jpeg_range")),
            ),
            Stage(
                blur=options.blur("2", options.number("second_blur_prob")),
                resize=options.resize("2", "target"),
                noise=options.noise("2"),
            ),
        ),
        final=Final(sinc_prob=options.number("final_sinc_prob"), jpeg=Jpeg(quality=options.range("jpeg_range2"))),
    )


class _Options:
    """The options that describe a degradation, read by type; each reader raises RecipeError that names the key."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def blur(self, suffix: str, prob: float) -> Blur:
        side = self.whole(f"blur_kernel_size{suffix}")
        if side != _KERNEL_SIDE:
            raise RecipeError(
                f"recipe: blur_kernel_size{suffix} = {side}: upstream ignores it and always draws sides of 7..21;"
                f" set it to {_KERNEL_SIDE}, or write the recipe as TOML with the sides you mean"
            )
        names, weights = self._list(f"kernel_list{suffix}"), self.numbers(f"kernel_prob{suffix}")
        if len(names) != len(weights):
            raise RecipeError(f"recipe: kernel_list{suffix} and kernel_prob{suffix} differ in length")
        kinds: Weights = tuple((str(name), weight) for name, weight in zip(names, weights, strict=True))
        return Blur(
            prob=prob,
            kinds=kinds,
            sigma=self.range(f"blur_sigma{suffix}"),
            beta_generalized=self.range(f"betag_range{suffix}"),
            beta_plateau=self.range(f"betap_range{suffix}"),
            sinc_prob=self.number(f"sinc_prob{suffix}"),
        )

    def resize(self, suffix: str, of: str) -> Resize:
        weights = self.numbers(f"resize_prob{suffix}")
        if len(weights) != len(DIRECTIONS):
            raise RecipeError(f"recipe: resize_prob{suffix} = {weights} has not the three weights of up, down, keep")
        direction: Weights = tuple(zip(DIRECTIONS, weights, strict=True))
        return Resize(direction=direction, factor=self.range(f"resize_range{suffix}"), of=of)

    def noise(self, suffix: str) -> Noise:
        return Noise(
            gaussian_prob=self.number(f"gaussian_noise_prob{suffix}"),
            sigma=self.range(f"noise_range{suffix}"),
            poisson_scale=self.range(f"poisson_scale_range{suffix}"),
            gray_prob=self.number(f"gray_noise_prob{suffix}"),
        )

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._value(key) if default is None else self._values.get(key, default)
        if not isinstance(value, bool):
            raise RecipeError(f"recipe: {key} = {reprlib.repr(value)} is neither true nor false")
        return value

    def whole(self, key: str) -> int:
        value = self.number(key)
        if value % 1:
            raise RecipeError(f"recipe: {key} = {value!r} is not a whole number")
        return int(value)

    def number(self, key: str) -> float:
        return self._number(self._value(key), key)

    def numbers(self, key: str) -> list[float]:
        return [self._number(value, key) for value in self._list(key)]

    def range(self, key: str) -> Range:
        numbers = self.numbers(key)
        if len(numbers) != 2:
            raise RecipeError(f"recipe: {key} = {numbers} is not a list of lowest and highest")
        return numbers[0], numbers[1]

    def _list(self, key: str) -> list[object]:
        value = self._value(key)
        if not isinstance(value, list):
            raise RecipeError(f"recipe: {key} = {reprlib.repr(value)} is not a list")
        return cast("list[object]", value)

    def _value(self, key: str) -> object:
        if key not in self._values:
            raise RecipeError(
                f"recipe: the option file has no {key}: is it one that makes its own low-quality pictures?"
            )
        return self._values[key]

    @staticmethod
    def _number(value: object, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise RecipeError(f"recipe: {key} holds {reprlib.repr(value)}, which is not a number")
        return float(value)


def _mapping(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RecipeError(f"recipe: {where} is not a table of options")
    return {str(key): entry for key, entry in cast("dict[object, object]", value).items()}


def _only(table: Mapping[str, object], keys: frozenset[str]) -> dict[str, object]:
    return {key: value for key, value in table.items() if key in keys}


def _refuse_unknown(table: Mapping[str, object], known: frozenset[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise RecipeError(f"recipe: {where} of the option file has {', '.join(unknown)}, which means nothing here")
