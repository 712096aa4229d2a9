"""A run on a cluster of several nodes says what it does, at Ray's port and to a real Prometheus that asks there, as the
page says. It comes from outside, through the Jobs API, loses a node, and makes what it would have made anyway."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from farm.ledger import iter_results
from farm.tasks.memory import memory_share

from ..chaos.watch import Watch, check_clean, check_identical, title
from ..clips import h264
from ..metrics_page import RUNS
from ..nodes import Machines, Node, free_port, machines
from ..outside import require_prometheus
from ..pictures import claimed_png
from ..prometheus import FAST, Prometheus, plain, prometheus, scrape
from ..runs import Farm, actors_of, results, save_picture
from ..waiting import wait_for

pytestmark = pytest.mark.timeout(600)
Make = Callable[..., Path]
WORKERS = 2
PICTURES = 12
"""more than workers hold, so that some wait"""
FLAGS = ("--workers", str(WORKERS), "--batch", "4", "--band-px", "999999999", "--tile-px", "64")
Series = Mapping[tuple[str, str], float]
"""by metric and the label that it has besides `run`"""


@dataclass
class Told:
    """What was told of one run."""

    out: Path
    undisturbed: Path
    """output root of a run of the same, inside the command"""
    job: str = ""
    ended: dict[str, Any] = field(default_factory=dict)
    """how Ray says that the job ended"""
    seen: list[Series] = field(default_factory=list)
    """while it went on"""
    last: Series = field(default_factory=dict)
    """when it was over"""
    runs: set[str] = field(default_factory=set)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    """of a real Prometheus, by query"""

    def largest(self, metric: str) -> float:
        return max((value for told in [*self.seen, self.last] for (name, _), value in told.items() if name == metric))

    def by_label(self, metric: str) -> dict[str, float]:
        return {label: value for (name, label), value in self.last.items() if name == metric}


def sources(folder: Path) -> None:
    """Of each kind of thing that is counted some."""
    folder.mkdir()
    for index in range(PICTURES):
        save_picture(folder / f"{index}.png", 200, 160, seed=index)
    (folder / "film.mp4").write_bytes(h264("mp4"))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (folder / "sizeable.png").write_bytes(claimed_png(1.5 * memory_share(1)))  # a worker is alone on its node


def worker_of(node: Node) -> int:
    """The process of a node's worker; 0 while there is none."""
    return next((one.pid for one in node.look() if title(one.pid).startswith("ray::Worker")), 0)


def until_one_more(watch: Watch) -> None:
    """Until another row, or a piece of one, is done."""
    watch.look()
    before = watch.done().total()
    wait_for(lambda: watch.look() and watch.done().total() > before, "one more is done", 150, pause_s=0.01)


def until_told(told: Told, cluster: Machines, name: str) -> None:
    """Look at the head's port until something is more than nothing."""

    def is_told() -> bool:
        seen = scrape(cluster.metrics_port, told.runs)
        told.seen += [seen] if seen else []
        return any(value > 0 for (one, _), value in seen.items() if one == name)

    wait_for(is_told, f"{name} is told", pause_s=0.2)


def detached(user: Farm, source: Path, told: Told, cluster: Machines) -> None:
    """Hands the command to the cluster's Jobs API, loses the node whose worker hangs, and looks at the head's port. The
    other one's worker is stopped behind a row until what waits was told, for however short a time it would, and behind
    another until the time left was: the row in between took long, so there is some."""
    made = user.submit(source, told.out, *FLAGS, "--detach", "--json")
    assert made.returncode == 0, made.stderr
    told.job = json.loads(made.stdout)["job"]
    log = user.start("logs", told.job, "--follow", "--json")
    _, works, hangs = cluster.nodes
    worker, watch = wait_for(lambda: worker_of(works), "a worker", 150), Watch(told.out)
    for name in ("ray_farm_queued_parts", "ray_farm_eta_seconds"):
        until_one_more(watch)
        os.kill(worker, signal.SIGSTOP)
        until_told(told, cluster, name)
        os.kill(worker, signal.SIGCONT)
    hangs.lose()
    while log.poll() is None:
        if seen := scrape(cluster.metrics_port, told.runs):
            told.seen.append(seen)
        time.sleep(0.5)
    said, error = log.communicate()
    assert log.returncode == 0, error
    told.ended = json.loads(said.splitlines()[-1])["job"]


def ended(told: Told, cluster: Machines) -> Series:
    """What is told of a run that is over: of each row that it has ended, and not any more how things stand."""

    def found() -> Series | None:
        seen = scrape(cluster.metrics_port, told.runs)
        rows = sum(value for (name, _), value in seen.items() if name == "ray_farm_items_total")
        return seen if rows == PICTURES + 3 and all(name.endswith("_total") for name, _ in seen) else None

    return wait_for(found, "all rows are told, and no gauge any more", 60, pause_s=0.2) or {}


def answers(asked: Prometheus, begun: float) -> dict[str, list[Any]]:
    """To each query, as soon as there is something to all of them; it asks for what is told once a second."""

    def found() -> dict[str, list[Any]] | None:
        said.update({query: asked.ask(plain(query), time.monotonic() - begun) for query in RUNS.queries()})
        return said if all(said.values()) else None

    said: dict[str, list[Any]] = {}
    with suppress(AssertionError):  # a test says which have none
        wait_for(found, "answers", 20, pause_s=0.5)
    return said


