"""Configurations say what they say: ours as TOML, BasicSR's as YAML; what means nothing here is refused."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sr_kernel
from farm.errors import UsageError
from farm.training import load_config
from farm.training.config import TrainConfig
from sr_kernel.train.plan import NetworkPlan, Stage, gan_plan, net_plan
from tests.farm.training.sets import CONFIG
from tests.sr_kernel.degrade.recipe_files import X4PLUS_YML

TRAINS = """
train:
  ema_decay: 0.999
  optim_g: {type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}
  optim_d: {type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [400000], gamma: 0.5}
  total_iter: 400000
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights: {'conv1_2': 0.1, 'conv2_2': 0.1, 'conv3_4': 1, 'conv4_4': 1, 'conv5_4': 1}
    vgg_type: vgg19
    use_input_norm: true
    perceptual_weight: !!float 1.0
    style_weight: 0
    range_norm: false
    criterion: l1
  gan_opt: {type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 1e-1}
  net_d_iters: 1
  net_d_init_iters: 0
"""
YML = X4PLUS_YML.replace("train:\n  ema_decay: 0.999\n", TRAINS.lstrip())


@pytest.fixture(autouse=True)
def named_files(tmp_path: Path) -> None:
    """What the options name, beside them."""
    (tmp_path / "pictures").mkdir()
    for name in ("pictures.txt", "net.pth"):
        (tmp_path / name).touch()


def read(folder: Path, text: str, stage: Stage = "net", name: str = "train.toml") -> TrainConfig:
    (folder / name).write_text(text)
    return load_config(str(folder / name), stage)


def test_what_a_file_does_not_say_is_as_published(tmp_path: Path) -> None:
    least = '[[data.sources]]\nmanifest = "all.txt"\n'
    net = read(tmp_path, least)
    assert net.plan == net_plan(NetworkPlan())
    assert (net.data.gt, net.data.patch, net.data.batch) == ("gt_usm", 256, 48)
    assert net.data.sources[0].manifest == str(tmp_path / "all.txt")
    gan = read(tmp_path, least, "gan")
    assert gan.plan == gan_plan(NetworkPlan())
    assert gan.data.gt == "gt"
    assert net.fingerprint([""]) != gan.fingerprint([""])


def test_what_decides_the_curve_is_in_the_fingerprint(tmp_path: Path) -> None:
    config = read(tmp_path, CONFIG)
    assert config.plan.network == NetworkPlan(kind="srvgg", features=8, blocks=2)
    assert config.validation.pairs == str(tmp_path / "pairs")
    same = (
        replace(config, data=replace(config.data, loaders=3)),
        replace(config, keep=replace(config.keep, every=1)),
        replace(config, plan=replace(config.plan, schedule=replace(config.plan.schedule, iterations=99))),
    )
    other = (
        replace(config, seed=4),
        replace(config, start="a.pth"),
        replace(config, data=replace(config.data, batch=8)),
        replace(config, plan=replace(config.plan, ema=0.5)),
    )
    assert {one.fingerprint(["a"]) for one in same} == {config.fingerprint(["a"])}
    assert len({config.fingerprint(["b"]), *(one.fingerprint(["a"]) for one in (config, *other))}) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("seed = 3", "sed = 3"), "sed"),
        (("seed = 3", 'seed = "3"'), "a whole number"),
        (("features = 8", "features = true"), "a whole number"),
        (('kind = "srvgg"', 'kind = "swin"'), "swin"),
        (("rate = 1e-3", "rate = -1"), "rate"),
        (("patch = 32", "patch = 30"), "multiple of the network's scale"),
        (('pairs = "pairs"\n[val', 'pairs = "pairs"\nmanifest = "a"\n[val'), "either pairs or a manifest"),
        (("[data]", "[data"), "not TOML"),
        (('name = "tiny"', 'name = "../up"'), "no name"),
        (("ema = 0.9", "betas = [0.9]"), "two numbers"),
        (("seed = 3", "seed = 1" + "0" * 19), "seed: "),
        (("batch = 4", "batch = 1" + "0" * 19), "data.batch: "),
        (("perceptual = 0.0", "perceptual = 1.0\nlayers = {}"), "losses.layers: is empty"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert change[0] in CONFIG
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, CONFIG.replace(*change))
    assert "train.toml" in str(caught.value)


@pytest.mark.parametrize("value", [None, {}], ids=["~", "{}"])
def test_losses_whose_table_is_not_there_are_left_out_as_in_basicsr(value: object, tmp_path: Path) -> None:
    options = yaml.safe_load(YML)
    pixel = changed(copy.deepcopy(options), ("train", "pixel_opt"), value)
    assert replace(read(tmp_path, pixel, "gan", "a.yml").plan.losses, pixel=1.0) == gan_plan(NetworkPlan()).losses
    perceptual = read(tmp_path, changed(copy.deepcopy(options), ("train", "perceptual_opt"), value), "gan", "a.yml")
    assert (perceptual.plan.losses.perceptual, perceptual.perceptual) == (0, "none")
    plain = changed(copy.deepcopy(options), ("train", "pixel_opt"), {"type": "L1Loss"})
    assert read(tmp_path, plain, "gan", "a.yml").plan.losses.pixel == 1
    with pytest.raises(UsageError, match=r"train\.gan_opt is missing"):
        read(tmp_path, changed(copy.deepcopy(options), ("train", "gan_opt"), value), "gan", "a.yml")
    del options["train"]["pixel_opt"], options["train"]["perceptual_opt"]
    with pytest.raises(UsageError, match="all other losses are 0"):
        read(tmp_path, yaml.safe_dump({**options, "model_type": "RealESRNetModel"}), "net", "a.yml")


def test_what_is_said_of_vgg_instead_of_the_file_counts(tmp_path: Path) -> None:
    """A loss that the file leaves out by `none` comes back with its own weight; one that counts 0 is not asked for."""
    text = CONFIG.replace("seed = 3", 'seed = 3\nperceptual = "none"').replace("perceptual = 0.0", "perceptual = 0.5")
    assert "perceptual = 0.5" in text
    without = read(tmp_path, text, "gan")
    assert (without.perceptual, without.plan.losses.perceptual) == ("none", 0)
    asked = load_config(str(tmp_path / "train.toml"), "gan", perceptual="vgg19")
    assert (asked.perceptual, asked.plan.losses.perceptual) == ("vgg19", 0.5)
    assert asked == read(tmp_path, text.replace('perceptual = "none"', ""), "gan")
    (tmp_path / "train.toml").write_text(CONFIG)
    options = yaml.safe_load(YML)
    del options["train"]["perceptual_opt"]
    (tmp_path / "a.yml").write_text(yaml.safe_dump(options))
    for name in ("train.toml", "a.yml"):
        with pytest.raises(UsageError, match="--perceptual: vgg19 has nothing to do"):
            load_config(str(tmp_path / name), "gan", perceptual="vgg19")
        assert load_config(str(tmp_path / name), "gan", perceptual="none").perceptual == "none"


def test_patches_that_losses_cannot_take_are_refused(tmp_path: Path) -> None:
    small = CONFIG.replace("patch = 32", "patch = 24")
    assert read(tmp_path, small).data.patch == 24
    with pytest.raises(UsageError, match="less than the 26 pixels"):
        read(tmp_path, small.replace("perceptual = 0.0", "sharpened_pixel = true"))
    with pytest.raises(UsageError, match="less than the 16 pixels"):
        read(tmp_path, CONFIG.replace("patch = 32", "patch = 8").replace("perceptual = 0.0", "perceptual = 1.0"))
    double = CONFIG.replace('kind = "srvgg"', 'kind = "rrdb"\nscale = 2')
    with pytest.raises(UsageError, match="no multiple of 4"):
        read(tmp_path, double.replace("patch = 32", "patch = 34"))


def test_options_of_basicsr_are_taken(tmp_path: Path) -> None:
    config = read(tmp_path, YML, "gan", "train_x4.yml")
    assert config.plan == replace(gan_plan(NetworkPlan()), schedule=config.plan.schedule)
    schedule = config.plan.schedule
    assert (schedule.iterations, schedule.rate, schedule.rate_discriminator) == (400_000, 1e-4, 1e-4)
    assert (schedule.milestones, schedule.gamma, schedule.warmup) == ((400_000,), 0.5, 0)
    assert (config.data.batch, config.data.patch, config.data.loaders) == (48, 256, 5)
    source = config.data.sources[0]
    assert (source.manifest, source.root) == (str(tmp_path / "pictures.txt"), str(tmp_path / "pictures"))
    assert source.recipe == str(tmp_path / "train_x4.yml")
    assert config.start == str(tmp_path / "net.pth")
    assert (config.opponent, config.name, config.seed, config.keep.log) == ("none", "second_order_x4", 0, 100)


def test_paths_of_basicsr_start_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something lies there; upstream's own files lie in options/ and name datasets/ beside it."""
    (tmp_path / "options").mkdir()
    (tmp_path / "options/net.pth").touch()
    (tmp_path / "net.pth").unlink()
    monkeypatch.chdir(tmp_path)
    config = read(tmp_path / "options", YML, "gan", "a.yml")
    source = config.data.sources[0]
    assert (source.manifest, source.root) == (str(tmp_path / "pictures.txt"), str(tmp_path / "pictures"))
    assert config.start == str(tmp_path / "options/net.pth")
    (tmp_path / "pictures.txt").unlink()
    there = r"meta_info: neither .*/pictures\.txt nor .*/options/pictures\.txt is there"
    with pytest.raises(UsageError, match=there):
        read(tmp_path / "options", YML, "gan", "a.yml")


