"""Configurations say what they say: ours as TOML, BasicSR's as YAML; what means nothing here is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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
    assert net.fingerprint != gan.fingerprint


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
    assert {one.fingerprint for one in same} == {config.fingerprint}
    assert len({one.fingerprint for one in (config, *other)}) == 5


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
    ],
)
def test_what_is_wrong_is_said_with_the_file(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert change[0] in CONFIG
    with pytest.raises(UsageError, match=said) as caught:
        read(tmp_path, CONFIG.replace(*change))
    assert "train.toml" in str(caught.value)


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
        (("num_gpu: 4", "num_gpu: auto"), "num_gpu"),
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
