"""A step of each stage is basicsr's step; a few hundred of them learn eight pairs; two workers are one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from sr_kernel.train.parallel import average_gradients
from sr_kernel.train.plan import (
    GanKind,
    LossPlan,
    NetworkPlan,
    SchedulePlan,
    StagePlan,
    gan_plan,
    net_plan,
)
from sr_kernel.train.stage import Batch, _goods, step  # pyright: ignore[reportPrivateUsage]
from sr_kernel.train.state import Start, TrainState, make_state
from tests.basicsr_reference import reference_module
from tests.sr_kernel.train.batches import RRDB, SRVGG, pairs, vgg_weights
from tests.sr_kernel.train.upstream import RATE, options, upstream, vgg_module

STEPS = 3
SCHEDULE = SchedulePlan(iterations=10, rate=RATE, rate_discriminator=RATE, milestones=(1,), gamma=0.5)
DISCRIMINATOR_FEATURES = 4


@pytest.fixture
def seeded_vgg(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights for both sides."""
    weights = vgg_weights()
    monkeypatch.setattr(reference_module("archs.vgg_arch"), "vgg", vgg_module(weights))
    return weights


def same_weights(mine: nn.Module, theirs: nn.Module, begun: dict[str, Tensor], share: float = 1e-3) -> None:
    """As a share of the way that the weights have gone. Adam divides by the gradient's size, and L1's gradient is a
    sign: a last bit, as that between two ways of sharpening, moves some weights by the rate."""
    assert mine.state_dict().keys() == theirs.state_dict().keys() == begun.keys()
    apart = sum(float(((mine.state_dict()[key] - value) ** 2).sum()) for key, value in theirs.state_dict().items())
    gone = sum(float(((begun[key] - value) ** 2).sum()) for key, value in theirs.state_dict().items())
    assert gone > 0
    assert (apart / gone) ** 0.5 < share


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def same_losses(mine: dict[str, Tensor], theirs: dict[str, float], names: dict[str, str]) -> None:
    assert set(theirs) == set(names.values())
    for name, official in names.items():
        assert float(mine[name]) == pytest.approx(theirs[official], rel=2e-4, abs=1e-6), name


@pytest.mark.parametrize(
    ("network", "channels_last"),
    [(SRVGG, False), (SRVGG, True), (RRDB, True), (replace(RRDB, scale=2), True)],
    ids=["srvgg planar", "srvgg", "rrdb", "rrdb x2"],
)
def test_steps_of_stage_net_are_those_of_realesrnet(network: NetworkPlan, channels_last: bool) -> None:
    plan = replace(net_plan(network), schedule=SCHEDULE, channels_last=channels_last)
    reference = upstream("RealESRNetModel", "realesrnet_model", options(network, plan.losses, "net"))
    begun = copied(reference.net_g)
    state = make_state(plan, Start(network=begun))
    for number in range(1, STEPS + 1):
        batch = pairs(seed=number)
        if network.scale == 2:
            batch = replace(batch, lq=torch.nn.functional.avg_pool2d(batch.gt, 2))
        reference.update_learning_rate(number)
        reference.feed_data({"lq": batch.lq, "gt": batch.gt})
        reference.optimize_parameters(number)
        same_losses(step(state, batch), reference.get_current_log(), {"pixel": "l_pix"})
    assert state.optimiser.param_groups[0]["lr"] == reference.get_current_learning_rate()[0] == RATE / 2
    same_weights(state.network, reference.net_g, begun)
    same_weights(state.average, reference.net_g_ema, begun)


