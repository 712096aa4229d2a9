"""Configurations from option files of BasicSR and Real-ESRGAN: what means something here is taken, all else refused.

Not read, because nothing here depends on it: `queue_size` (pairs are degraded one by one, so a batch is diverse without
a pool), `dataset_enlarge_ratio`, `prefetch_mode` and their like, `dist_params`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import yaml

from farm import storage
from farm.errors import UsageError
from farm.training.config import DataConfig, KeepConfig, SourceConfig, TrainConfig
from farm.training.read import beside, file_beside
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


class _Section:
    """A table of options: what nobody has asked for when it is done is refused."""

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, dict):
            raise UsageError(f"{where} = {table!r} is not a table")
        self._left = dict(cast("dict[str, object]", table))
        self._where = where

    def take(self, name: str, default: Any = None) -> Any:
        """An option's value; an empty one (~) is as good as none."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UsageError(f"{self._where}{name} = {value!r} is not a number")
        return value

    def only(self, name: str, *allowed: object) -> Any:
        """An option that may be left out, but may say nothing else."""
        value = self.take(name, allowed[0])
        if value not in allowed:
            known = ", ".join(map(str, allowed))
            raise UsageError(f"{self._where}{name} = {value!r} is not supported; known are {known}")
        return value

    def part(self, name: str) -> _Section:
        return _Section(self.take(name, {}), f"{self._where}{name}.")

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def done(self, *ignored: str) -> None:
        if left := sorted(name for name in self._left if name not in ignored):
            raise UsageError(
                f"{self._where}{left[0]} is not supported; take it out, or write the configuration as .toml"
            )


def config_from_basicsr(document: str, url: str, stage: Stage) -> TrainConfig:
    """Raises UsageError and PlanError."""
    try:
        loaded: object = yaml.safe_load(document)
        recipe = recipe_from_basicsr(document)
    except (yaml.YAMLError, RecipeError) as error:
        raise UsageError(f"{error}; mend it") from error
    top = _Section(loaded, "")
    kind = str(top.take("model_type", "RealESRGANModel"))
    if _STAGES.get(kind) != stage:
        fits = f"--stage {_STAGES[kind]}" if kind in _STAGES else " or ".join(_STAGES)
        raise UsageError(f"model_type = {kind!r} is not stage {stage}; it wants {fits}")
    network = _network(top.part("network_g"), recipe.scale)
    plan = _plan(top, gan_plan(network) if stage == "gan" else net_plan(network))
    at = storage.parent(url)
    path, logger, val = top.part("path"), top.part("logger"), top.part("val")
    config = TrainConfig(
        plan=plan,
        data=_data(top, url, at, stage),
        name=str(top.take("name", "model")),
        seed=int(top.number("manual_seed", 0)),
        start=file_beside(at, str(path.take("pretrain_network_g", "none"))),
        opponent=file_beside(at, str(path.take("pretrain_network_d", "none"))),
        perceptual="vgg19" if plan.losses.perceptual else "none",
        keep=KeepConfig(
            every=int(logger.number("save_checkpoint_freq", 5000)), log=int(logger.number("print_freq", 100))
        ),
    )
    config = replace(config, validation=replace(config.validation, every=int(val.number("val_freq", 5000))))
    for name in ("param_key_g", "param_key_d"):
        path.only(name, "params_ema", "params")
    for name in ("strict_load_g", "strict_load_d"):
        path.only(name, True)
    if path.take("resume_state"):
        raise UsageError("path.resume_state is not supported; the same command goes on by itself")
    path.done()
    logger.only("wandb", {"project": None, "resume_id": None})
    logger.done("use_tb_logger")
    val.done("save_img", "metrics")
    top.done(*_TOP_IGNORED, *TOP_KEYS)
    return config


