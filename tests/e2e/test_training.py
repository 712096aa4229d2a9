"""Workers of farm train through Ray Train, on a Ray of the command or on a cluster, learn what one alone learns."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from tests.farm.training.sets import CONFIG, make_config
from tests.outside import require

from ..chaos.watch import title
from ..nodes import free_port
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
    return weights(REPOSITORY / out / "weights/tiny-000000012.pth")


def weights(path: Path) -> dict[str, Tensor]:
    """The averaged ones."""
    return torch.load(path, weights_only=True)["params_ema"]


def test_two_workers_learn_what_one_learns(farm: Farm, tmp_path: Path) -> None:
    """By relative paths, although Ray Train gives each worker a working folder of its own; losses are of all."""
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    config = Path(os.path.relpath(make_config(tmp_path / "set"), REPOSITORY))
    outs = [Path(os.path.relpath(tmp_path / name, REPOSITORY)) for name in ("one", "two")]
    alone, both = (trained(farm, config, out, at, {"RAY_ADDRESS": ""}) for at, out in enumerate(outs, 1))
    assert all(torch.allclose(one, alone[name], atol=1e-4) for name, one in both.items())
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_a_worker_that_is_killed_changes_no_loss(farm: Farm, tmp_path: Path) -> None:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    text = CONFIG.replace("iterations = 12", "iterations = 120").replace("every = 4", "every = 20")
    config = make_config(tmp_path / "set", text.replace("every = 6", "every = 60"))
    command = ("train", config, "--stage", "net", "--workers", "1", "--threads", "1", "--out")
    on_ray = ("--metrics-port", str(free_port()))
    driver = farm.start(*command, tmp_path / "killed", *on_ray, env={"RAY_ADDRESS": ""})
    wait_for(lambda: list((tmp_path / "killed").glob("checkpoints/*")) or driver.poll() is not None, "a checkpoint")
    assert driver.poll() is None
    family = psutil.Process(driver.pid).children(recursive=True)
    next(one for one in family if "RayTrainWorker" in title(one.pid)).kill()
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    assert re.search(r"^a worker died \(.*\); all go on after iteration \d+0$", said, re.MULTILINE), said
    made = farm.run(*command, tmp_path / "whole", env={"RAY_ADDRESS": ""})
    assert made.returncode == 0, made.stderr
    killed, whole = (losses(tmp_path / name) for name in ("killed", "whole"))
    assert len(whole) == 60
    assert killed == pytest.approx(whole, rel=1e-5)


def test_workers_that_die_change_no_loss(farm: Farm, tmp_path: Path) -> None:
    """Of two the first one in the middle of the first checkpoint, and the second one later: whoever is left waits for
    the other's gradients and is ended too."""
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    text = CONFIG.replace("iterations = 12", "iterations = 240").replace("every = 4", "every = 40")
    config = make_config(tmp_path / "set", text.replace("every = 6", "every = 120"))
    command = ("train", config, "--stage", "net", "--threads", "1", "--out")
    rule = f"storage.publish.before~*.ckpt=kill,once={tmp_path / 'once'}"
    killed = tmp_path / "killed"
    environment = {"RAY_ADDRESS": "", "FARM_FAILPOINTS": rule}
    driver = farm.start(*command, killed, "--workers", "2", env=environment)
    wait_for(lambda: list(killed.glob("checkpoints/*")) or driver.poll() is not None, "a checkpoint", 120)
    assert driver.poll() is None, driver.communicate()[1]
    assert (tmp_path / "once").exists()
    family = psutil.Process(driver.pid).children(recursive=True)
    next(one for one in family if "RayTrainWorker" in title(one.pid) and not writes_below(killed, one)).kill()
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    again = re.findall(r"^a worker died \(.*\); all go on after iteration (\d+)$", said, re.MULTILINE)
    assert len(again) == 2, said
    assert again[0] == "0"
    assert int(again[1]) % 40 == 0
    made = farm.run(*command, tmp_path / "whole", "--workers", "2", env={"RAY_ADDRESS": ""})
    assert made.returncode == 0, made.stderr
    assert len(losses(tmp_path / "whole")) == 120
    assert losses(killed) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def writes_below(out: Path, process: psutil.Process) -> bool:
    """As the first worker does, which has TensorBoard's file open."""
    return any(Path(file.path).is_relative_to(out) for file in process.open_files())


def losses(out: Path) -> list[float]:
    """Of all lines of the log."""
    lines = [json.loads(line) for path in sorted((out / "log").iterdir()) for line in path.read_text().splitlines()]
    return [line["pixel"] for line in lines if "pixel" in line]


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
    config = make_config(tmp_path / "set", CONFIG.replace("loaders = 0", "loaders = 1"))
    there = trained(farm, config, tmp_path / "there", 1, cluster)
    here = trained(farm, config, tmp_path / "here", 1, {"RAY_ADDRESS": ""})
    assert all(torch.allclose(one, here[name], atol=1e-6) for name, one in there.items())
