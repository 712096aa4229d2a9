"""Draws every parameter of a sample by its name: nothing depends on what else is drawn, where, or in which order.

A draw is a hash of (run seed, source key, sample index, parameter name), so any worker can draw any sample at any time,
and a parameter keeps its value when another one is added to the process.
"""

from __future__ import annotations

import json
from hashlib import blake2b

from sr_kernel.degrade.drawn import SINC, Drawn, DrawnKernel, DrawnNoise, DrawnResize, DrawnStage
from sr_kernel.degrade.recipe import (
    SINC_SMALL_BELOW,
    Blur,
    Final,
    Jpeg,
    Noise,
    Range,
    Recipe,
    Resize,
    Sizes,
    Stage,
    Weights,
)

_SCHEME = b"sr degrade 1"
"""part of every hash; changes when what is drawn under a name changes its meaning"""


class Dice:
    """The draws of one sample. Each is a pure function of the sample's key and the parameter's name."""

    def __init__(self, seed: int, source: str, index: int) -> None:
        key = json.dumps([seed, source, index]).encode("ascii")
        self._key = blake2b(key, digest_size=32, person=_SCHEME).digest()

    def uniform(self, name: str) -> float:
        """0 <= u < 1, in steps of 2**-53."""
        return (self._bits(name) >> 11) * 2.0**-53

    def within(self, name: str, bounds: Range) -> float:
        low, high = bounds
        return low + (high - low) * self.uniform(name)

    def chance(self, name: str, prob: float) -> bool:
        """True with a probability: never at 0, always at 1."""
        return self.uniform(name) < prob

    def choice(self, name: str, weights: Weights) -> str:
        """One of the names, each as often as its weight says; never one of weight 0."""
        possible = [(key, weight) for key, weight in weights if weight > 0]
        point = self.uniform(name) * sum(weight for _, weight in possible)
        for key, weight in possible:
            if point < weight:
                return key
            point -= weight
        return possible[-1][0]  # rounding ate the last step

    def size(self, name: str, sizes: Sizes) -> int:
        """One of the sizes, all equally likely."""
        return sizes[int(self.uniform(name) * len(sizes))]

    def seed(self, name: str) -> int:
        """0 <= seed < 2**63: what fits a signed column."""
        return self._bits(name) >> 1

    def _bits(self, name: str) -> int:
        return int.from_bytes(blake2b(name.encode("ascii"), key=self._key, digest_size=8).digest(), "little")


def draw_sample(recipe: Recipe, seed: int, source: str, index: int) -> Drawn:
    """Everything that one sample of a source needs.

    `source` is the source's root-relative path or its SHA-256: what stays when storage, order or worker change.
    """
    dice = Dice(seed, source, index)
    final = recipe.final
    return Drawn(
        seed=seed,
        source=source,
        index=index,
        crop_x=dice.uniform("crop_x"),
        crop_y=dice.uniform("crop_y"),
        hflip=dice.chance("hflip", recipe.hflip_prob),
        vflip=recipe.rotate and dice.chance("vflip", 0.5),
        transpose=recipe.rotate and dice.chance("transpose", 0.5),
        stages=tuple(_stage(dice, f"stage{number}_", stage) for number, stage in enumerate(recipe.stages, 1)),
        final_mode=dice.choice("final_mode", final.modes),
        final_sinc=_final_sinc(dice, final),
        final_jpeg_quality=_jpeg(dice, "final_jpeg", final.jpeg),
        final_jpeg_first=dice.chance("final_jpeg_first", final.jpeg_first_prob),
    )


def _stage(dice: Dice, prefix: str, stage: Stage) -> DrawnStage:
    return DrawnStage(
        blur=_blur(dice, f"{prefix}blur", stage.blur),
        resize=_resize(dice, f"{prefix}resize", stage.resize),
        noise=_noise(dice, f"{prefix}noise", stage.noise),
        jpeg_quality=_jpeg(dice, f"{prefix}jpeg", stage.jpeg),
    )


def _blur(dice: Dice, prefix: str, blur: Blur | None) -> DrawnKernel | None:
    if blur is None or not dice.chance(f"{prefix}_happens", blur.prob):
        return None
    size = dice.size(f"{prefix}_size", blur.sizes)
    if dice.chance(f"{prefix}_is_sinc", blur.sinc_prob):
        cutoffs = blur.sinc_cutoff_small if size < SINC_SMALL_BELOW else blur.sinc_cutoff
        return DrawnKernel(kind=SINC, size=size, cutoff=dice.within(f"{prefix}_cutoff", cutoffs))
    kind = dice.choice(f"{prefix}_kind", blur.kinds)
    two_axes = kind.endswith("aniso")
    return DrawnKernel(
        kind=kind,
        size=size,
        sigma_x=dice.within(f"{prefix}_sigma_x", blur.sigma),
        sigma_y=dice.within(f"{prefix}_sigma_y", blur.sigma) if two_axes else None,
        rotation=dice.within(f"{prefix}_rotation", blur.rotation) if two_axes else None,
        beta=_beta(dice, f"{prefix}_beta", kind, blur),
    )


def _beta(dice: Dice, name: str, kind: str, blur: Blur) -> float | None:
    """Half of the draws below 1 and half above, whatever the lengths of the two parts: so is the table made."""
    if kind.startswith("generalized"):
        low, high = blur.beta_generalized
    elif kind.startswith("plateau"):
        low, high = blur.beta_plateau
    else:
        return None
    return dice.within(name, (low, 1.0) if dice.chance(f"{name}_is_low", 0.5) else (1.0, high))


def _resize(dice: Dice, prefix: str, resize: Resize | None) -> DrawnResize | None:
    if resize is None:
        return None
    low, high = resize.factor
    direction = dice.choice(f"{prefix}_direction", resize.direction)
    bounds = {"up": (1.0, high), "down": (low, 1.0), "keep": (1.0, 1.0)}[direction]
    factor = dice.within(f"{prefix}_factor", bounds)
    return DrawnResize(direction=direction, factor=factor, mode=dice.choice(f"{prefix}_mode", resize.modes))


def _noise(dice: Dice, prefix: str, noise: Noise | None) -> DrawnNoise | None:
    if noise is None or not dice.chance(f"{prefix}_happens", noise.prob):
        return None
    gaussian = dice.chance(f"{prefix}_is_gaussian", noise.gaussian_prob)
    return DrawnNoise(
        kind="gaussian" if gaussian else "poisson",
        strength=dice.within(f"{prefix}_strength", noise.sigma if gaussian else noise.poisson_scale),
        gray=dice.chance(f"{prefix}_gray", noise.gray_prob),
        pixel_seed=dice.seed(f"{prefix}_pixels"),
    )


def _jpeg(dice: Dice, prefix: str, jpeg: Jpeg | None) -> float | None:
    if jpeg is None or not dice.chance(f"{prefix}_happens", jpeg.prob):
        return None
    return dice.within(f"{prefix}_quality", jpeg.quality)


def _final_sinc(dice: Dice, final: Final) -> DrawnKernel | None:
    if not dice.chance("final_sinc_happens", final.sinc_prob):
        return None
    size = dice.size("final_sinc_size", final.sinc_sizes)
    return DrawnKernel(kind=SINC, size=size, cutoff=dice.within("final_sinc_cutoff", final.sinc_cutoff))