@pytest.mark.parametrize(("gpus", "batch"), [(0, 12), (1, 12), (3, 36)])
def test_auto_counts_the_gpus_that_there_are(gpus: int, batch: int, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(YML.replace("num_gpu: 4", "num_gpu: auto"))
    config = load_config(str(tmp_path / "a.yml"), "gan", gpus=gpus)
    assert config.data.batch == batch
    assert f"num_gpu = auto is {max(1, gpus)} here, so a batch is of {batch} pairs" in config.notes


def test_that_a_yml_validates_nothing_is_said(tmp_path: Path) -> None:
    options = yaml.safe_load(YML)
    options["val"] = {"val_freq": 5e3, "save_img": True, "metrics": {"psnr": {"type": "calculate_psnr"}}}
    config = read(tmp_path, yaml.safe_dump(options), "gan", "a.yml")
    assert not config.validation.pairs
    assert [note for note in config.notes if note.startswith("nothing is validated")]
    del options["val"]
    assert read(tmp_path, yaml.safe_dump(options), "gan", "a.yml").notes == ()


def test_whether_all_of_the_start_has_to_fit_is_taken(tmp_path: Path) -> None:
    """As upstream's train_realesrnet_x2plus.yml has it; what was trained before this could be said goes on."""
    options = yaml.safe_load(YML)
    configs = [
        read(tmp_path, changed(copy.deepcopy(options), ("path", "strict_load_g"), value), "gan", "a.yml")
        for value in (None, True, False)
    ]
    assert [one.strict for one in configs] == [True, True, False]
    prints = [one.fingerprint([""]) for one in configs]
    assert prints[0] == prints[1] != prints[2]
    assert not read(tmp_path, CONFIG.replace("seed = 3", "seed = 3\nstrict = false")).strict


def test_what_is_left_out_is_as_in_basicsr(tmp_path: Path) -> None:
    """Of Adam torch's own; what upstream fails without is refused by its name."""
    options = yaml.safe_load(YML)
    for name in ("optim_g", "optim_d"):
        options["train"][name] = {"type": "Adam"}
    config = read(tmp_path, yaml.safe_dump(options), "gan", "a.yml")
    adam = inspect.signature(torch.optim.Adam).parameters
    assert config.plan.betas == adam["betas"].default
    assert config.plan.schedule.rate == config.plan.schedule.rate_discriminator == adam["lr"].default
    for path in (("train", "optim_g"), ("train", "optim_d"), *((f"{one}_gt_usm",) for one in ("l1", "percep", "gan"))):
        lacking = changed(yaml.safe_load(YML), path, None)
        with pytest.raises(UsageError, match=rf"{'.'.join(path)} is missing"):
            read(tmp_path, lacking, "gan", "a.yml")
    net = yaml.safe_load(YML) | {"model_type": "RealESRNetModel"}
    for name in ("optim_d", "perceptual_opt", "gan_opt", "net_d_iters", "net_d_init_iters"):
        del net["train"][name]
    with pytest.raises(UsageError, match="gt_usm is missing"):
        read(tmp_path, yaml.safe_dump(net), "net", "a.yml")


def test_what_a_logger_is_told_is_done(tmp_path: Path) -> None:
    """Whether TensorBoard's files are written; a wandb without a project is none."""
    for said in (True, False, None):
        options = changed(yaml.safe_load(YML), ("logger", "use_tb_logger"), said)
        assert read(tmp_path, options, "gan", "a.yml").keep.tensorboard is (said is True)
    assert read(tmp_path, changed(yaml.safe_load(YML), ("logger", "wandb"), {"project": None}), "gan", "a.yml")


@pytest.mark.parametrize(
    ("path", "value"),
    [(("datasets", "train", "type"), "RealESRGANPairedDataset"), (("high_order_degradation",), False)],
)
def test_options_for_ready_pairs_say_what_to_take(path: tuple[str, ...], value: object, tmp_path: Path) -> None:
    """As finetune_realesrgan_x4plus_pairdata.yml, which names more than other files do."""
    options = yaml.safe_load(YML)
    options["datasets"]["train"]["dataroot_lq"] = "poor"
    with pytest.raises(UsageError, match=r"pairs that are ready .* such as finetune_realesrgan_x4plus\.yml"):
        read(tmp_path, changed(options, path, value), "gan", "a.yml")


def test_which_weights_of_the_start_are_taken(tmp_path: Path) -> None:
    """As basicsr reads `param_key_g`."""
    options = yaml.safe_load(YML)
    keys = (None, "params", "params_ema")
    configs = [
        read(tmp_path, changed(copy.deepcopy(options), ("path", "param_key_g"), key), "gan", "a.yml") for key in keys
    ]
    assert [one.start_key for one in configs] == ["params", "params", ""]
    prints = [one.fingerprint([""]) for one in configs]
    assert prints[0] == prints[1] != prints[2]


def test_options_of_stage_net_are_taken(tmp_path: Path) -> None:
    """As upstream's train_realesrnet_x4plus.yml has them."""
    options = yaml.safe_load(YML)
    options |= {"model_type": "RealESRNetModel", "gt_usm": True, "name": "net"}
    for name in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm"):
        del options[name]
    for name in ("optim_d", "perceptual_opt", "gan_opt", "net_d_iters", "net_d_init_iters"):
        del options["train"][name]
    options["train"] |= {"total_iter": 1_000_000, "optim_g": {**options["train"]["optim_g"], "lr": 2e-4}}
    options["train"]["scheduler"]["milestones"] = [1_000_000]
    options["path"] |= {"param_key_g": "params_ema", "strict_load_g": True, "resume_state": None}
    options["logger"] |= {
        "save_checkpoint_freq": 5e3,
        "use_tb_logger": True,
        "wandb": {"project": None, "resume_id": None},
    }
    config = read(tmp_path, yaml.safe_dump(options), "net", "train.yml")
    published = net_plan(NetworkPlan())
    assert config.plan.schedule == replace(published.schedule, milestones=(1_000_000,))
    assert replace(config.plan, schedule=published.schedule, losses=published.losses) == published
    assert replace(config.plan.losses, layers=published.losses.layers) == published.losses
    assert (config.data.gt, config.data.batch, config.keep.every, config.perceptual) == ("gt_usm", 48, 5000, "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("gan_type: vanilla", "gan_type: hinge"), "gan_type"),
        (("type: L1Loss", "type: CharbonnierLoss"), "train.pixel_opt.type"),
        (("net_d_iters: 1", "net_d_iters: 1\n  ldl_opt: {type: L1Loss}"), "train.ldl_opt is not supported"),
        (("type: disk", "type: lmdb"), "io_backend.type"),
        (
            ("weight_decay: 0, betas: [0.9, 0.99]}\n  optim_d", "weight_decay: 1, betas: [0.9, 0.99]}\n  optim_d"),
            "decay",
        ),
        (("type: RealESRGANDataset", "type: PairedImageDataset"), "datasets.train.type"),
        (("type: RRDBNet", "type: EDSR"), "network_g.type"),
        (("scale: 4", "scale: 4\npixel_size: 3"), "pixel_size"),
        (("print_freq: 100", "wandb: {project: mine}"), "wandb"),
    ],
)
def test_options_of_basicsr_that_mean_nothing_here_are_refused(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    assert change[0] in YML
    with pytest.raises(UsageError, match=said):
        read(tmp_path, YML.replace(*change), "gan", "a.yml")
    with pytest.raises(UsageError, match="--stage gan"):
        read(tmp_path, YML, "net", "a.yml")


TYPES: dict[str, list[tuple[str, ...]]] = {
    "number": [
        ("train", "ema_decay"),
        ("train", "optim_g", "lr"),
        ("train", "optim_d", "lr"),
        ("train", "scheduler", "gamma"),
        ("train", "pixel_opt", "loss_weight"),
        ("train", "perceptual_opt", "perceptual_weight"),
        ("train", "perceptual_opt", "layer_weights", "conv1_2"),
        ("train", "gan_opt", "loss_weight"),
    ],
    "whole": [
        ("num_gpu",),
        ("manual_seed",),
        ("gt_size",),
        ("datasets", "train", "gt_size"),
        ("datasets", "train", "num_worker_per_gpu"),
        ("datasets", "train", "batch_size_per_gpu"),
        ("network_g", "num_feat"),
        ("network_g", "num_block"),
        ("network_g", "num_grow_ch"),
        ("network_g", "scale"),
        ("network_d", "num_feat"),
        ("train", "total_iter"),
        ("train", "warmup_iter"),
        ("train", "net_d_iters"),
        ("train", "net_d_init_iters"),
        ("logger", "print_freq"),
        ("logger", "save_checkpoint_freq"),
        ("val", "val_freq"),
    ],
    "flag": [("l1_gt_usm",), ("percep_gt_usm",), ("gan_gt_usm",), ("gt_usm",), ("path", "strict_load_g")],
    "text": [
        ("name",),
        ("model_type",),
        ("path", "pretrain_network_g"),
        ("path", "pretrain_network_d"),
        ("datasets", "train", "dataroot_gt"),
        ("datasets", "train", "meta_info"),
    ],
    "list": [("train", "scheduler", "milestones"), ("train", "optim_g", "betas"), ("train", "optim_d", "betas")],
    "table": [
        ("datasets",),
        ("datasets", "train"),
        ("network_g",),
        ("network_d",),
        ("path",),
        ("logger",),
        ("val",),
        ("train",),
        ("train", "optim_g"),
        ("train", "scheduler"),
        ("train", "pixel_opt"),
        ("train", "perceptual_opt", "layer_weights"),
    ],
}
WRONG: dict[str, list[object]] = {
    "number": ["1e-4", "", True, [1], {"a": 1}, float("nan"), float("inf"), 10**400],
    "whole": ["4", True, [4], {"a": 1}, 1.5, float("nan"), float("inf"), 10**400],
    "flag": ["yes", 1, [], {"a": 1}, 1.0],
    "text": [5, True, ["a"], {"a": 1}],
    "list": ["a", 5, {"a": 1}, [None], ["a"], [[1]], [float("nan")]],
    "table": ["a", 5, [1], True],
}


def changed(options: dict[str, Any], path: tuple[str, ...], value: object) -> str:
    table = options
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table[path[-1]] = value
    return yaml.safe_dump(options)


@pytest.mark.parametrize("kind", TYPES)
def test_options_of_basicsr_of_another_type_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    """The first of each kind by all values that it cannot have, the others by one after the other."""
    first, *others = TYPES[kind]
    cases = [(first, value) for value in WRONG[kind]]
    cases += [(path, WRONG[kind][at % len(WRONG[kind])]) for at, path in enumerate(others)]
    options = yaml.safe_load(YML)
    for path, value in cases:
        with pytest.raises(UsageError, match=rf"\b{path[-1]}\b") as caught:
            read(tmp_path, changed(copy.deepcopy(options), path, value), "gan", "a.yml")
        assert "a.yml: " in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        "name: 2020-13-45",
        "scale: !!float a",
        "? [a]\n: 1",
        "5: 1",
        "- 1",
        "",
        "a: *b",
        "name: " + "9" * 5000,
    ],
    ids=lambda one: one[:12],
)
def test_files_that_yaml_stumbles_over_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.yml"):
        read(tmp_path, text, "gan", "a.yml")


