"""Recipes by what a person names them: one that comes with the package, or a file of ours or of upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from farm import storage
from farm.errors import ItemError, UsageError
from farm.kinds import extension_of
from sr_kernel.degrade.recipe import RECIPES, Recipe, RecipeError
from sr_kernel.degrade.recipe_basicsr import recipe_from_basicsr
from sr_kernel.degrade.recipe_toml import recipe_from_toml

_READERS: Mapping[str, Callable[[str], Recipe]] = MappingProxyType(
    {"toml": recipe_from_toml, "yml": recipe_from_basicsr, "yaml": recipe_from_basicsr}
)
"""lower-case extension -> reader of such a document"""
_MOST_BYTES = 1 << 20


def load_recipe(text: str, gt_size: int | None = None) -> Recipe:
    """The recipe of a name, or of a file on a disk or a store: .toml is ours, .yml and .yaml upstream's options.

    `gt_size`: another side of the good crops than the recipe says. Raises UsageError for all that is wrong.
    """
    try:
        recipe = RECIPES[text] if text in RECIPES else _read(text)
        return recipe if gt_size is None else replace(recipe, gt_size=gt_size)
    except RecipeError as error:
        raise UsageError(f"--recipe: {text}: {error}") from error


def _read(url: str) -> Recipe:
    reader = _READERS.get(extension_of(url))
    if reader is None:
        raise UsageError(
            f"--recipe: {url!r} is not one of {', '.join(RECIPES)}; name one of them, or a file that ends in .toml, "
            "or in .yml as upstream's training options do"
        )
    try:
        document = storage.read_bytes(url, _MOST_BYTES).decode("utf-8-sig")
    except ItemError as error:
        raise UsageError(f"--recipe: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--recipe: {url}: not text in UTF-8 at byte {error.start}; save it as UTF-8") from error
    return reader(document)
