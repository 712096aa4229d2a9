"""Configurations as TOML: the tables are the classes of `config` and of the kernel's plan, the keys their fields."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal, TypeGuard, cast, get_args, get_origin, get_type_hints

from farm import storage
from farm.errors import ItemError, UsageError
from farm.kinds import extension_of
from farm.recipes import load_recipe
from farm.training.config import (
    RECIPE_FILES,
    DataConfig,
    KeepConfig,
    SourceConfig,
    TrainConfig,
    ValidationConfig,
    is_weight_file,
)
from sr_kernel.train.plan import LayerWeights, NetworkPlan, PlanError, Stage, gan_plan, net_plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_MOST_BYTES = 1 << 20
_PARTS = ("network", "schedule", "losses")
"""tables of the kernel's plan"""
_OWN = ("name", "seed", "start", "strict", "opponent", "perceptual")


def load_config(url: str, stage: Stage, *, perceptual: str | None = None, gpus: int = 0) -> TrainConfig:
    """The configuration in a file on a disk or a store: .toml is ours, .yml and .yaml BasicSR's options.

    What a file does not say is as published for the stage. Relative paths in it start from its own folder,
    of BasicSR's options from the working folder first.
    `perceptual`: instead of what it says; `gpus`: what num_gpu = auto of a .yml counts. Raises UsageError for all that
    is wrong.
    """
    from farm.training.basicsr import config_from_basicsr  # it reads as this room does

    readers: Mapping[str, Callable[[str, str, Stage], TrainConfig]] = {
        "toml": config_from_toml,
        "yml": partial(config_from_basicsr, gpus=gpus),
        "yaml": partial(config_from_basicsr, gpus=gpus),
    }
    reader = readers.get(extension_of(url))
    if reader is None:
        raise UsageError(f"train: {url}: not a configuration; name a .toml file, or BasicSR's options as .yml")
    try:
        document = storage.read_bytes(url, _MOST_BYTES).decode("utf-8-sig")
    except ItemError as error:
        raise UsageError(f"train: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"train: {url}: not text in UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        return _with_perceptual(reader(document, url, stage), perceptual)
    except PlanError as error:
        raise UsageError(f"train: {url}: {error}; mend it") from error
    except (OverflowError, RecursionError) as error:
        raise UsageError(f"train: {url}: {error}: a number too large, or tables too deep; mend it") from error
    except UsageError as error:
        raise UsageError(f"train: {url}: {error}") from error


def config_from_toml(document: str, url: str, stage: Stage) -> TrainConfig:
    """Raises UsageError and PlanError."""
    try:
        table = cast("dict[str, object]", tomllib.loads(document))
    except ValueError as error:
        raise UsageError(f"not TOML ({error}); mend it") from error
    tables = {name: _table(table.pop(name, {}), name) for name in (*_PARTS, "data", "validation", "keep")}
    own = {name: table.pop(name) for name in _OWN if name in table}
    network = overlaid(NetworkPlan(), tables["network"], "network")
    base = gan_plan(network) if stage == "gan" else net_plan(network)
    plan = overlaid(base, table, "the top level", leave=("stage", *_PARTS))
    others = {name: overlaid(getattr(base, name), tables[name], name) for name in _PARTS[1:]}
    sources = tables["data"].pop("sources", [])
    if not isinstance(sources, list):
        raise UsageError("data.sources: is not a list of tables; write [[data.sources]] before each")
    at = storage.parent(url)
    read = tuple(_source(one, at) for one in cast("list[object]", sources))
    if "gt" not in tables["data"] and stage == "net":
        tables["data"]["gt"] = "gt_usm"  # as published
    config = TrainConfig(
        plan=replace(plan, **others),
        data=overlaid(DataConfig(sources=read or _NOWHERE), tables["data"], "data", leave=("sources",)),
        validation=overlaid(ValidationConfig(), tables["validation"], "validation"),
        keep=overlaid(KeepConfig(), tables["keep"], "keep"),
    )
    if not read:
        raise UsageError("data.sources: is empty; name pairs of farm degrade, or a manifest and a recipe")
    config = overlaid(config, own, "the top level", leave=_NOT_OWN)
    unseen, lpips = config.validation.pairs, config.validation.lpips
    validation = replace(config.validation, pairs=beside(at, unseen), lpips=file_beside(at, lpips))
    recipes = digest_of_recipes(config.data)
    files = {name: file_beside(at, getattr(config, name)) for name in ("start", "opponent", "perceptual")}
    return replace(config, validation=validation, recipes=recipes, **files)


def digest_of_recipes(data: DataConfig) -> str:
    """Of what the recipes that are files say, for pairs change with it; empty without any. Raises UsageError."""
    files = [one.recipe for one in data.sources if one.manifest and extension_of(one.recipe) in RECIPE_FILES]
    said = json.dumps([asdict(load_recipe(one)) for one in files], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest() if files else ""


def _with_perceptual(config: TrainConfig, asked: str | None) -> TrainConfig:
    """The same with no perceptual loss where that is asked for, there or here. Raises UsageError for weights of a loss
    that does not count."""
    if asked is not None:
        if asked != "none" and not config.plan.losses.perceptual:
            raise UsageError(
                f"--perceptual: {asked} has nothing to do, as the perceptual loss counts 0; set losses.perceptual "
                "above 0 (perceptual_opt of a .yml), or take the flag out"
            )
        config = replace(config, perceptual=asked)
    if config.perceptual != "none":
        return config
    return replace(config, plan=replace(config.plan, losses=replace(config.plan.losses, perceptual=0.0)))


def beside(folder: str, path: str) -> str:
    """A path of a configuration: a relative one starts from the configuration's folder."""
    return path if not path or storage.is_remote(path) or path.startswith("/") else storage.join(folder, path)


def file_beside(folder: str, named: str) -> str:
    """What is said of weights: a file as `beside` takes it, or the name of a model as it is."""
    return beside(folder, named) if is_weight_file(named) else named


_NOWHERE = (SourceConfig(pairs="nowhere"),)
_NOT_OWN = tuple(field.name for field in fields(TrainConfig) if field.name not in _OWN)


def _source(table: object, folder: str) -> SourceConfig:
    said = _table(table, "data.sources")
    made = overlaid(SourceConfig(pairs="nowhere"), {"pairs": "", **said}, "data.sources")
    recipe = beside(folder, made.recipe) if extension_of(made.recipe) in RECIPE_FILES else made.recipe
    places = {name: beside(folder, getattr(made, name)) for name in ("pairs", "manifest", "root")}
    return replace(made, recipe=recipe, **places)


Part = Any


def overlaid(base: Part, table: Mapping[str, object], where: str, leave: tuple[str, ...] = ()) -> Part:
    """`base` with the values of a table. `leave`: fields that tables of their own say.

    Raises UsageError for unknown keys and for values of another type; what checks the values raises its own.
    """
    kind = cast("type[Any]", type(base))
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.name not in leave and not is_dataclass(hints[field.name])]
    if unknown := sorted(set(table) - set(known)):
        raise UsageError(f"{where} has {', '.join(unknown)}; known are {', '.join(known)}")
    return replace(base, **{name: _value(hints[name], value, f"{where}.{name}") for name, value in table.items()})


def _value(hint: Any, value: object, where: str) -> Any:
    """A value of TOML as a field's type wants it."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{where} = {value!r} is not one of {', '.join(get_args(hint))}")
        return value
    if hint == LayerWeights:
        return tuple((name, _value(float, weight, f"{where}.{name}")) for name, weight in _table(value, where).items())
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} = {value!r} is not a list")
        return tuple(_value(get_args(hint)[0], one, where) for one in cast("list[object]", value))
    if hint is float and is_number(value):
        return float(value)
    if hint is float:
        raise UsageError(f"{where} = {value!r} is not {_NAMES[hint]}")
    if isinstance(hint, types.GenericAlias) or not isinstance(value, hint) or isinstance(value, bool) != (hint is bool):
        raise UsageError(f"{where} = {value!r} is not {_NAMES.get(hint, hint)}")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is one that a float can be: neither true nor false, finite, and no whole number beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


_NAMES: Mapping[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _table(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} = {value!r} is not a table")
    return cast("dict[str, object]", value)