def test_steps_of_stage_gan_are_those_of_realesrgan(seeded_vgg: dict[str, Tensor]) -> None:
    plan = replace(gan_plan(RRDB), schedule=SCHEDULE, discriminator_features=DISCRIMINATOR_FEATURES)
    reference = upstream(
        "RealESRGANModel", "realesrgan_model", options(RRDB, plan.losses, "gan", discriminator=DISCRIMINATOR_FEATURES)
    )
    begun, opponent = copied(reference.net_g), copied(reference.net_d)
    state = make_state(plan, Start(network=begun, opponent=opponent, vgg=seeded_vgg))
    names = {"pixel": "l_g_pix", "perceptual": "l_g_percep", "gan": "l_g_gan", "d_real": "l_d_real"}
    names |= {"d_fake": "l_d_fake", "out_real": "out_d_real", "out_fake": "out_d_fake"}
    for number in range(1, STEPS + 1):
        batch = pairs(2, seed=number)
        reference.update_learning_rate(number)
        reference.feed_data({"lq": batch.lq, "gt": batch.gt})
        reference.optimize_parameters(number)
        same_losses(step(state, batch), reference.get_current_log(), names)
    assert state.opponent is not None
    same_weights(state.network, reference.net_g, begun, 0.05)
    same_weights(state.average, reference.net_g_ema, begun, 0.05)
    same_weights(state.opponent.network, reference.net_d, opponent)


def test_steps_of_relativistic_stage_gan_are_those_of_esrgan(seeded_vgg: dict[str, Tensor]) -> None:
    kind: GanKind = "relativistic"
    losses = LossPlan(perceptual=1.0, gan=0.1, gan_kind=kind)
    plan = StagePlan(
        stage="gan", network=SRVGG, schedule=SCHEDULE, losses=losses, discriminator_features=DISCRIMINATOR_FEATURES
    )
    opt = options(SRVGG, losses, "gan", discriminator=DISCRIMINATOR_FEATURES)
    reference = reference_module("models.esrgan_model").ESRGANModel(opt)
    begun, opponent = copied(reference.net_g), copied(reference.net_d)
    state = make_state(plan, Start(network=begun, opponent=opponent, vgg=seeded_vgg))
    names = {"pixel": "l_g_pix", "perceptual": "l_g_percep", "gan": "l_g_gan", "d_real": "l_d_real"}
    names |= {"d_fake": "l_d_fake", "out_real": "out_d_real", "out_fake": "out_d_fake"}
    for number in range(1, STEPS + 1):
        batch = pairs(2, seed=number)
        reference.update_learning_rate(number)
        reference.feed_data({"lq": batch.lq, "gt": batch.gt})
        reference.optimize_parameters(number)
        same_losses(step(state, batch), reference.get_current_log(), names)
    assert state.opponent is not None
    same_weights(state.network, reference.net_g, begun, 0.05)
    same_weights(state.opponent.network, reference.net_d, opponent)


def test_eight_pairs_are_learned_by_heart() -> None:
    """Above 30 dB in 400 steps."""
    plan = replace(
        net_plan(NetworkPlan(kind="srvgg", features=24, blocks=4)),
        schedule=SchedulePlan(iterations=400, rate=5e-3, kind="cosine", warmup=10),
        ema=0.9,
    )
    state, batch = make_state(plan, Start(), seed=1), pairs(8)
    nearest = torch.nn.functional.interpolate(batch.lq, scale_factor=4, mode="nearest")
    before = decibel(nearest, batch.gt)
    for _ in range(plan.schedule.iterations):
        step(state, batch)
    with torch.no_grad():
        after = decibel(state.average(batch.lq), batch.gt)
    assert before < 20
    assert after > 30


@pytest.mark.parametrize("toward", [0.25, 1.0])
def test_the_good_picture_of_the_pixel_loss_can_be_drawn_toward_bicubic(toward: float) -> None:
    """Where the network begins as bicubic, the loss inside falls by just that share; borders are padded."""
    batch = pairs(2)
    plan = net_plan(NetworkPlan(kind="srvgg", features=32, blocks=2, init="bicubic"))
    state = make_state(replace(plan, losses=LossPlan(toward_bicubic=toward)), Start())
    with torch.no_grad():
        far = state.network(batch.lq) - batch.gt
        near = state.network(batch.lq) - _goods(state.plan.losses, batch).pixel
    inside = (..., slice(16, -16), slice(16, -16))
    assert torch.allclose(near[inside], (1 - toward) * far[inside], atol=1e-5)
    assert float(step(state, batch)["pixel"]) == pytest.approx(float(near.abs().mean()), rel=1e-5)


