"""Recipes as TOML and back, without loss. The tables are the classes of `recipe`, the keys their fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar, cast, get_type_hints

from sr_kernel.degrade.recipe import (
    Blur,
    Final,
    Jpeg,
    Noise,
    Range,
    Recipe,
    RecipeError,
    Resize,
    Sizes,
    Stage,
    Usm,
    Weights,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

Part = TypeVar("Part", Blur, Resize, Noise, Jpeg, Usm, Final)
_STEPS: Mapping[str, Any] = {"blur": Blur, "resize": Resize, "noise": Noise, "jpeg": Jpeg}
"""of a stage, in the order in which a document has them"""


def recipe_from_toml(text: str) -> Recipe:
    """The recipe that a TOML document describes.

    A key that is absent takes the default of its field, a table that is absent leaves its step out. Raises RecipeError
    for what is no TOML, for unknown keys and for values of another type or out of range.
    """
    try:
        table = cast("dict[str, object]", tomllib.loads(text))
    except ValueError as error:
        raise RecipeError(f"recipe: not TOML: {error}") from error
    stages = table.pop("stages", [])
    if not isinstance(stages, list):
        raise RecipeError("recipe: stages is not a list of tables; write [[stages]] before each")
    usm, final = table.pop("usm", None), table.pop("final", {})
    values = _values(Recipe, table, "recipe")
    return Recipe(
        **values,
        usm=None if usm is None else _part(Usm, usm, "usm"),
        stages=tuple(_stage(stage, f"stages[{index}]") for index, stage in enumerate(cast("list[object]", stages))),
        final=_part(Final, final, "final"),
    )


def recipe_to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML document that reads back as an equal one; the same text for equal recipes."""
    lines = _lines(recipe)
    if recipe.usm is not None:
        lines += ["", "[usm]", *_lines(recipe.usm)]
    for stage in recipe.stages:
        lines += ["", "[[stages]]"]
        for name in _STEPS:
            if (part := getattr(stage, name)) is not None:
                lines += [f"[stages.{name}]", *_lines(part)]
    lines += ["", "[final]", *_lines(recipe.final)]
    if recipe.final.jpeg is not None:
        lines += ["[final.jpeg]", *_lines(recipe.final.jpeg)]
    return "\n".join(lines) + "\n"


def _stage(table: object, where: str) -> Stage:
    parts = _table(table, where)
    if unknown := set(parts) - set(_STEPS):
        raise RecipeError(f"recipe: {where} has {', '.join(sorted(unknown))}; known are {', '.join(sorted(_STEPS))}")
    made: dict[str, Any] = {name: _part(_STEPS[name], table, f"{where}.{name}") for name, table in parts.items()}
    return Stage(**made)


def _part(kind: type[Part], table: object, where: str) -> Part:
    parts = dict(_table(table, where))
    if kind is Final and "jpeg" in parts:
        jpeg = _part(Jpeg, parts.pop("jpeg"), f"{where}.jpeg")
        return replace(kind(**_values(kind, parts, where)), jpeg=jpeg)
    return kind(**_values(kind, parts, where))


def _table(table: object, where: str) -> Mapping[str, object]:
    if not isinstance(table, dict):
        raise RecipeError(f"recipe: {where} = {table!r} is not a table")
    return cast("dict[str, object]", table)


def _values(kind: type, table: Mapping[str, object], where: str) -> dict[str, Any]:
    """The plain values of a table, of the types of the fields of `kind`."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if hints[field.name] in _READ]
    if unknown := set(table) - set(known):
        raise RecipeError(f"recipe: {where} has {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    made: dict[str, Any] = {}
    for name, value in table.items():
        try:
            made[name] = _READ[hints[name]](value)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"recipe: {where}.{name} = {value!r} is not {error}") from error
    return made


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number")
    return value


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("a number")
    return float(value)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("a list")
    return cast("list[object]", value)


def _range(value: object) -> Range:
    numbers = [_float(number) for number in _list(value)]
    if len(numbers) != 2:
        raise ValueError("a list of two numbers, lowest and highest")
    return numbers[0], numbers[1]


def _sizes(value: object) -> Sizes:
    return tuple(_int(number) for number in _list(value))


def _weights(value: object) -> Weights:
    if not isinstance(value, dict):
        raise TypeError("a table of names and weights")
    return tuple((name, _float(weight)) for name, weight in cast("dict[str, object]", value).items())


_READ = {bool: _bool, int: _int, float: _float, str: _str, Range: _range, Sizes: _sizes, Weights: _weights}


def _lines(part: object) -> list[str]:
    """`key = value` for every plain field."""
    hints = get_type_hints(type(part))
    plain = [name for name, hint in hints.items() if hint in _READ]
    return [f"{name} = {_text(hints[name], getattr(part, name))}" for name in plain]


def _text(hint: object, value: Any) -> str:
    """A value as TOML; floats as Python writes them, which reads back to the same bits."""
    if hint == Weights:
        return "{ " + ", ".join(f"{name} = {float(weight)!r}" for name, weight in value) + " }"
    if hint is bool:
        return "true" if value else "false"
    if hint is str:
        return f'"{value}"'
    if hint is float:
        return repr(float(value))
    if hint == Range:
        return f"[{float(value[0])!r}, {float(value[1])!r}]"
    if hint == Sizes:
        return "[" + ", ".join(str(size) for size in value) + "]"
    return str(value)
