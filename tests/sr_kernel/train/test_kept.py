"""A checkpoint gives the same curve; exported files are what the farm and upstream read; figures are basicsr's."""

from __future__ import annotations

import importlib
import io
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_kernel.archs import ARCHS
from sr_kernel.degrade.ops import resize_to
from sr_kernel.tiles import Box
from sr_kernel.train.checkpoint import CheckpointError, most_bytes, restore_state, save_state
from sr_kernel.train.export import opponent_to_pth, to_onnx, to_pth, to_safetensors
from sr_kernel.train.plan import LossPlan, NetworkPlan, PlanError, SchedulePlan, StagePlan, gan_plan, net_plan
from sr_kernel.train.schedule import share_at
from sr_kernel.train.score import psnr, ssim
from sr_kernel.train.stage import step
from sr_kernel.train.state import Start, TrainState, make_state
from sr_kernel.weights import describe_file, load_state
from tests.basicsr_reference import reference_module, reference_network
from tests.outside import require
from tests.pictures import photo
from tests.sr_kernel.test_hostile_weights import PTH, archive, torch_file
from tests.sr_kernel.train.batches import RRDB, SRVGG, pairs

GAN = replace(
    gan_plan(SRVGG), losses=LossPlan(gan=0.1), discriminator_features=4, schedule=SchedulePlan(iterations=50, rate=1e-3)
)


def moved(state: TrainState, first: int, last: int) -> list[dict[str, float]]:
    """The losses of iterations first..last, each on pairs of its own."""
    made = [step(state, pairs(2, seed=number)) for number in range(first, last + 1)]
    return [{name: float(loss) for name, loss in losses.items()} for losses in made]


@pytest.mark.parametrize("plan", [net_plan(RRDB), GAN], ids=["net", "gan"])
def test_a_checkpoint_goes_on_with_the_same_losses(plan: StagePlan) -> None:
    state = make_state(plan, Start(), seed=1)
    moved(state, 1, 3)
    kept = save_state(state, "one")
    onward = moved(state, 4, 6)
    again = make_state(plan, Start(), seed=2)
    restore_state(again, kept, "one", "kept")
    assert again.iteration == 3
    assert moved(again, 4, 6) == onward
    assert save_state(again, "one") == save_state(state, "one")