@pytest.fixture(scope="module")
def told(slow_farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Of a run on a head and two nodes, of which one is lost on the way."""
    folder = tmp_path_factory.mktemp("metrics")
    source, told = folder / "in", Told(folder / "out", undisturbed=folder / "undisturbed")
    sources(source)
    made = slow_farm.submit(source, told.undisturbed, *FLAGS)
    assert made.returncode == 3, made.stderr
    program, hangs = shutil.which("prometheus"), {"FARM_FAILPOINTS": "infer=hang"}
    with (
        machines([{}, hangs], every=FAST) as cluster,
        prometheus(program, folder, cluster.metrics_port) if program else nullcontext() as asked,
    ):
        begun = time.monotonic()
        user = replace(slow_farm, environment={**slow_farm.environment, **cluster.user})
        detached(user, source, told, cluster)
        told.last = ended(told, cluster)
        if asked:
            told.answers = answers(asked, begun)
    return told


def test_every_documented_metric_is_told_and_no_other(told: Told) -> None:
    names = {name for seen in [*told.seen, told.last] for name, _ in seen}
    assert names == RUNS.documented().keys()
    assert [name for name in RUNS.documented() if told.largest(name) <= 0] == []
    assert len(told.runs) == 1


def test_what_is_told_is_what_the_ledger_says(told: Told) -> None:
    rows = results(told.out)
    done = [row for row in rows if row["status"] == "done"]
    assert told.by_label("ray_farm_items_total") == {"done": PICTURES + 1, "failed": 2}
    assert told.largest("ray_farm_output_bytes_total") == sum(row["bytes"] for row in done)
    assert told.largest("ray_farm_source_bytes_total") == sum(Path(row["source"]).stat().st_size for row in done)
    assert told.largest("ray_farm_source_pixels_total") == sum(row["source_px"] for row in done)
    assert told.largest("ray_farm_frames_total") == sum(row["frames"] for row in done) == 40
    assert told.by_label("ray_farm_out_of_memory_total") == {"part": 1}
    stages = ("read", "decode", "wait", "infer", "encode", "write")
    kept = [f"{stage}_s" for stage in stages]
    spent = [sum(table[name].drop_null().to_pylist()) for table in iter_results(str(told.out), kept) for name in kept]
    assert told.by_label("ray_farm_stage_seconds_total") == pytest.approx(
        dict(zip(stages, spent, strict=True)), abs=0.01
    )


def test_a_run_from_outside_that_loses_a_node_makes_what_it_would_have_made_anyway(told: Told) -> None:
    assert (told.ended["id"], told.ended["exit_code"]) == (told.job, 3), told.ended
    check_identical(told.out, told.undisturbed)
    assert [row for row in results(told.out) if row["error"] in ("worker_died", "timeout")] == []
    check_clean(told.out)


def test_a_lost_node_and_what_its_worker_had_are_told(told: Told) -> None:
    assert told.by_label("ray_farm_worker_deaths_total") == {"node": 1}
    assert 1 <= told.largest("ray_farm_retries_total") <= 4
    assert told.by_label("ray_farm_busy_seconds_total").keys() <= {"upscale-slow-0", "upscale-slow-1"}


def test_counters_never_fall_and_gauges_end_with_the_run(told: Told) -> None:
    counters = {key for key in told.last if key[0].endswith("_total")}
    assert told.last.keys() == counters, "nobody waits for a run that is over"
    for key in counters:
        values = [seen.get(key, 0.0) for seen in [*told.seen, told.last]]
        assert values == sorted(values), key


def test_every_query_of_the_dashboard_is_answered_by_a_real_prometheus(told: Told) -> None:
    require_prometheus()
    assert told.answers.keys() == set(RUNS.queries())
    assert [query for query, answer in told.answers.items() if not answer] == []


def test_a_run_without_a_cluster_is_watched_at_the_port_that_was_asked_for(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    """However fast it is: its worker hangs at one picture until enough was seen, and then both are ended."""
    for index in range(3):
        make_picture(tmp_path / "in" / f"{index}.png", seed=index)
    port, runs = free_port(), set[str]()
    flags = ("--workers", "1", "--metrics-port", str(port))
    hangs = {"FARM_FAILPOINTS": f"decode~*/2.png=hang,once={tmp_path / 'hung'}"}
    driver = farm.start(*farm.submit_args(tmp_path / "in", tmp_path / "out", *flags), env={**FAST, **hangs})
    found: dict[tuple[str, str], float] = {}

    def is_told() -> bool:
        assert driver.poll() is None, driver.communicate()[1]
        found.update(scrape(port, runs))
        return {("ray_farm_workers", ""), ("ray_farm_items_total", "done")} <= found.keys()

    wait_for(is_told, "what is there and what is done", pause_s=0.2)
    assert found["ray_farm_workers", ""] == 1
    assert found["ray_farm_items_total", "done"] > 0
    workers = actors_of(driver)
    driver.terminate()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)  # else it is waited for
    _, said = driver.communicate(timeout=150)
    assert driver.returncode == 143, said


def test_a_metrics_port_that_cannot_be_had_is_named(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        made = farm.submit(picture, tmp_path / "out", "--workers", "1", "--metrics-port", port)
    assert made.returncode == 2, made.stderr
    assert f"farm: --metrics-port {port}: cannot be had (Address already in use)" in made.stderr


def test_a_metrics_port_is_not_for_a_cluster(farm: Farm, make_picture: Make, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    flags = ("--workers", "1", "--metrics-port", "8090", "--address", "127.0.0.1:1")
    made = farm.submit(picture, tmp_path / "out", *flags)
    assert made.returncode == 2, made.stderr
    assert "ray start --metrics-export-port" in made.stderr
