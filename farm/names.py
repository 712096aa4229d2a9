"""Where the outputs of many rows go, at a microsecond a row. Pure.

Most outputs are the source's path with another ending, the same for all rows of one kind and extension: it is learned
from the first of them, whose name the planner makes, and the rest is put together from strings. Whatever is not so
plain is named by the planner, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.blocks import RowBlock
from farm.errors import ItemError
from farm.kinds import MediaKind
from farm.output_path import MAX_NAME_BYTES
from farm.plan import Planner, Recipe
from farm.records import ManifestRow

_ENDINGS_KEPT = 1000
"""extensions whose endings are remembered"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """What the outputs of plain rows of one kind and extension end in."""

    text: str
    """what replaces the dot and the extension"""
    most_bytes: int
    """longest path of a source for which no name can become too long"""
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Where the outputs of a block go, and how they are made: a value each row."""

    outputs: list[str]
    """empty for rows that are refused, and for those whose output would leave the root"""
    recipes: list[Recipe | None]


class Namer:
    """Names the outputs of one run."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self._is_plain = _is_plain_template(planner.name_template)
        self._endings: dict[MediaKind, dict[str, _Ending]] = {kind: {} for kind in MediaKind}
        """by extension"""

    def names(self, block: RowBlock) -> Named:
        """Outputs and recipes of a block. Raises ManifestError for a model nobody knows."""
        outputs: list[str] = []
        recipes: list[Recipe | None] = []
        plain = self._is_plain_block(block)
        start, endings = f"{self.planner.out}/", self._endings
        for at, (relative, kind) in enumerate(zip(block.relatives, block.kinds, strict=True)):
            if plain:
                stem, _, extension = relative.rpartition(".")
                ending = endings[kind].get(extension)
                if ending is not None and stem and _keeps_its_path(relative, stem, ending.most_bytes):
                    outputs.append(start + stem + ending.text)
                    recipes.append(ending.recipe)
                    continue
            output, recipe = self._named(block, at)
            outputs.append(output)
            recipes.append(recipe)
        return Named(outputs=outputs, recipes=recipes)

    def _is_plain_block(self, block: RowBlock) -> bool:
        return self._is_plain and block.overrides is None and block.tasks is None

    def _named(self, block: RowBlock, at: int) -> tuple[str, Recipe | None]:
        if at in block.refused:
            return "", None
        row = block.row(at)
        try:
            output = self.planner.output_url(row)
        except ItemError:
            return "", None
        if self._is_plain_block(block):
            self._learn_ending(row, output)
        return output, self.planner.recipe(row)

    def _learn_ending(self, row: ManifestRow, output: str) -> None:
        """What `output` was made of, where rows that look like this one can be named without asking again."""
        stem, dot, extension = row.relative_path.rpartition(".")
        endings = self._endings[row.kind]
        text = output[len(self.planner.out) + 1 + len(stem) :]
        known = dot and "/" not in extension and _keeps_its_path(row.relative_path, stem, MAX_NAME_BYTES)
        if not known or "/" in text or len(endings) >= _ENDINGS_KEPT or output != f"{self.planner.out}/{stem}{text}":
            return
        most_bytes = MAX_NAME_BYTES - len(text.encode())
        endings[extension] = _Ending(text=text, most_bytes=most_bytes, recipe=self.planner.recipe(row))


def _is_plain_template(name: str) -> bool:
    """Whether a template's names are the stem and an ending that rows of one recipe and extension share."""
    return name.startswith("{stem}") and name.endswith(".{ext}") and name.count("{stem") == 1 and "{row" not in name


def _keeps_its_path(relative: str, stem: str, most_bytes: int) -> bool:
    """Whether the output of a path is the path with another ending, and below the root for sure."""
    if not stem or stem[-1] == "/" or "%" in relative or ".farm" in relative:
        return False
    return 4 * len(relative) <= most_bytes or len(relative.encode()) <= most_bytes
