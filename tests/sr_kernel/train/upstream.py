"""basicsr's own trainers of Real-ESRGAN, set up as our plans say."""

from __future__ import annotations

import types
from typing import Any

import torchvision
from torch import Tensor

from sr_kernel.train.plan import LossPlan, NetworkPlan
from tests.basicsr_reference import reference_module

RATE = 1e-3


def options(network: NetworkPlan, losses: LossPlan, stage: str, *, discriminator: int = 64) -> dict[str, Any]:
    """As upstream's option files say the same."""
    adam = {"type": "Adam", "lr": RATE, "weight_decay": 0, "betas": [0.9, 0.99]}
    rrdb = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": network.features}
    rrdb |= {"num_block": network.blocks, "num_grow_ch": network.growth, "scale": network.scale}
    srvgg = {"type": "SRVGGNetCompact", "num_feat": network.features, "num_conv": network.blocks, "upscale": 4}
    train: dict[str, Any] = {
        "ema_decay": 0.999,
        "optim_g": dict(adam),
        "scheduler": {"type": "MultiStepLR", "milestones": [1], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": losses.pixel, "reduction": "mean"},
    }
    if stage == "gan":
        train |= {
            "optim_d": dict(adam),
            "perceptual_opt": {"type": "PerceptualLoss", "layer_weights": dict(losses.layers), "criterion": "l1"},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": losses.gan},
        }
    return {
        "num_gpu": 0,
        "is_train": True,
        "dist": False,
        "scale": 4,
        "high_order_degradation": False,
        "l1_gt_usm": losses.sharpened_pixel,
        "percep_gt_usm": losses.sharpened_perceptual,
        "gan_gt_usm": losses.sharpened_gan,
        "network_g": rrdb if network.kind == "rrdb" else srvgg,
        "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": discriminator},
        "path": {},
        "train": train,
    }


def upstream(name: str, file: str, opt: dict[str, Any]) -> Any:
    """The model of basicsr on the CPU: its own constructor asks for CUDA for what makes pairs."""
    model = getattr(reference_module(f"models.{file}"), name)
    on_cpu = type(name, (model,), {"__init__": lambda self, opt: super(model, self).__init__(opt)})(opt)
    on_cpu.usm_sharpener = reference_module("utils").USMSharp()
    return on_cpu


def vgg_module(weights: dict[str, Tensor]) -> Any:
    """What basicsr takes VGG19 from, with these weights: it would fetch the real ones, half a gigabyte."""
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["E"])
    features.load_state_dict({key.removeprefix("features."): value for key, value in weights.items()})
    return types.SimpleNamespace(vgg19=lambda pretrained: types.SimpleNamespace(features=features))
