"""What was drawn for one sample, in words for people who look at pictures. No torch."""

from __future__ import annotations

import math

from sr_kernel.degrade.drawn import SINC, Drawn, DrawnKernel, DrawnNoise, DrawnResize, DrawnStage
from sr_kernel.degrade.recipe import Recipe, Stage

_KINDS = {
    "iso": "isotropic blur",
    "aniso": "anisotropic blur",
    "generalized_iso": "generalised isotropic blur",
    "generalized_aniso": "generalised anisotropic blur",
    "plateau_iso": "plateau isotropic blur",
    "plateau_aniso": "plateau anisotropic blur",
}


def in_words(drawn: Drawn, recipe: Recipe) -> tuple[str, ...]:
    """A line a stage, in the order in which they happen, and one of how it ends. `drawn` is of this recipe."""
    stages = zip(recipe.stages, drawn.stages, strict=True)
    lines = [f"{number}. {_stage(stage, draws)}" for number, (stage, draws) in enumerate(stages, 1)]
    return (*lines, f"End: {_end(drawn, recipe)}")


def _stage(stage: Stage, drawn: DrawnStage) -> str:
    steps = ["no blur" if drawn.blur is None else _kernel(drawn.blur)] if stage.blur is not None else []
    if stage.resize is not None and drawn.resize is not None:
        steps.append(_resize(drawn.resize, target=stage.resize.of == "target"))
    if stage.noise is not None:
        steps.append("no noise" if drawn.noise is None else _noise(drawn.noise))
    if stage.jpeg is not None:
        steps.append(_jpeg(drawn.jpeg_quality))
    return ", ".join(steps) or "nothing"


def _end(drawn: Drawn, recipe: Recipe) -> str:
    resize = f"resize to 1/{recipe.scale} ({drawn.final_mode})"
    if drawn.final_sinc is not None:
        resize = f"{resize} and {_kernel(drawn.final_sinc)}"
    if drawn.final_jpeg_quality is None:
        return resize
    steps = (_jpeg(drawn.final_jpeg_quality), resize)
    return ", then ".join(steps if drawn.final_jpeg_first else reversed(steps))


def _kernel(drawn: DrawnKernel) -> str:
    size = f"{drawn.size} px"
    if drawn.kind == SINC:
        return f"sinc filter {size}, cutoff {drawn.cutoff:.2f} rad/px"
    words = f"{_KINDS.get(drawn.kind, drawn.kind)} {size}, sigma {drawn.sigma_x:.2f}"
    if drawn.sigma_y is not None:
        words += f" x {drawn.sigma_y:.2f}"
    if drawn.rotation is not None:
        words += f" at {round(math.degrees(drawn.rotation))}°"
    return words if drawn.beta is None else f"{words}, beta {drawn.beta:.2f}"


def _resize(drawn: DrawnResize, *, target: bool) -> str:
    """Of the target size also where it keeps: that size is another than the running one."""
    if target:
        return f"resize to {drawn.factor:.2f} x the target size ({drawn.mode})"
    return "size kept" if drawn.direction == "keep" else f"resize {drawn.direction} x {drawn.factor:.2f} ({drawn.mode})"


def _noise(drawn: DrawnNoise) -> str:
    colour = "gray" if drawn.gray else "colour"
    if drawn.kind == "gaussian":
        return f"{colour} Gaussian noise, sigma {drawn.strength:.1f}"
    return f"{colour} {drawn.kind.capitalize()} noise x {drawn.strength:.2f}"


def _jpeg(quality: float | None) -> str:
    return "no JPEG" if quality is None else f"JPEG {quality:.0f}"
