"""Workers of farm train through Ray Train, on a Ray of the command or on a cluster, learn what one alone learns."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
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
from ..runs import REPOSITORY, Farm
from ..waiting import wait_for

pytestmark = pytest.mark.timeout(900)  # Ray Train starts a dozen processes, one after the other
HERE = {"RAY_ADDRESS": ""}
PATIENCE_S = 400.0
SOON_OVER = "--dashboard"
"""without one Ray Train asks in vain for ten seconds, at each end of a group of workers, whether it is over"""


def words(config: Path, workers: int, out: Path) -> tuple[str | Path, ...]:
    """A training of twelve iterations; a checkpoint follows each fourth."""
    return ("train", config, "--stage", "net", "--workers", str(workers), "--threads", "1", "--out", out)


def train(farm: Farm, config: Path, out: Path, workers: int, env: dict[str, str]) -> None:
    made = replace(farm, timeout_s=PATIENCE_S).run(*words(config, workers, out), env=env)
    assert made.returncode == 0, made.stderr
    assert "12 validated on 2: PSNR" in made.stderr
    assert "trained to iteration 12" in made.stderr


def weights(out: Path) -> dict[str, Tensor]:
    """The averaged ones, at the end."""
    return torch.load(out / "weights/tiny-000000012.pth", weights_only=True)["params_ema"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    return make_config(tmp_path_factory.mktemp("trained"))


def undisturbed(farm: Farm, config: Path, workers: int) -> Path:
    """What so many workers leave; by relative paths, although Ray Train gives each a working folder of its own."""
    out = config.parent / f"of-{workers}"
    relative, relative_out = (Path(os.path.relpath(path, REPOSITORY)) for path in (config, out))
    train(farm, relative, relative_out, workers, HERE)
    return out


@pytest.fixture(scope="module")
def of_one(farm: Farm, config: Path) -> Path:
    return undisturbed(farm, config, 1)


@pytest.fixture(scope="module")
def of_two(farm: Farm, config: Path) -> Path:
    return undisturbed(farm, config, 2)


def test_two_workers_learn_what_one_learns(of_one: Path, of_two: Path) -> None:
    """Losses are of all."""
    alone = weights(of_one)
    assert all(torch.allclose(one, alone[name], atol=1e-4) for name, one in weights(of_two).items())
    assert losses(of_two) == pytest.approx(losses(of_one), rel=1e-4)


def until_hung(mark: Path, driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Until a worker hangs, which makes the mark; all that train."""
    wait_for(lambda: mark.exists() or driver.poll() is not None, "a worker hangs", PATIENCE_S)
    assert driver.poll() is None, driver.communicate()[1]
    family = psutil.Process(driver.pid).children(recursive=True)
    return [one for one in family if "RayTrainWorker" in title(one.pid)]


def test_a_worker_that_is_killed_changes_no_loss(farm: Farm, config: Path, of_one: Path, tmp_path: Path) -> None:
    """In the middle of the second checkpoint, of which weights and log are there already."""
    out, mark = tmp_path / "out", tmp_path / "hung"
    hangs = {"FARM_FAILPOINTS": f"storage.publish.before~*/000000008.ckpt=hang,once={mark}"}
    driver = farm.start(*words(config, 1, out), SOON_OVER, env={**HERE, **hangs})
    (worker,) = until_hung(mark, driver)
    worker.kill()
    _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    assert re.findall(r"^a worker died \(.*\); all go on after iteration (\d+)$", said, re.MULTILINE) == ["4"], said
    assert len(losses(of_one)) == 6
    assert losses(out) == pytest.approx(losses(of_one), rel=1e-5)


def test_workers_that_die_change_no_loss(farm: Farm, config: Path, of_two: Path, tmp_path: Path) -> None:
    """Of two the first one in the middle of the first checkpoint, and the second one while the first hangs in the next
    one: whoever is left waits for the other's gradients, or for nothing any more, and is ended too."""
    out, mark = tmp_path / "out", tmp_path / "hung"
    kill = f"storage.publish.before~*.ckpt=kill,once={tmp_path / 'killed'}"
    hang = f"storage.publish.before~*/000000008.ckpt=hang,once={mark}"
    driver = farm.start(*words(config, 2, out), SOON_OVER, env={**HERE, "FARM_FAILPOINTS": f"{kill};{hang}"})
    (second,) = (one for one in until_hung(mark, driver) if not writes_below(out, one))
    assert (tmp_path / "killed").exists()
    second.kill()
    _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    again = re.findall(r"^a worker died \(.*\); all go on after iteration (\d+)$", said, re.MULTILINE)
    assert again == ["0", "4"], said
    assert losses(out) == pytest.approx(losses(of_two), rel=1e-5)


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


def test_one_worker_trains_on_a_cluster(
    farm: Farm, config: Path, of_one: Path, tmp_path: Path, cluster: dict[str, str]
) -> None:
    """There a process of its own loads its pairs, which changes nothing."""
    text = CONFIG.replace("loaders = 0", "loaders = 1")
    train(farm, make_config(tmp_path / "set", text), tmp_path / "out", 1, cluster)
    here = weights(of_one)
    assert all(torch.allclose(one, here[name], atol=1e-6) for name, one in weights(tmp_path / "out").items())
