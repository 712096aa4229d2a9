"""What workers and units are called where people see them: Ray's dashboard, `ps`, metrics, the ledger. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from farm.records import Unit
from sr_kernel.models import FILE_PREFIX

_LETTERS = 40
_STRANGE = re.compile(r"[^A-Za-z0-9._-]")


def work_title(models: Collection[str], operations: Collection[str]) -> str:
    """What the workers of a run do, before their number: upscale-x4plus, upscale-2-models, degrade, prepare, mixed.

    `models` and `operations` as items name them; a run has at least one of either.
    """
    if models and operations:
        return "mixed"
    if operations:
        return _plain(next(iter(operations))) if len(operations) == 1 else "prepare"
    return f"upscale-{_plain(next(iter(models))) if len(models) == 1 else f'{len(models)}-models'}"


def train_title(stage: str, name: str) -> str:
    """What a training does: train-net-box, of the name of its weights."""
    return f"train-{stage}-{_plain(name)}"


def unit_title(unit: Unit) -> str:
    """What a unit does, such as `Worker.run picture x4plus`: Ray counts by these titles, so a run has few of them."""
    first = unit.parts[0]
    return f"Worker.run {first.kind.value} {_plain(first.item.params.model)}"


def _plain(model: str) -> str:
    """A model's name, which may be that of anybody's file."""
    return _STRANGE.sub("_", model.removeprefix(FILE_PREFIX))[:_LETTERS]
