"""Configurations from option files of BasicSR and Real-ESRGAN: what means something here is taken, all else refused.

Not read, because nothing here depends on it: `queue_size` (pairs are degraded one by one, so a batch is diverse without
a pool), `dataset_enlarge_ratio`, `prefetch_mode` and their like, `dist_params`.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import yaml

from farm import storage
from farm.errors import UsageError
from farm.training.config import DataConfig, KeepConfig, SourceConfig, TrainConfig, is_weight_file
from farm.training.read import beside, digest_of_recipes, is_number
from sr_kernel.degrade.recipe import RecipeError
from sr_kernel.degrade.recipe_basicsr import TOP_KEYS, TRAIN_KEYS, recipe_from_basicsr
from sr_kernel.train.plan import LossPlan, NetworkPlan, SchedulePlan, Stage, StagePlan, gan_plan, net_plan

_STAGES: Mapping[str, Stage] = {"RealESRNetModel": "net", "RealESRGANModel": "gan"}
_TOP_IGNORED = ("queue_size", "dist_params", "is_train", "dist", "find_unused_parameters")
_DATA_IGNORED = (
    "name",
    "phase",
    "scale",
    "dataset_enlarge_ratio",
    "prefetch_mode",
    "num_prefetch_queue",
    "pin_memory",
    "persistent_workers",
)


_TORCH_RATE, _TORCH_BETAS = 1e-3, (0.9, 0.999)
"""of torch.optim.Adam"""


class _Section:
    """A table of options: what nobody has asked for when it is done is refused."""

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, dict):
            raise UsageError(f"{where.rstrip('.') or 'the file'} = {shown(table)} is not a table of options")
        self._left = {str(name): value for name, value in cast("dict[object, object]", table).items()}
        self._where = where

    def take(self, name: str, default: Any = None) -> Any:
        """An option's value; an empty one (~) is as good as none."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        return self._number(self.take(name, default), name)

    def whole(self, name: str, default: int) -> int:
        return self._whole(self.take(name, default), name)

    def numbers(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(self._number(one, name) for one in self._list(name, default))

    def wholes(self, name: str) -> tuple[int, ...]:
        return tuple(self._whole(one, name) for one in self._list(name, ()))

    def flag(self, name: str, default: bool) -> bool:
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def answer(self, name: str) -> bool:
        """A flag that has to be there."""
        if self._left.get(name) is None:
            raise UsageError(f"{self._where}{name} is missing; say true or false")
        return self.flag(name, False)

    def text(self, name: str, default: str) -> str:
        value = self.take(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def weights(self, name: str) -> tuple[tuple[str, float], ...]:
        """A table of numbers."""
        table = self.part(name)
        return tuple((one, table.number(one, 0.0)) for one in tuple(table._left))

    def only(self, name: str, *allowed: object) -> Any:
        """An option that may be left out, but may say nothing else."""
        value = self.take(name, allowed[0])
        if value not in allowed:
            known = ", ".join(map(str, allowed))
            raise UsageError(f"{self._where}{name} = {shown(value)} is not supported; known are {known}")
        return value

    def _number(self, value: object, name: str) -> float:
        if not is_number(value):
            raise self._wrong(name, value, "a number such as 1 or 1.0e-4")
        return value

    def _whole(self, value: object, name: str) -> int:
        number = self._number(value, name)
        if number % 1:
            raise self._wrong(name, value, "a whole number")
        return int(number)

    def _list(self, name: str, default: tuple[float, ...]) -> list[object]:
        value = self.take(name, list(default))
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list")
        return cast("list[object]", value)

    def _wrong(self, name: str, value: object, wanted: str) -> UsageError:
        return UsageError(f"{self._where}{name} = {shown(value)} is not {wanted}; mend it")

    def part(self, name: str) -> _Section:
        return _Section(self.take(name, {}), f"{self._where}{name}.")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it, as of a table that is not there."""
        return not self._left

    def says(self, name: str, value: str) -> bool:
        return self._left.get(name) == value

    def done(self, *ignored: str) -> None:
        if left := sorted(name for name in self._left if name not in ignored):
            raise UsageError(
                f"{self._where}{left[0]} is not supported; take it out, or write the configuration as .toml"
            )


_VALIDATES_NOT = (
    "nothing is validated, whatever val says: the pairs of BasicSR's datasets.val are not read; a .toml takes those of "
    "farm degrade as validation.pairs"
)

shown = reprlib.Repr().repr
"""a value in a message: YAML's aliases make few bytes mean very many"""


def config_from_basicsr(document: str, url: str, stage: Stage, gpus: int = 0) -> TrainConfig:
    """`gpus`: how many num_gpu = auto means. Raises UsageError and PlanError."""
    try:
        recipe = recipe_from_basicsr(document)
    except RecipeError as error:
        raise UsageError(f"{error}; mend it") from error
    top = _Section(yaml.safe_load(document), "")
    kind = top.text("model_type", "RealESRGANModel")
    if _STAGES.get(kind) != stage:
        fits = f"--stage {_STAGES[kind]}" if kind in _STAGES else " or ".join(_STAGES)
        raise UsageError(f"model_type = {kind!r} is not stage {stage}; it wants {fits}")
    network = _network(top.part("network_g"), recipe.scale)
    plan = _plan(top, gan_plan(network) if stage == "gan" else net_plan(network))
    at = storage.parent(url)
    path, logger, val = top.part("path"), top.part("logger"), top.part("val")
    notes = () if val.is_empty else (_VALIDATES_NOT,)
    if is_auto := top.says("num_gpu", "auto"):
        top.take("num_gpu")
    data = _data(top, url, at, stage, gpus if is_auto else top.whole("num_gpu", 1))
    if is_auto:
        notes += (f"num_gpu = auto is {max(1, gpus)} here, so a batch is of {data.batch} pairs",)
    config = TrainConfig(
        plan=plan,
        data=data,
        strict=path.flag("strict_load_g", True),
        notes=notes,
        name=top.text("name", "model"),
        seed=top.whole("manual_seed", 0),
        start=_weights(at, path, "pretrain_network_g"),
        start_key="" if path.only("param_key_g", "params", "params_ema") == "params_ema" else "params",
        opponent=_weights(at, path, "pretrain_network_d"),
        perceptual="vgg19" if plan.losses.perceptual else "none",
        keep=KeepConfig(
            every=logger.whole("save_checkpoint_freq", 5000),
            log=logger.whole("print_freq", 100),
            tensorboard=logger.flag("use_tb_logger", False),
        ),
    )
    val.whole("val_freq", 5000)
    path.only("param_key_d", "params", "params_ema")  # released discriminators have params alone
    path.only("strict_load_d", True)
    if path.take("resume_state"):
        raise UsageError("path.resume_state is not supported; the same command goes on by itself")
    path.done()
    wandb = logger.part("wandb")
    wandb.only("project", None)
    wandb.done("resume_id")
    logger.done()
    val.done("save_img", "metrics")
    top.done(*_TOP_IGNORED, *TOP_KEYS)
    return replace(config, recipes=digest_of_recipes(config.data))


def _weights(folder: str, path: _Section, name: str) -> str:
    """A weight file, or the name of a model as it is; none where nothing is said."""
    named = path.text(name, "")
    return _found(folder, named, f"path.{name}") if is_weight_file(named) else named or "none"


def _found(folder: str, path: str, name: str) -> str:
    """A path of the file: a relative one starts from the working folder, as upstream's, where something lies there,
    else from the file's own folder. Raises UsageError where nothing lies in either; stores are not asked."""
    if not path or storage.is_remote(path) or os.path.isabs(path):
        return path
    here, there = os.path.join(os.getcwd(), path), beside(folder, path)
    if os.path.exists(here):
        return os.path.normpath(here)
    if storage.is_remote(there) or os.path.exists(there):
        return there
    raise UsageError(f"{name}: neither {here} nor {there} is there; mend it, or change to the folder it starts from")


def _network(table: _Section, scale: int) -> NetworkPlan:
    kind = table.only("type", "RRDBNet", "SRVGGNetCompact")
    for name in ("num_in_ch", "num_out_ch"):
        table.only(name, 3)
    features = table.whole("num_feat", 64)
    if kind == "RRDBNet":
        made = NetworkPlan(
            kind="rrdb",
            scale=table.whole("scale", scale),
            features=features,
            blocks=table.whole("num_block", 23),
            growth=table.whole("num_grow_ch", 32),
        )
    else:
        table.only("act_type", "prelu")
        upscale, convs = table.whole("upscale", scale), table.whole("num_conv", 16)
        made = NetworkPlan(kind="srvgg", scale=upscale, features=features, blocks=convs)
    table.done()
    if made.scale != scale:
        raise UsageError(f"network_g has scale {made.scale} and the file {scale}; make them one")
    return made


def _plan(top: _Section, base: StagePlan) -> StagePlan:
    train, judge = top.part("train"), top.part("network_d")
    judge.only("type", "UNetDiscriminatorSN")
    judge.only("num_in_ch", 3)
    judge.only("skip_connection", True)
    rate, betas = _adam(train.part("optim_g"), "optim_g")
    rate_d, betas_d = base.schedule.rate_discriminator, betas
    optim_d = train.part("optim_d")
    if base.stage == "gan" or not optim_d.is_empty:
        rate_d, betas_d = _adam(optim_d, "optim_d")
    if betas != betas_d:
        raise UsageError("train.optim_g and train.optim_d have other betas; make them one")
    scheduler = train.part("scheduler")
    scheduler.only("type", "MultiStepLR", "MultiStepRestartLR")
    iterations = train.whole("total_iter", base.schedule.iterations)
    schedule = SchedulePlan(
        iterations=iterations,
        rate=rate,
        rate_discriminator=rate_d,
        milestones=scheduler.wholes("milestones"),
        gamma=scheduler.number("gamma", 0.1),
        warmup=max(0, train.whole("warmup_iter", -1)),
    )
    scheduler.done()
    plan = replace(
        base,
        schedule=schedule,
        losses=_losses(top, train, base),
        betas=betas,
        ema=train.number("ema_decay", 0),
        discriminator_features=judge.whole("num_feat", 64),
        discriminator_every=train.whole("net_d_iters", 1),
        discriminator_first=train.whole("net_d_init_iters", 0),
    )
    judge.done()
    train.done()
    return plan


def _adam(table: _Section, name: str) -> tuple[float, tuple[float, float]]:
    """Rate and betas. What is left out is torch's, to which basicsr hands on what is said."""
    if table.is_empty:
        raise UsageError(f"train.{name} is missing; name its type, Adam, and its lr")
    table.only("type", "Adam")
    table.only("weight_decay", 0)
    betas = table.numbers("betas", _TORCH_BETAS)
    rate = table.number("lr", _TORCH_RATE)
    table.done()
    return rate, cast("tuple[float, float]", betas)


def _losses(top: _Section, train: _Section, base: StagePlan) -> LossPlan:
    pixel, perceptual, gan = (train.part(f"{name}_opt") for name in ("pixel", "perceptual", "gan"))
    if base.stage == "gan" and gan.is_empty:
        raise UsageError("train.gan_opt is missing, and stage gan is nothing without; name its GANLoss and loss_weight")
    # As in basicsr, a loss whose table is not there is left out.
    pixel_weight = 0.0 if pixel.is_empty else pixel.number("loss_weight", 1.0)
    perceptual_weight = 0.0 if perceptual.is_empty else perceptual.number("perceptual_weight", 1.0)
    pixel.only("type", "L1Loss")
    pixel.only("reduction", "mean")
    perceptual.only("type", "PerceptualLoss")
    for name, value in (("vgg_type", "vgg19"), ("use_input_norm", True), ("style_weight", 0), ("criterion", "l1")):
        perceptual.only(name, value)
    perceptual.only("range_norm", False)
    gan.only("type", "GANLoss")
    kind: Literal["vanilla"] = gan.only("gan_type", "vanilla")
    gan.only("real_label_val", 1.0)
    gan.only("fake_label_val", 0.0)
    # Of stage net's files nothing asks for these three; upstream's stage gan fails without each.
    asks = top.answer if base.stage == "gan" else partial(_taken_off, top)
    sharpened = [asks(f"{name}_gt_usm") for name in ("l1", "percep", "gan")]
    made = replace(
        base.losses,
        pixel=pixel_weight,
        perceptual=perceptual_weight,
        layers=perceptual.weights("layer_weights"),
        gan=gan.number("loss_weight", 1.0) if base.stage == "gan" else 0.0,
        gan_kind=kind,
        sharpened_pixel=sharpened[0],
        sharpened_perceptual=sharpened[1],
        sharpened_gan=sharpened[2],
    )
    for table in (pixel, perceptual, gan):
        table.done()
    return made


def _taken_off(top: _Section, name: str) -> bool:
    """A flag that means nothing, of any value."""
    top.flag(name, False)
    return False


def _data(top: _Section, url: str, folder: str, stage: Stage, gpus: int) -> DataConfig:
    datasets = top.part("datasets")
    train = datasets.part("train")
    datasets.done()
    train.only("type", "RealESRGANDataset")
    train.part("io_backend").only("type", "disk")
    manifest, root = train.text("meta_info", ""), train.text("dataroot_gt", "")
    if not manifest:
        raise UsageError("datasets.train.meta_info is missing; name a list of pictures")
    manifest = _found(folder, manifest, "datasets.train.meta_info")
    root = _found(folder, root, "datasets.train.dataroot_gt")
    train.only("use_shuffle", True)
    sharpened = top.answer("gt_usm") if stage == "net" else _taken_off(top, "gt_usm")
    made = DataConfig(
        sources=(SourceConfig(manifest=manifest, root=root, recipe=url),),
        gt="gt_usm" if sharpened else "gt",
        patch=top.whole("gt_size", train.whole("gt_size", 256)),
        batch=train.whole("batch_size_per_gpu", 12) * max(1, gpus),
        flip=False,  # the recipe does
        loaders=train.whole("num_worker_per_gpu", -1),
    )
    train.take("gt_size")
    train.done(*_DATA_IGNORED, *TRAIN_KEYS)
    return made
