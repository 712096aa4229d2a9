"""A training with one worker that is to be watched is on Ray's dashboard, and tells Prometheus what it tells people."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time
import urllib.request
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.farm.training.sets import CONFIG, make_config, make_pairs
from tests.sr_kernel.train.batches import lpips_weights

from ..chaos.watch import check_gone
from ..metrics_page import TRAININGS
from ..nodes import free_port
from ..outside import require, require_prometheus
from ..prometheus import FAST, Prometheus, plain, prometheus, scrape
from ..runs import Farm
from ..waiting import wait_for

pytestmark = pytest.mark.timeout(600)
ITERATIONS = 100_000
ENDLESS = CONFIG.replace("iterations = 12", f"iterations = {ITERATIONS}").replace("every = 4", f"every = {ITERATIONS}")
ENDLESS = ENDLESS.replace("log = 2", "log = 20").replace("every = 6", "every = 100")
WATCHED = ENDLESS.replace('pairs = "pairs"\nevery', 'pairs = "unseen"\nlpips = "alexnet.pth"\nevery')
REPORT = re.compile(r"(\d+)/\d+ ([\d.]+) it/s, .* left, rate ([\d.e+-]+), pixel ([\d.e+-]+)")
VALIDATION = re.compile(
    r"\d+ validated on 2: PSNR ([\d.]+) dB \(Lanczos ([\d.]+)\), SSIM ([\d.]+), NIQE ([\d.]+), LPIPS ([\d.]+)"
)


@dataclass
class Seen:
    """What was seen of one training from outside."""

    metrics: list[dict[tuple[str, str], float]] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    """of a real Prometheus, by query"""
    trainings: list[dict[str, Any]] = field(default_factory=list)
    """what the dashboard's page of trainings is made of"""
    actors: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """what people were told"""
    exit_code: int = 0

    def told(self) -> set[str]:
        return {name for found in self.metrics for name, _ in found}

    def of(self, name: str, label: str = "") -> set[float]:
        return {found[name, label] for found in self.metrics if (name, label) in found}


def asked(url: str, path: str, token: str) -> Any:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def files(folder: Path) -> Path:
    """A configuration with pictures large enough for all figures, AlexNet's weights and the package lpips."""
    config = make_config(folder, WATCHED)
    make_pairs(str(folder / "unseen"), 2, side=200)
    alexnet, linear = lpips_weights()
    torch.save(alexnet, folder / "alexnet.pth")
    (folder / "site/lpips/weights/v0.1").mkdir(parents=True)
    (folder / "site/lpips/__init__.py").touch()
    torch.save(linear, folder / "site/lpips/weights/v0.1/alex.pth")
    return config


def watch(seen: Seen, port: int, server: Prometheus | None, begun: float) -> bool:
    """One look from outside; whether all that there is has been seen, and twice a validation."""
    if found := scrape(port, seen.runs, TRAININGS):
        seen.metrics.append(found)
    if server:
        for query in TRAININGS.queries():
            seen.answers[query] = server.ask(plain(query), time.monotonic() - begun)
    answered = server is None or all(seen.answers.values())
    return answered and seen.told() == TRAININGS.documented().keys() and len(seen.of("ray_farm_train_ssim")) > 1


@pytest.fixture(scope="module")
def seen(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    folder, seen, port = tmp_path_factory.mktemp("watched"), Seen(), free_port()
    config, program = files(folder / "set"), shutil.which("prometheus")
    paths = str(folder / "set/site")
    flags = ("--stage", "net", "--workers", "1", "--threads", "1", "--out", folder / "out", "--dashboard")
    environment = {**FAST, "RAY_ADDRESS": "", "PYTHONPATH": paths}
    with prometheus(program, folder, port) if program else nullcontext() as server:
        begun = time.monotonic()
        driver = farm.start("train", config, *flags, "--metrics-port", str(port), env=environment)
        assert driver.stderr is not None
        reader = threading.Thread(target=lambda: seen.lines.extend(driver.stderr or ()))
        reader.start()
        try:
            where = wait_for(
                lambda: next((one for one in seen.lines if one.startswith("dashboard: ")), ""), "where it is"
            )
            found = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:\d+) \(it asks for a token: cat (\S+)\)\n", where)
            assert found, where
            token = Path(found[2]).read_text()
            wait_for(lambda: watch(seen, port, server, begun), "all that is told", pause_s=0.5)
            seen.trainings = asked(found[1], "/api/train/v2/runs/v1", token)["train_runs"]
            seen.actors = asked(found[1], "/api/v0/actors?detail=1", token)["data"]["result"]["result"]
            family = set(psutil.Process(driver.pid).children(recursive=True))
            driver.send_signal(signal.SIGTERM)
            seen.exit_code = driver.wait(60)
            check_gone(family, 10)
        finally:
            driver.kill()
            driver.wait()
            reader.join()
    return seen


def test_every_documented_metric_is_told_and_no_other(seen: Seen) -> None:
    assert seen.told() == TRAININGS.documented().keys()
    assert len(seen.runs) == 1
    assert seen.exit_code == 143, seen.lines[-20:]


def test_what_is_told_is_what_people_are_told(seen: Seen) -> None:
    reports = [match for line in seen.lines if (match := REPORT.match(line))]
    validations = [match for line in seen.lines if (match := VALIDATION.match(line))]
    assert reports
    assert validations
    at = {int(report[1]) for report in reports}
    assert seen.of("ray_farm_train_iterations_total") <= at
    assert {round(share * ITERATIONS) for share in seen.of("ray_farm_train_progress_ratio")} <= at
    assert {f"{one:.4g}" for one in seen.of("ray_farm_train_loss", "pixel")} <= {report[4] for report in reports}
    assert {f"{one:.2f}" for one in seen.of("ray_farm_train_iterations_per_second")} <= {one[2] for one in reports}
    assert {f"{one:.2g}" for one in seen.of("ray_farm_train_learning_rate")} == {report[3] for report in reports}
    assert seen.of("ray_farm_train_workers") == {1}
    named = (("psnr_decibels", "restored", ".2f"), ("psnr_decibels", "lanczos", ".2f"))
    named += (("ssim", "", ".4f"), ("niqe", "", ".2f"), ("lpips", "", ".4f"))
    for place, (name, label, form) in enumerate(named, 1):
        found = {format(one, form) for one in seen.of(f"ray_farm_train_{name}", label)}
        assert found
        assert found <= {validation[place] for validation in validations}, name
    assert all(10 < one < 1e6 for one in seen.of("ray_farm_train_eta_seconds"))


def test_the_dashboard_shows_the_training_by_its_name(seen: Seen) -> None:
    (run,) = seen.runs
    (training,) = seen.trainings
    assert training["name"] == f"train-net-tiny-{run}"
    assert training["status"] == "RUNNING"
    assert [len(attempt["workers"]) for attempt in training["attempts"]] == [1]
    (named,) = (actor for actor in seen.actors if actor["class_name"] == "Post")
    assert (named["name"], named["ray_namespace"], named["state"]) == ("train-net-tiny", f"farm-{run}", "ALIVE")


def test_every_query_of_the_dashboard_is_answered_by_a_real_prometheus(seen: Seen) -> None:
    require_prometheus()
    assert seen.answers.keys() == set(TRAININGS.queries())
    assert [query for query, answer in seen.answers.items() if not answer] == []