def decibel(made: Tensor, good: Tensor) -> float:
    return float(-10 * torch.log10(((made - good) ** 2).mean()))


@pytest.mark.parametrize("network", [SRVGG, RRDB], ids=["srvgg", "rrdb"])
def test_computing_activations_anew_changes_no_gradient(network: NetworkPlan) -> None:
    found: list[list[Tensor]] = []
    for recompute in (False, True):
        state = make_state(replace(net_plan(network), recompute=recompute), Start())
        step(state, pairs(2))
        found.append([one.grad for one in state.network.parameters() if one.grad is not None])
    assert len(found[0]) == len(list(state.network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_half_precision_keeps_weights_whole_and_learns_alike() -> None:
    batch, finals = pairs(4), list[float]()
    for precision in ("fp32", "bf16"):
        plan = replace(net_plan(SRVGG), precision=precision, schedule=SchedulePlan(iterations=30, rate=2e-3))
        state = make_state(plan, Start())
        losses = [float(step(state, batch)["pixel"]) for _ in range(30)]
        assert losses[-1] < 0.95 * losses[0]
        finals.append(losses[-1])
        assert all(one.dtype == torch.float32 for one in state.network.parameters())
    assert finals[1] != finals[0]
    assert finals[1] == pytest.approx(finals[0], rel=0.03)


def test_what_is_not_finite_moves_no_weight() -> None:
    state, batch = make_state(net_plan(SRVGG), Start()), pairs(2)
    before = {key: value.clone() for key, value in state.network.state_dict().items()}
    with pytest.raises(ValueError, match="sum of losses"):
        step(state, Batch(gt=batch.gt, lq=batch.lq * float("nan")))
    assert all(torch.equal(value, before[key]) for key, value in state.network.state_dict().items())


# --- workers ---------------------------------------------------------------------------------------------------------


def test_two_workers_with_half_the_batch_move_as_one_with_all(tmp_path: Path) -> None:
    """This process is the first of the two."""
    context = torch.multiprocessing.get_context("spawn")
    other = context.Process(target=worker, args=(1, str(tmp_path / "meet"), str(tmp_path / "other.pt")))
    other.start()
    mine = trained(0, str(tmp_path / "meet"))
    other.join(60)
    assert other.exitcode == 0
    theirs = torch.load(tmp_path / "other.pt", weights_only=True)
    alone = trained(None, "")
    assert mine.keys() == theirs.keys() == alone.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    for name, value in mine.items():
        assert float((value - alone[name]).norm()) < 1e-3 * float(alone[name].norm()) + 1e-6, name


def worker(rank: int, meet: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.save(trained(rank, meet), out)


def trained(rank: int | None, meet: str) -> dict[str, Tensor]:
    """Gradients and the discriminator's vectors after two steps of stage gan: of one of two workers, or of all."""
    plan = replace(gan_plan(SRVGG), discriminator_features=DISCRIMINATOR_FEATURES)
    plan = replace(plan, losses=replace(plan.losses, perceptual=0.0), schedule=SchedulePlan(rate=1e-5))
    state = make_state(plan, Start(), seed=3)
    mine = slice(None) if rank is None else slice(rank, None, 2)
    if rank is not None:
        dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    for number in range(2):
        whole = pairs(4, seed=number)
        step(state, Batch(gt=whole.gt[mine], lq=whole.lq[mine]), None if rank is None else average_gradients)
    if rank is not None:
        dist.destroy_process_group()
    return gradients(state)


def gradients(state: TrainState) -> dict[str, Tensor]:
    assert state.opponent is not None
    networks = {"net": state.network, "opponent": state.opponent.network}
    found = {f"{which} {name}": one.grad for which, net in networks.items() for name, one in net.named_parameters()}
    found |= {f"vector {name}": one for name, one in state.opponent.network.named_buffers()}
    return {name: one.clone() for name, one in found.items() if one is not None}