def _network(table: _Section, scale: int) -> NetworkPlan:
    kind = table.only("type", "RRDBNet", "SRVGGNetCompact")
    for name in ("num_in_ch", "num_out_ch"):
        table.only(name, 3)
    features = int(table.number("num_feat", 64))
    if kind == "RRDBNet":
        made = NetworkPlan(
            kind="rrdb",
            scale=int(table.number("scale", scale)),
            features=features,
            blocks=int(table.number("num_block", 23)),
            growth=int(table.number("num_grow_ch", 32)),
        )
    else:
        table.only("act_type", "prelu")
        upscale, convs = int(table.number("upscale", scale)), int(table.number("num_conv", 16))
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
    rate, betas = _adam(train.part("optim_g"), base.schedule.rate, base.betas)
    rate_d, betas_d = _adam(train.part("optim_d"), base.schedule.rate_discriminator, betas)
    if betas != betas_d:
        raise UsageError("train.optim_g and train.optim_d have other betas; make them one")
    scheduler = train.part("scheduler")
    scheduler.only("type", "MultiStepLR", "MultiStepRestartLR")
    iterations = int(train.number("total_iter", base.schedule.iterations))
    schedule = SchedulePlan(
        iterations=iterations,
        rate=rate,
        rate_discriminator=rate_d,
        milestones=tuple(int(one) for one in scheduler.take("milestones", [])),
        gamma=scheduler.number("gamma", 0.1),
        warmup=max(0, int(train.number("warmup_iter", -1))),
    )
    scheduler.done()
    plan = replace(
        base,
        schedule=schedule,
        losses=_losses(top, train, base),
        betas=betas,
        ema=train.number("ema_decay", 0),
        discriminator_features=int(judge.number("num_feat", 64)),
        discriminator_every=int(train.number("net_d_iters", 1)),
        discriminator_first=int(train.number("net_d_init_iters", 0)),
    )
    judge.done()
    train.done()
    return plan


def _adam(table: _Section, rate: float, betas: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    table.only("type", "Adam")
    table.only("weight_decay", 0)
    said = tuple(float(one) for one in table.take("betas", betas))
    found = table.number("lr", rate)
    table.done()
    return found, cast("tuple[float, float]", said)


def _losses(top: _Section, train: _Section, base: StagePlan) -> LossPlan:
    pixel, perceptual, gan = (train.part(f"{name}_opt") for name in ("pixel", "perceptual", "gan"))
    pixel.only("type", "L1Loss")
    pixel.only("reduction", "mean")
    perceptual_weight = perceptual.number("perceptual_weight", 1.0) if perceptual.has("type") else 0.0
    perceptual.only("type", "PerceptualLoss")
    for name, value in (("vgg_type", "vgg19"), ("use_input_norm", True), ("style_weight", 0), ("criterion", "l1")):
        perceptual.only(name, value)
    perceptual.only("range_norm", False)
    gan.only("type", "GANLoss")
    kind: Literal["vanilla"] = gan.only("gan_type", "vanilla")
    gan.only("real_label_val", 1.0)
    gan.only("fake_label_val", 0.0)
    made = replace(
        base.losses,
        pixel=pixel.number("loss_weight", 1.0),
        perceptual=perceptual_weight,
        layers=tuple((str(name), float(weight)) for name, weight in perceptual.take("layer_weights", {}).items()),
        gan=gan.number("loss_weight", 1.0) if base.stage == "gan" else 0.0,
        gan_kind=kind,
        sharpened_pixel=base.stage == "gan" and top.take("l1_gt_usm", True),
        sharpened_perceptual=base.stage == "gan" and top.take("percep_gt_usm", True),
        sharpened_gan=base.stage == "gan" and top.take("gan_gt_usm", True),
    )
    for table in (pixel, perceptual, gan):
        table.done()
    return made


def _data(top: _Section, url: str, folder: str, stage: Stage) -> DataConfig:
    train = top.part("datasets").part("train")
    train.only("type", "RealESRGANDataset")
    train.part("io_backend").only("type", "disk")
    manifest, root = train.take("meta_info"), train.take("dataroot_gt", "")
    if not manifest:
        raise UsageError("datasets.train.meta_info is missing; name a list of pictures")
    if not isinstance(gpus := top.take("num_gpu", 1), int):
        raise UsageError(f"num_gpu = {gpus!r} is not a number; say one, so that the batch does not follow the machine")
    train.only("use_shuffle", True)
    sharpened = stage == "net" and top.take("gt_usm", True)
    made = DataConfig(
        sources=(SourceConfig(manifest=beside(folder, manifest), root=beside(folder, root), recipe=url),),
        gt="gt_usm" if sharpened else "gt",
        patch=int(top.number("gt_size", train.number("gt_size", 256))),
        batch=int(train.number("batch_size_per_gpu", 12)) * max(1, gpus),
        flip=False,  # the recipe does
        loaders=int(train.number("num_worker_per_gpu", 1)),
    )
    train.take("gt_size")
    train.done(*_DATA_IGNORED, *TRAIN_KEYS)
    return made
