"""Several models in one run: rows that name none are restored by each of them. Pure.

A row of the manifest becomes one row a model before anything else is done with it: from there on each is a row like any
other, with a number, a name, an identity and an end of its own. Numbers count what the rows have become.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from farm.blocks import NO_OVERRIDES, UPSCALE
from farm.config import OutputConfig, RunConfig
from farm.errors import ManifestError, UsageError
from farm.records import ManifestRow, Overrides, RefusedRow

Row = ManifestRow | RefusedRow
_NAME = "{stem}_{model}_{scale}x.{ext}"


def settled(config: RunConfig) -> RunConfig:
    """With `models` of two or more, or none: one alone is `model`, and of several the first is.

    Outputs of several models are told apart by their names: the usual template gets a {model}. Raises UsageError for a
    template of the user's own that lacks it.
    """
    models = config.model.models
    if len(models) < 2:
        return replace(config, model=replace(config.model, model=models[0], models=())) if models else config
    output = config.output
    if "{model" not in output.name:
        if output.name != OutputConfig().name:
            raise UsageError(
                f"--models: {len(models)} models would write to the same {output.name!r}; put {{model}} into --name or"
                " --suffix"
            )
        output = replace(output, name=_NAME)
    return replace(config, model=replace(config.model, model=models[0]), output=output)


def each_by(rows: Iterable[Row], models: Sequence[str]) -> Iterator[Row]:
    """The rows that are to be done: one a model for each row that names none and asks for no other task.

    Raises ManifestError for a row that names its output but no model.
    """
    plain = [Overrides(model=model) for model in models]
    index = 0
    for row in rows:
        for one in _of(row, models, plain):
            yield replace(one, index=index)
            index += 1


def _of(row: Row, models: Sequence[str], plain: Sequence[Overrides]) -> Sequence[Row]:
    if isinstance(row, RefusedRow) or row.task != UPSCALE or row.overrides.model is not None:
        return [row]
    asked = row.overrides
    if asked.output is not None:
        raise ManifestError(
            f"manifest: row {row.index}, column output: {asked.output!r} would be written by each of {len(models)}"
            " models; name one of them in the row's column model, or leave its output out"
        )
    if asked == NO_OVERRIDES:
        return [replace(row, overrides=one) for one in plain]
    return [replace(row, overrides=replace(asked, model=model)) for model in models]