def test_a_checkpoint_of_another_training_or_damaged_is_refused() -> None:
    state = make_state(net_plan(SRVGG), Start())
    kept = save_state(state, "one")
    with pytest.raises(CheckpointError, match="another configuration"):
        restore_state(state, kept, "other", "kept")
    with pytest.raises(CheckpointError, match="cannot be read"):
        restore_state(state, kept[: len(kept) // 2], "one", "kept")
    with pytest.raises(CheckpointError, match="version 99"):
        restore_state(state, torch_file({"schema": 99}), "one", "kept")
    with pytest.raises(CheckpointError, match="version None"):
        restore_state(state, torch_file({}), "one", "kept")


def spoilt(kept: bytes, **other: object) -> bytes:
    """A checkpoint with other values under some of its names; those that are None are not there."""
    content = {**torch.load(io.BytesIO(kept), weights_only=True), **other}
    return torch_file({name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize("how", sorted(PTH))
def test_nothing_in_a_checkpoint_is_run(how: str, tmp_path: Path) -> None:
    state, mark = make_state(net_plan(SRVGG), Start()), tmp_path / "ran"
    with pytest.raises(CheckpointError, match="kept: "):
        restore_state(state, PTH[how](f"touch {mark}"), "one", "kept")
    assert not mark.exists()


def test_a_checkpoint_that_would_take_more_than_the_training_is_not_read() -> None:
    state = make_state(net_plan(SRVGG), Start())
    kept, most = save_state(state, "one"), most_bytes(state)
    assert len(kept) < most
    with pytest.raises(CheckpointError, match="larger than any"):
        restore_state(state, kept + bytes(most), "one", "kept")
    wide = torch.zeros(1).expand(most // 4 + 1)  # four bytes in the file
    with pytest.raises(CheckpointError, match="larger than any"):
        restore_state(state, spoilt(kept, more=[{"wide": wide}]), "one", "kept")
    squeezed = archive({"a/data.pkl": b"\x80\x02}.", "a/data/0": bytes(most)}, squeezed=True)
    with pytest.raises(CheckpointError, match="unpacks to"):
        restore_state(state, squeezed, "one", "kept")
    plain = io.BytesIO()
    torch.save({"schema": 1}, plain, _use_new_zipfile_serialization=False)  # older torch: reads what sizes it names
    with pytest.raises(CheckpointError, match="none of farm train"):
        restore_state(state, plain.getvalue(), "one", "kept")


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": None},
        {"iteration": "a"},
        {"network": None},
        {"network": [1]},
        {"optimiser": {}},
        {"random": torch.zeros(3)},
        {"average": {"body.0.weight": torch.zeros(1)}},
    ],
    ids=str,
)
def test_a_checkpoint_that_lacks_something_is_refused(other: dict[str, object]) -> None:
    state = make_state(net_plan(SRVGG), Start())
    moved(state, 1, 1)
    kept = save_state(state, "one")
    with pytest.raises(CheckpointError, match="kept: "):
        restore_state(make_state(net_plan(SRVGG), Start()), spoilt(kept, **other), "one", "kept")
    content = torch.load(io.BytesIO(kept), weights_only=True)
    content["optimiser"]["state"][0]["exp_avg"] = torch.zeros(2)
    with pytest.raises(CheckpointError, match="lacks"):
        restore_state(make_state(net_plan(SRVGG), Start()), torch_file(content), "one", "kept")


@pytest.mark.parametrize("network", [SRVGG, RRDB, replace(RRDB, scale=2)], ids=["srvgg", "rrdb", "rrdb x2"])
def test_exported_weights_restore_as_they_were_trained(network: NetworkPlan, tmp_path: Path) -> None:
    state = make_state(replace(net_plan(network), ema=0.5), Start(), seed=1)
    side = {4: 64, 2: 32}[network.scale]
    batch = pairs(2, side)
    for _ in range(2):
        step(state, replace(batch, lq=torch.nn.functional.avg_pool2d(batch.gt, network.scale)))
    x = torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = state.average(x)
        plain = state.network(x)
    assert not torch.allclose(expected, plain, atol=1e-6)
    for name, data in (("net.pth", to_pth(state)), ("net.safetensors", to_safetensors(state))):
        path = tmp_path / name
        path.write_bytes(data)
        spec = describe_file(path)
        assert (spec.arch, spec.scale, spec.blocks) == (network.kind, network.scale, network.blocks)
        weights = load_state(path, spec)
        whole = Box(x0=0, y0=0, x1=20, y1=16)
        with torch.inference_mode():
            ours = ARCHS[spec.arch].make(spec, weights, torch.empty(0), trimmed=False)(x, whole).permute(0, 3, 1, 2)
            theirs = reference_network(spec, weights)(x)
        assert torch.allclose(ours, expected, atol=1e-5)
        assert torch.allclose(theirs, expected, atol=1e-5)
    assert torch.equal(
        torch.load(tmp_path / "net.pth", weights_only=True)["params"][
            "body.0.weight" if network.kind == "srvgg" else "conv_first.weight"
        ],
        next(iter(state.network.parameters())),
    )


def test_discriminators_have_upstreams_names() -> None:
    state = make_state(GAN, Start())
    moved(state, 1, 1)
    weights: dict[str, Tensor] = torch.load(io.BytesIO(opponent_to_pth(state)), weights_only=True)["params"]
    theirs = reference_module("archs.discriminator_arch").UNetDiscriminatorSN(3, num_feat=4)
    theirs.load_state_dict(weights, strict=True)
    again = make_state(GAN, Start(opponent=theirs.state_dict()), seed=9)
    assert opponent_to_pth(again) == opponent_to_pth(state)


def test_weights_that_do_not_fit_are_refused() -> None:
    other = make_state(net_plan(replace(SRVGG, features=10)), Start())
    with pytest.raises(ValueError, match="do not fit the plan"):
        make_state(net_plan(SRVGG), Start(network=other.network.state_dict()))
    with pytest.raises(ValueError, match="VGG19"):
        make_state(gan_plan(SRVGG), Start())
    with pytest.raises(ValueError, match="VGG19"):
        make_state(gan_plan(SRVGG), Start(vgg={"features.0.weight": torch.zeros(1)}))
    with pytest.raises(ValueError, match="fp16"):
        make_state(replace(net_plan(SRVGG), precision="fp16"), Start())


@pytest.mark.parametrize("scale", [2, 4])
def test_a_network_can_begin_as_bicubic(scale: int) -> None:
    """Away from borders, where it reads zeros and a resampler mirrors."""
    network = make_state(net_plan(replace(SRVGG, scale=scale, features=32, init="bicubic")), Start()).network
    poor = torch.rand(2, 3, 13, 11)
    wanted = resize_to(poor, 13 * scale, 11 * scale, "matlab")
    inner = slice(4 * scale, -4 * scale)
    assert torch.allclose(network(poor)[..., inner, inner], wanted[..., inner, inner], atol=1e-5)
    with pytest.raises(ValueError, match="27"):
        replace(SRVGG, features=26, init="bicubic")


def test_rates_follow_the_schedule() -> None:
    steps = SchedulePlan(iterations=100, milestones=(10, 20), gamma=0.5, warmup=4)
    assert [share_at(steps, at) for at in (1, 2, 4, 10, 11, 20, 21)] == [0.25, 0.5, 1, 1, 0.5, 0.5, 0.25]
    cosine = SchedulePlan(iterations=100, kind="cosine", least=0.1)
    assert share_at(cosine, 1) == 1
    assert share_at(cosine, 51) == pytest.approx(0.55)
    assert share_at(cosine, 101) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NetworkPlan(kind="rrdb", scale=3),
        lambda: NetworkPlan(features=0),
        lambda: SchedulePlan(milestones=(2, 1)),
        lambda: SchedulePlan(rate=float("nan")),
        lambda: LossPlan(pixel=0.0),
        lambda: LossPlan(toward_bicubic=1.5),
        lambda: LossPlan(layers=(("conv9_9", 1.0),)),
        lambda: StagePlan(stage="gan"),
        lambda: StagePlan(ema=1.0),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong: object) -> None:
    with pytest.raises(PlanError, match=r"plan: \w+\.\w+ = "):
        wrong()  # pyright: ignore[reportCallIssue]


def test_scores_are_those_of_basicsr() -> None:
    metrics = reference_module("metrics.psnr_ssim")
    good = photo(1, 61, 47)
    noise = np.random.default_rng(0).normal(0, 9, good.shape)
    made = np.clip(good + noise, 0, 255).astype(np.uint8)
    for crop in (0, 4):
        assert psnr(made, good, crop) == pytest.approx(metrics.calculate_psnr(made, good, crop), abs=1e-9)
        assert ssim(made, good, crop) == pytest.approx(metrics.calculate_ssim(made, good, crop), abs=1e-7)
    assert psnr(good, good) == float("inf")
    assert ssim(good, good) == pytest.approx(1)
    with pytest.raises(ValueError, match="smaller than 11"):
        ssim(good[:16, :16], good[:16, :16])


@pytest.mark.parametrize("network", [SRVGG, RRDB, replace(RRDB, scale=2)], ids=["srvgg", "rrdb", "rrdb x2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_computes_what_the_network_does_at_any_size(network: NetworkPlan) -> None:
    require("onnx", find_spec("onnx"))
    onnx = importlib.import_module("onnx")
    state = make_state(net_plan(network), Start())
    made = onnx.load_from_string(to_onnx(state))
    onnx.checker.check_model(made, full_check=True)
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(made)
    for height, width in ((6, 8), (9, 5)):
        lq = torch.rand(1, 3, height * network.align_px, width * network.align_px)
        (found,) = evaluator.run(None, {"input": lq.numpy()})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(found), state.average(lq), atol=1e-5)
    ends = [*made.graph.input, *made.graph.output]
    shapes = [[one.dim_param or one.dim_value for one in end.type.tensor_type.shape.dim] for end in ends]
    assert [end.name for end in ends] == ["input", "output"]
    assert all(shape[1] == 3 and all(isinstance(shape[at], str) for at in (0, 2, 3)) for shape in shapes)
    convs = sum(node.op_type == "Conv" for node in made.graph.node)
    assert convs == sum(one.dim() == 4 for one in make_state(net_plan(network), Start()).network.parameters())
