"""What was drawn for one sample: values only, and the flat row that a table of pairs holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast, get_args, get_type_hints

Scalar = bool | int | float | str | None
Record = TypeVar("Record")

SINC = "sinc"
"""the kind of a kernel beside recipe.KERNEL_KINDS"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnKernel:
    """A blur kernel. What its kind does not have is None."""

    kind: str
    """one of recipe.KERNEL_KINDS, or sinc"""
    size: int
    """side in pixels, odd"""
    sigma_x: float | None = None
    sigma_y: float | None = None
    """of kinds with two axes"""
    rotation: float | None = None
    """radian"""
    beta: float | None = None
    """exponent of generalised and plateau kinds"""
    cutoff: float | None = None
    """radian a pixel, of sinc"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnResize:
    """A resize; a factor of 1 keeps the size that it is a factor of."""

    direction: str
    """up, down or keep"""
    factor: float
    mode: str
    """one of recipe.RESIZE_MODES"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNoise:
    """Noise of one kind."""

    kind: str
    """gaussian or poisson"""
    strength: float
    """standard deviation in levels of 255, or the scale of Poisson noise"""
    gray: bool
    """whether one pattern serves all three channels"""
    pixel_seed: int
    """0 <= seed < 2**63, of the generator that makes this noise and nothing else"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnStage:
    """One stage; None where a step is left out."""

    blur: DrawnKernel | None = None
    resize: DrawnResize | None = None
    noise: DrawnNoise | None = None
    jpeg_quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """All that was drawn for one sample: with the source's pixels and the recipe it decides the pair."""

    seed: int
    """of the run"""
    source: str
    """key of the source: its root-relative path, or its SHA-256"""
    index: int
    """which of the source's samples, from 0"""
    crop_x: float
    """where the good crop lies between the leftmost and the rightmost place, 0 <= x < 1"""
    crop_y: float
    hflip: bool
    vflip: bool
    transpose: bool
    """whether rows become columns, after the flips"""
    stages: tuple[DrawnStage, ...]
    final_mode: str
    """mode of the last resize"""
    final_sinc: DrawnKernel | None = None
    final_jpeg_quality: float | None = None
    final_jpeg_first: bool = False
    """whether the last JPEG comes before the last resize and its sinc filter"""


def row_types(stages: int) -> dict[str, type]:
    """The columns of a row of a recipe with that many stages: bool, int, float or str; all but bool may be None."""
    columns = _column_types(Drawn, "")
    columns |= _column_types(DrawnKernel, "final_sinc_")
    for index in range(stages):
        columns[f"stage{index + 1}_jpeg_quality"] = float
        for name, kind in _STEPS.items():
            columns |= _column_types(kind, f"stage{index + 1}_{name}_")
    return columns


def to_row(drawn: Drawn) -> dict[str, Scalar]:
    """The sample as one flat row of plain values, with the columns of `row_types`."""
    row = _flat(drawn, Drawn, "") | _flat(drawn.final_sinc, DrawnKernel, "final_sinc_")
    for number, stage in enumerate(drawn.stages, 1):
        row[f"stage{number}_jpeg_quality"] = stage.jpeg_quality
        for name, kind in _STEPS.items():
            row |= _flat(getattr(stage, name), kind, f"stage{number}_{name}_")
    return row


def from_row(row: Mapping[str, Scalar]) -> Drawn:
    """The sample of a row of `to_row`; columns of other things are not looked at. Raises KeyError for a lacking one."""
    stages: list[DrawnStage] = []
    while (prefix := f"stage{len(stages) + 1}_") + "jpeg_quality" in row:
        stages.append(
            DrawnStage(
                blur=_record(DrawnKernel, row, f"{prefix}blur_"),
                resize=_record(DrawnResize, row, f"{prefix}resize_"),
                noise=_record(DrawnNoise, row, f"{prefix}noise_"),
                jpeg_quality=cast("float | None", row[f"{prefix}jpeg_quality"]),
            )
        )
    plain: dict[str, Any] = {name: row[name] for name in _column_types(Drawn, "")}
    return Drawn(**plain, stages=tuple(stages), final_sinc=_record(DrawnKernel, row, "final_sinc_"))


_STEPS: Mapping[str, type] = {"blur": DrawnKernel, "resize": DrawnResize, "noise": DrawnNoise}
_PLAIN = (bool, int, float, str)


def _column_types(kind: type, prefix: str) -> dict[str, type]:
    """Column -> type of the plain fields of a class."""
    hints = get_type_hints(kind)
    columns: dict[str, type] = {}
    for field in fields(kind):
        hint = hints[field.name]
        plain = [part for part in (hint, *get_args(hint)) if part in _PLAIN]
        if plain:
            columns[prefix + field.name] = plain[0]
    return columns


def _flat(value: object, kind: type, prefix: str) -> dict[str, Scalar]:
    """The plain fields of a value, or None for each where there is no value."""
    return {name: getattr(value, name.removeprefix(prefix), None) for name in _column_types(kind, prefix)}


def _record(kind: type[Record], row: Mapping[str, Scalar], prefix: str) -> Record | None:
    """The inverse of `_flat`: nothing where every column is None."""
    values: dict[str, Any] = {name.removeprefix(prefix): row[name] for name in _column_types(kind, prefix)}
    return None if all(value is None for value in values.values()) else kind(**values)