def test_what_few_bytes_mean_is_not_said_whole(tmp_path: Path) -> None:
    rows = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
    rows += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    for name in ("name", "l1_gt_usm", "resize_prob", "manual_seed"):
        document = YML.replace("name: second_order_x4", "name: second").replace(f"\n{name}:", f"\nold_{name}:", 1)
        bomb = "dist_params:\n  " + "\n  ".join(rows) + f"\n{name}: *l8\n"
        with pytest.raises(UsageError) as caught:
            read(tmp_path, bomb + document.replace("dist_params:\n  backend: nccl\n", ""), "gan", "a.yml")
        assert len(str(caught.value)) < 1000


def test_empty_options_are_as_good_as_none(tmp_path: Path) -> None:
    plain = read(tmp_path, YML, "gan", "a.yml")
    for path in (("train", "ema_decay"), ("path", "pretrain_network_d"), ("train", "scheduler", "milestones")):
        made = read(tmp_path, changed(yaml.safe_load(YML), path, None), "gan", "a.yml")
        assert made.data == plain.data
    with pytest.raises(UsageError, match=r"datasets\.val is not supported"):
        read(tmp_path, changed(yaml.safe_load(YML), ("datasets", "val"), {"name": "a"}), "gan", "a.yml")


@pytest.mark.parametrize("value", ["nan", "inf", "1" + "0" * 400, "true", '"1"'], ids=lambda one: one[:4])
def test_numbers_that_are_none_are_refused_by_name(value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"schedule\.rate"):
        read(tmp_path, CONFIG.replace("rate = 1e-3", f"rate = {value}"))
    with pytest.raises(UsageError, match=r"losses\.layers\.conv1_2"):
        read(tmp_path, CONFIG.replace("perceptual = 0.0", f"perceptual = 0.0\nlayers = {{ conv1_2 = {value} }}"))


@pytest.mark.parametrize(("name", "toward"), [("box", 0.35), ("box-finish", 0.62)])
def test_the_configurations_of_the_box_are_some(name: str, toward: float) -> None:
    """About half of the pairs by x4plus, a quarter light, a quarter clean."""
    config = load_config(str(Path(sr_kernel.__file__).parent / "data" / f"{name}.toml"), "net")
    assert (config.plan.network.kind, config.plan.losses.toward_bicubic) == ("srvgg", toward)
    shares: dict[str, float] = {}
    for source in config.data.sources:
        recipe = source.pairs.rpartition("-")[2]
        shares[recipe] = shares.get(recipe, 0) + source.weight
    assert shares == pytest.approx({"x4plus": 0.5, "light": 0.25, "bicubic": 0.25}, abs=0.031)
