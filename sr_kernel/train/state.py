"""What lives while training: networks, their optimisers, the average. Made of a plan, moved by `stage`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from sr_kernel.backend import keep_to_fp32, keep_to_one_algorithm
from sr_kernel.train.discriminator import Discriminator
from sr_kernel.train.networks import RestoringNetwork, make_network
from sr_kernel.train.plan import StagePlan
from sr_kernel.train.vgg import VggFeatures

Weights = Mapping[str, Tensor]


@dataclass(slots=True, kw_only=True)
class Opponent:
    """A discriminator in training."""

    network: Discriminator
    optimiser: torch.optim.Adam


@dataclass(slots=True, kw_only=True)
class TrainState:
    """All that an iteration reads and changes."""

    plan: StagePlan
    network: RestoringNetwork
    average: RestoringNetwork
    """the averaged weights; the network itself where none are kept"""
    optimiser: torch.optim.Adam
    opponent: Opponent | None
    vgg: VggFeatures | None
    scaler: torch.amp.GradScaler  # pyright: ignore[reportPrivateImportUsage]
    """of gradients in fp16; does nothing in other precisions"""
    iteration: int = 0
    """iterations done"""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Weights to begin with; None means fresh ones."""

    network: Weights | None = None
    average: Weights | None = None
    """None: those of `network`"""
    opponent: Weights | None = None
    whole: bool = True
    """whether those of `network` and `average` are all of its weights; of others the rest stays fresh"""
    vgg: Weights | None = None
    """of VGG19, as torchvision's file has them; needed where the perceptual loss counts"""


def keep_to_plan(plan: StagePlan, device: torch.device) -> None:
    """On a GPU convolutions of one shape are computed by one algorithm, and in fp32 where the plan says fp32: torch
    would let them round to TF32."""
    (keep_to_fp32 if plan.precision == "fp32" else keep_to_one_algorithm)(device)


def make_state(plan: StagePlan, start: Start, device: torch.device | str = "cpu", *, seed: int = 0) -> TrainState:
    """A state before its first iteration. Fresh weights are drawn from `seed` alone.

    Raises ValueError where weights do not fit the plan, and for a precision that the device cannot train in.
    """
    device = torch.device(device)
    if plan.precision == "fp16" and device.type != "cuda":
        raise ValueError("plan: precision fp16 trains on CUDA devices only; choose fp32 or bf16")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(plan.network)
        discriminator = Discriminator(plan.discriminator_features) if plan.stage == "gan" else None
    _load(network, start.network, "the network", whole=start.whole)
    _load(discriminator, start.opponent, "the discriminator")
    network = _placed(network, plan, device)
    network.recompute = plan.recompute
    average = network
    if plan.ema:
        average = copy.deepcopy(network).requires_grad_(False).eval()
        _load(average, start.average, "the averaged network", whole=start.whole)
    opponent = None
    if discriminator is not None:
        discriminator = _placed(discriminator, plan, device)
        opponent = Opponent(
            network=discriminator, optimiser=_adam(discriminator, plan.schedule.rate_discriminator, plan)
        )
    return TrainState(
        plan=plan,
        network=network,
        average=average,
        optimiser=_adam(network, plan.schedule.rate, plan),
        opponent=opponent,
        vgg=_make_vgg(plan, start.vgg, device),
        scaler=torch.amp.GradScaler(device.type, enabled=plan.precision == "fp16"),  # pyright: ignore[reportPrivateImportUsage]
    )


def _make_vgg(plan: StagePlan, weights: Weights | None, device: torch.device) -> VggFeatures | None:
    if not plan.losses.perceptual:
        return None
    if weights is None:
        raise ValueError("plan: losses.perceptual needs the weights of VGG19; give them, or set it to 0")
    return _placed(VggFeatures(weights, [name for name, _ in plan.losses.layers]), plan, device)


Network = TypeVar("Network", RestoringNetwork, Discriminator, VggFeatures)


def _placed(network: Network, plan: StagePlan, device: torch.device) -> Network:
    network = network.to(device)
    return network.to(memory_format=torch.channels_last) if plan.channels_last else network


def _adam(network: nn.Module, rate: float, plan: StagePlan) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, plan.betas)


def _load(network: nn.Module | None, weights: Weights | None, what: str, *, whole: bool = True) -> None:
    if network is None or weights is None:
        return
    try:
        network.load_state_dict(dict(weights), strict=whole)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(f"weights of {what} do not fit the plan: {first[0].strip()}") from error
