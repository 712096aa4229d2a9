"""One step of training: a function of a state and a batch, the same for one worker and for N."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sr_kernel.degrade.ops import resize_to, sharpen
from sr_kernel.degrade.recipe import Usm
from sr_kernel.train.ema import follow
from sr_kernel.train.losses import adversarial_loss, perceptual_loss, pixel_loss, relative_verdict
from sr_kernel.train.plan import LossPlan
from sr_kernel.train.schedule import share_at
from sr_kernel.train.state import Opponent, TrainState

Average = Callable[[Iterable[nn.Parameter]], None]
"""makes the gradients of parameters the mean over all workers"""
Losses = dict[str, Tensor]
"""name -> mean over this worker's samples, on its device; reading one waits for the device"""
_HALVES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pairs, float32 NCHW in 0..1, RGB."""

    gt: Tensor
    lq: Tensor

    def pin_memory(self) -> Batch:
        """The same in pages that a GPU reads by itself; torch's loader calls it by this name."""
        return Batch(gt=self.gt.pin_memory(), lq=self.lq.pin_memory())


def step(state: TrainState, batch: Batch, average: Average | None = None) -> Losses:
    """One iteration: the state moves on by it, and what was minimised comes back.

    With `average` the batch is one worker's part. Raises ValueError where a loss is not finite, before the weights that
    it would move do.
    """
    state.iteration += 1
    share = share_at(state.plan.schedule, state.iteration)
    _set_rate(state.optimiser, state.plan.schedule.rate * share)
    batch = _placed(state, batch)
    if state.opponent is None:
        losses = _step_net(state, batch, average)
    else:
        _set_rate(state.opponent.optimiser, state.plan.schedule.rate_discriminator * share)
        losses = _step_gan(state, state.opponent, batch, average)
    if state.plan.ema:
        follow(state.average, state.network, state.plan.ema)
    state.scaler.update()
    return losses


def _step_net(state: TrainState, batch: Batch, average: Average | None) -> Losses:
    goods = _goods(state.plan.losses, batch)
    with _precision(state):
        made = state.network(batch.lq)
        losses = _content_losses(state, made, goods)
    _move(state, state.network, state.optimiser, sum(losses.values()), average)
    return _detached(losses)


def _step_gan(state: TrainState, opponent: Opponent, batch: Batch, average: Average | None) -> Losses:
    """As basicsr's: the restoring network first, judged by weights that do not move, then the discriminator."""
    plan = state.plan
    trains = state.iteration % plan.discriminator_every == 0 and state.iteration > plan.discriminator_first
    opponent.network.requires_grad_(False)
    goods = _goods(plan.losses, batch)
    losses: Losses = {}
    with _precision(state):
        made = state.network(batch.lq)
        if trains:
            losses = _content_losses(state, made, goods)
            losses["gan"] = _fooling(plan.losses, opponent.network, made, goods.gan) * plan.losses.gan
    if trains:
        _move(state, state.network, state.optimiser, sum(losses.values()), average)
    opponent.network.requires_grad_(True)
    telling = _tell_apart(state, opponent, made.detach().float(), goods.gan, average)
    return _detached(losses) | telling


class _Goods(NamedTuple):
    """What each loss compares with: the good pictures, or these sharpened; that of pixels, or what lies between it and
    bicubic."""

    pixel: Tensor
    perceptual: Tensor
    gan: Tensor


def _goods(plan: LossPlan, batch: Batch) -> _Goods:
    wanted = (plan.sharpened_pixel, plan.sharpened_perceptual, plan.sharpened_gan)
    sharp = sharpen(batch.gt, Usm()) if any(wanted) else batch.gt
    goods = _Goods(*(sharp if one else batch.gt for one in wanted))
    if not plan.toward_bicubic:
        return goods
    height, width = batch.gt.shape[-2:]
    enlarged = resize_to(batch.lq, height, width, "matlab")
    return goods._replace(pixel=torch.lerp(goods.pixel, enlarged, plan.toward_bicubic))


def _content_losses(state: TrainState, made: Tensor, goods: _Goods) -> Losses:
    plan, losses = state.plan.losses, Losses()
    if plan.pixel:
        losses["pixel"] = pixel_loss(made, goods.pixel) * plan.pixel
    if state.vgg is not None:
        losses["perceptual"] = perceptual_loss(state.vgg, plan.layers, made, goods.perceptual) * plan.perceptual
    return losses


def _fooling(plan: LossPlan, judge: nn.Module, made: Tensor, good: Tensor) -> Tensor:
    """How far the discriminator is from taking what was made for real."""
    if plan.gan_kind == "vanilla":
        return adversarial_loss(judge(made), real=True)
    real, fake = judge(good).detach(), judge(made)
    of_real = adversarial_loss(relative_verdict(real, fake), real=False)
    return (of_real + adversarial_loss(relative_verdict(fake, real), real=True)) / 2


def _tell_apart(state: TrainState, opponent: Opponent, made: Tensor, good: Tensor, average: Average | None) -> Losses:
    """Train the discriminator. Real and made pictures go through it one after the other, each with its own gradient:
    spectral norm moves at each pass, and released discriminators were trained so."""
    judge, relative = opponent.network, state.plan.losses.gan_kind == "relativistic"
    weight = 0.5 if relative else 1.0
    opponent.optimiser.zero_grad()
    with _precision(state):
        others = judge(made).detach() if relative else None
        real = judge(good)
        of_real = adversarial_loss(real if others is None else relative_verdict(real, others), real=True) * weight
    _checked({"d_real": of_real})
    state.scaler.scale(of_real).backward()
    with _precision(state):
        fake = judge(made)
        verdict = relative_verdict(fake, real.detach()) if relative else fake
        of_fake = adversarial_loss(verdict, real=False) * weight
    _checked({"d_fake": of_fake})
    state.scaler.scale(of_fake).backward()
    _finish(state, judge, opponent.optimiser, average)
    means = {"out_real": real.float().mean(), "out_fake": fake.float().mean()}
    return _detached({"d_real": of_real, "d_fake": of_fake} | means)


def _move(
    state: TrainState, network: nn.Module, optimiser: torch.optim.Adam, total: Tensor | int, average: Average | None
) -> None:
    assert isinstance(total, Tensor)
    _checked({"the sum of losses": total})
    optimiser.zero_grad()
    state.scaler.scale(total).backward()
    _finish(state, network, optimiser, average)


def _finish(state: TrainState, network: nn.Module, optimiser: torch.optim.Adam, average: Average | None) -> None:
    if average is not None:
        average(network.parameters())
    state.scaler.step(optimiser)


def _precision(state: TrainState) -> torch.autocast:
    dtype = _HALVES[state.plan.precision]
    return torch.autocast(state.device.type, dtype=dtype, enabled=dtype != torch.float32)


def _placed(state: TrainState, batch: Batch) -> Batch:
    form = torch.channels_last if state.plan.channels_last else torch.contiguous_format
    gt, lq = (part.to(state.device, memory_format=form, non_blocking=True) for part in (batch.gt, batch.lq))
    return Batch(gt=gt, lq=lq)


def _set_rate(optimiser: torch.optim.Adam, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _checked(losses: Losses) -> None:
    for name, loss in losses.items():
        if not torch.isfinite(loss):
            raise ValueError(f"training: {name} is {loss.item()}; lower the rate, or train in fp32")


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}
