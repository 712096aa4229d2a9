"""What a training starts from when nobody says, and by the names of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farm.errors import ModelError
from farm.training import load_config
from farm.training.config import TrainConfig
from farm.training.weights import load_start, start_in_words, start_of
from sr_kernel.models import MODELS
from sr_kernel.train.discriminator import Discriminator
from sr_kernel.train.networks import make_network
from sr_kernel.train.plan import NetworkPlan, Stage
from sr_kernel.train.state import Start, make_state
from tests.farm.training.sets import CONFIG, make_config


def config_of(folder: Path, stage: Stage) -> TrainConfig:
    return load_config(str(make_config(folder, CONFIG)), stage)


def of_rrdb(config: TrainConfig, network: NetworkPlan) -> TrainConfig:
    return replace(config, plan=replace(config.plan, network=network))


def test_stages_start_as_published_where_that_is_known(tmp_path: Path) -> None:
    """From ESRGAN, and then from stage net; of others stage net begins fresh, and stage gan where it is told to."""
    net, gan = (config_of(tmp_path / stage, stage) for stage in ("net", "gan"))
    assert [start_of(of_rrdb(one, NetworkPlan())) for one in (net, gan)] == ["esrgan-df2kost", "net-x4plus"]
    assert MODELS["esrgan-df2kost"].file.startswith("ESRGAN_SRx4_DF2KOST_official")
    assert MODELS["net-x4plus"].file == "RealESRNet_x4plus.pth"
    assert [start_of(one) for one in (of_rrdb(net, NetworkPlan(blocks=6)), net)] == ["none", "none"]
    for one in (of_rrdb(gan, NetworkPlan(blocks=6)), gan):
        with pytest.raises(ModelError, match=r"--from FILE, or start from random ones by --from none") as caught:
            load_start(one)
        assert caught.value.exit_code == 78
        assert load_start(one, resumed=True).network is None
        assert start_of(replace(one, start="none")) == "none"
    assert start_of(replace(of_rrdb(net, NetworkPlan()), start="none")) == "none"
    assert start_of(replace(net, start="x4plus")) == "x4plus"


def test_what_fits_of_a_start_is_taken_where_not_all_has_to(tmp_path: Path) -> None:
    """As x2 from x4, whose first convolution reads three channels and not twelve."""
    small = NetworkPlan(blocks=1, features=8, growth=4)
    torch.manual_seed(4)
    theirs = make_network(small).state_dict()
    torch.save({"params_ema": theirs}, tmp_path / "x4.pth")
    config = of_rrdb(config_of(tmp_path / "set", "net"), replace(small, scale=2))
    config = replace(config, start=str(tmp_path / "x4.pth"))
    with pytest.raises(ValueError, match=r"do not fit the plan: .*conv_first\.weight"):
        make_state(config.plan, load_start(config))
    said: list[str] = []
    state = make_state(config.plan, load_start(replace(config, strict=False), said=said.append), seed=1)
    (line,) = said
    assert f"of {len(theirs)} tensors of {config.start} 1 do not fit and are left; 1 of the network's" in line
    for network in (state.network, state.average):
        begun = network.state_dict()
        assert [key for key, one in begun.items() if not torch.equal(one, theirs[key])] == ["conv_first.weight"]
    fresh = make_state(config.plan, Start(), seed=1).network.state_dict()
    assert torch.equal(state.network.state_dict()["conv_first.weight"], fresh["conv_first.weight"])
    other = replace(config_of(tmp_path / "set", "net"), start=config.start, strict=False)
    with pytest.raises(ModelError, match="no tensor of it fits"):
        load_start(other)


def test_the_network_and_its_average_begin_with_weights_of_their_own(tmp_path: Path) -> None:
    """As basicsr's, of a file that a training has left; which has one set only, serves for both."""
    config = replace(config_of(tmp_path / "set", "net"), start=str(tmp_path / "a.pth"), start_key="params")
    torch.manual_seed(4)
    params, averages = (make_network(config.plan.network).state_dict() for _ in range(2))
    for kept, wanted in (
        ({"params": params, "params_ema": averages}, (params, averages)),
        ({"params_ema": averages}, (averages, averages)),
        ({"params": params}, (params, params)),
    ):
        torch.save(kept, config.start)
        state = make_state(config.plan, load_start(config))
        for network, theirs in zip((state.network, state.average), wanted, strict=True):
            assert all(torch.equal(one, theirs[key]) for key, one in network.state_dict().items())
    torch.save({"params": params, "params_ema": averages}, config.start)
    begun = load_start(replace(config, start_key=""))
    assert begun.network is not None
    assert all(torch.equal(one, averages[key]) for key, one in begun.network.items())


def test_what_a_training_starts_from_is_said(tmp_path: Path) -> None:
    net, gan = (config_of(tmp_path / stage, stage) for stage in ("net", "gan"))
    assert start_in_words(net) == "starts from random weights"
    assert start_in_words(of_rrdb(net, NetworkPlan())) == "starts from esrgan-df2kost"
    begun = replace(gan, start="/net.pth")
    assert start_in_words(begun) == "starts from /net.pth, its discriminator from random weights"
    begun = replace(of_rrdb(gan, NetworkPlan()), opponent="x4plus-netd")
    assert start_in_words(begun) == "starts from net-x4plus, its discriminator from x4plus-netd"


@pytest.mark.parametrize("name", ["x4plus-netd", "x2plus-netd"])
def test_stage_gan_takes_a_discriminator_by_name(name: str, tmp_path: Path) -> None:
    """Of the weight folders; its file holds `params`, as upstream's."""
    gan = replace(config_of(tmp_path / "set", "gan"), start="none", opponent=name)
    with pytest.raises(ModelError, match=rf"{name}: {MODELS[name].file} is not in .*--net-d none"):
        load_start(gan, str(tmp_path / "weights"))
    torch.manual_seed(5)
    theirs = Discriminator(gan.plan.discriminator_features).state_dict()
    (tmp_path / "weights").mkdir()
    torch.save({"params": theirs}, tmp_path / "weights" / MODELS[name].file)
    state = make_state(gan.plan, load_start(gan, str(tmp_path / "weights")))
    assert state.opponent is not None
    begun = state.opponent.network.state_dict()
    assert begun.keys() == theirs.keys()
    assert all(torch.equal(one, theirs[key]) for key, one in begun.items())
    assert load_start(gan, str(tmp_path / "weights"), resumed=True).opponent is None
