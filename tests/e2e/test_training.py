"""Workers of farm train through Ray Train, on a Ray of the command or on a cluster, learn what one alone learns."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.farm.training.sets import make_config
from tests.outside import require

from ..runs import REPOSITORY, Farm
from ..waiting import wait_for

pytestmark = pytest.mark.timeout(900)  # Ray Train starts a dozen processes, one after the other


def trained(farm: Farm, config: Path, out: Path, workers: int, env: dict[str, str]) -> dict[str, Tensor]:
    """The averaged weights of twelve iterations."""
    flags = ("--stage", "net", "--workers", str(workers), "--threads", "1", "--out", out)
    made = replace(farm, timeout_s=400).run("train", config, *flags, env=env)
    assert made.returncode == 0, made.stderr
    assert "12 validated on 2: PSNR" in made.stderr
    assert "trained to iteration 12" in made.stderr
    kept = REPOSITORY / out / "weights/tiny-000000012.pth"
    return torch.load(kept, weights_only=True)["params_ema"]


def test_two_workers_learn_what_one_learns(farm: Farm, tmp_path: Path) -> None:
    """By relative paths, although Ray Train gives each worker a working folder of its own."""
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    config = Path(os.path.relpath(make_config(tmp_path / "set"), REPOSITORY))
    outs = [Path(os.path.relpath(tmp_path / name, REPOSITORY)) for name in ("one", "two")]
    alone, both = (trained(farm, config, out, at, {"RAY_ADDRESS": ""}) for at, out in enumerate(outs, 1))
    assert all(torch.allclose(one, alone[name], atol=1e-4) for name, one in both.items())


@pytest.mark.parametrize("at", ["farm-ray-*/session_*", "**/farm-train-*/*"], ids=["Ray", "workers"])
def test_a_signal_while_something_starts_leaves_nothing(at: str, farm: Farm, tmp_path: Path) -> None:
    """Ray Train cannot be told to stop yet, so the command ends in the middle of it."""
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    config = make_config(tmp_path / "set")
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as temp:  # short: sockets lie in it
        command = ("train", config, "--stage", "net", "--workers", "2", "--out", tmp_path / "out")
        process = farm.start(*command, env={"RAY_ADDRESS": "", "TMPDIR": temp})
        wait_for(lambda: list(Path(temp).glob(at)) or process.poll() is not None, f"{at} is there", pause_s=0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors
        assert not list(Path(temp).glob("farm-*"))


def test_one_worker_trains_on_a_cluster(farm: Farm, tmp_path: Path, cluster: dict[str, str]) -> None:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    config = make_config(tmp_path / "set")
    there = trained(farm, config, tmp_path / "there", 1, cluster)
    here = trained(farm, config, tmp_path / "here", 1, {"RAY_ADDRESS": ""})
    assert all(torch.allclose(one, here[name], atol=1e-6) for name, one in there.items())
