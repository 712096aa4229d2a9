"""What a GPU must give while it trains: half precision that goes on where it was kept, a step that overflows and moves
nothing, fp32 that is fp32, and workers that NCCL joins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sr_kernel.train.checkpoint import restore_state, save_state
from sr_kernel.train.discriminator import Discriminator
from sr_kernel.train.parallel import average_gradients, average_losses
from sr_kernel.train.plan import Precision, StagePlan, gan_plan, net_plan
from sr_kernel.train.stage import Losses, step
from sr_kernel.train.state import Start, TrainState, keep_to_plan, make_state
from tests.sr_kernel.train.batches import RRDB, pairs, vgg_weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]
DEVICE = torch.device("cuda:0")
STEPS = 6
TOLERANCE = 5e-3
"""of losses: the discriminator enlarges bilinearly, whose gradient CUDA sums up in any order"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a training tells torch is for the whole process."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision = before


def gan_of(precision: Precision) -> StagePlan:
    plan = replace(gan_plan(RRDB), precision=precision, discriminator_features=4)
    keep_to_plan(plan, DEVICE)
    return plan


def fresh(plan: StagePlan) -> TrainState:
    return make_state(plan, Start(vgg=vgg_weights()), DEVICE, seed=5)


def stepped(state: TrainState, numbers: range) -> list[dict[str, float]]:
    return [{name: float(one) for name, one in step(state, pairs(2, seed=at)).items()} for at in numbers]


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in network.named_parameters()}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_stage_gan_in_half_precision_goes_on_where_it_was_kept(precision: Precision) -> None:
    plan = gan_of(precision)
    whole = fresh(plan)
    losses = stepped(whole, range(STEPS))
    kept = fresh(plan)
    stepped(kept, range(STEPS // 2))
    again = fresh(plan)
    restore_state(again, save_state(kept, "a"), "a", "here")
    assert again.scaler.get_scale() == kept.scaler.get_scale()
    for found, wanted in zip(stepped(again, range(STEPS // 2, STEPS)), losses[STEPS // 2 :], strict=True):
        assert found == pytest.approx(wanted, rel=TOLERANCE, abs=1e-4)
    assert again.scaler.get_scale() == whole.scaler.get_scale()
    assert again.scaler.is_enabled() == (precision == "fp16")
    assert all(one.dtype == torch.float32 for one in whole.network.parameters())


def test_gradients_that_overflow_move_no_weight_and_halve_the_scale() -> None:
    state = fresh(gan_of("fp16"))
    assert state.opponent is not None
    networks = (state.network, state.opponent.network)
    stepped(state, range(1))
    content = state.scaler.state_dict()
    content["scale"] = 2.0**60
    state.scaler.load_state_dict(content)
    before = [copied(one) for one in networks]
    stepped(state, range(1, 2))
    for network, weights in zip(networks, before, strict=True):
        assert all(torch.equal(one, weights[name]) for name, one in network.named_parameters())
    assert state.scaler.get_scale() == 2.0**59


def test_half_precision_learns_what_fp32_learns() -> None:
    """Losses of the first steps, before which rates have parted the weights."""
    wanted = stepped(fresh(gan_of("fp32")), range(2))
    for precision in ("fp16", "bf16"):
        for found, exact in zip(stepped(fresh(gan_of(precision)), range(2)), wanted, strict=True):
            assert found == pytest.approx(exact, rel=0.1, abs=0.02)


def test_spectral_norms_are_estimated_in_fp32() -> None:
    torch.manual_seed(0)
    network = Discriminator(4).to(DEVICE)
    begun = {name: one.clone() for name, one in network.state_dict().items()}
    picture = torch.rand(1, 3, 64, 64, device=DEVICE)
    network(picture)
    exact = {name: one.clone() for name, one in network.named_buffers()}
    network.load_state_dict(begun)
    with torch.autocast("cuda", dtype=torch.float16):
        network(picture)
    assert all(torch.equal(one, exact[name]) for name, one in network.named_buffers())


def test_fp32_is_not_rounded() -> None:
    """To TF32, which has ten bits of mantissa, convolutions of a thousand products are off by more."""
    plan = replace(net_plan(RRDB), channels_last=False)
    torch.manual_seed(0)
    conv, picture = nn.Conv2d(128, 8, 3), torch.rand(1, 128, 32, 32)
    exact = conv.double()(picture.double())
    keep_to_plan(plan, DEVICE)
    made = conv.float().to(DEVICE)(picture.to(DEVICE))
    assert float((made.cpu().double() - exact).detach().abs().max()) < 1e-5


def test_one_worker_that_nccl_joins_moves_as_one_alone(tmp_path: Path) -> None:
    plan = replace(net_plan(RRDB), precision="bf16")
    keep_to_plan(plan, DEVICE)
    alone, joined = (make_state(plan, Start(), DEVICE, seed=5) for _ in range(2))
    dist.init_process_group("nccl", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1, device_id=DEVICE)
    try:
        for at in range(2):
            wanted = step(alone, pairs(2, seed=at))
            found: Losses = average_losses(step(joined, pairs(2, seed=at), average_gradients))
            assert float(found["pixel"]) == pytest.approx(float(wanted["pixel"]), rel=1e-6)
    finally:
        dist.destroy_process_group()
    weights = copied(alone.network)
    assert all(torch.equal(one, weights[name]) for name, one in joined.network.named_parameters())
