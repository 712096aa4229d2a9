"""A cluster of several nodes that lose their raylet, and one that loses its head, which is killed, alone or with all
nodes, or stops to answer: a run goes on, or says what to do.

With --trials N: N lost nodes and N / 4 lost heads.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..heads import Head, head
from ..runs import REPOSITORY
from .conftest import Subjects
from .kinds import Subject
from .record import Note
from .watch import Watch, check_clean, check_identical

Make = Callable[..., Path]
pytestmark = pytest.mark.timeout(900)
NO_HANG_S = 120.0
RESUMABLE = 75
HEAD_LOSSES = ("with its nodes", "alone", "stopped")
LOSSES = 6
"""of one run: a place for a worker is given up after twelve deaths"""
NODES = """
import json, sys
from ray.cluster_utils import Cluster

def say(node):
    pids = {kind: [one.process.pid for one in started] for kind, started in node.all_processes.items()}
    print(json.dumps(pids), flush=True)

few = {"num_gpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **few})
print(json.dumps(cluster.address), flush=True)
say(cluster.head_node)
for line in sys.stdin:
    if line.strip() != "add":
        break
    say(cluster.add_node(num_cpus=2, **few))
cluster.shutdown()
"""


@dataclass
class Nodes:
    """A cluster of our own; only its head has no place for workers."""

    keeper: Head
    """the process that started it, and ends it"""
    environment: dict[str, str]
    head: list[int]
    """ids of the processes of its head, without which there is no cluster"""
    gcs: list[int]
    """of them: whoever asks the head asks this one"""
    raylets: list[int] = field(default_factory=list[int])
    """of the nodes that are there"""

    def add(self) -> None:
        self.keeper.ask("add")
        self.raylets += _said(self.keeper)["raylet"]

    def lose(self, at: int) -> None:
        os.kill(self.raylets.pop(at), signal.SIGKILL)

    def lose_all(self) -> None:
        """The head and, a moment before, every node with its workers, which outlive a raylet for a while."""
        workers = [child for pid in self.raylets for child in psutil.Process(pid).children(recursive=True)]
        while self.raylets:
            self.lose(0)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        self.lose_head()

    def lose_head(self) -> None:
        for pid in self.head:
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def stopped_head(self) -> Iterator[None]:
        """Inside the block it takes connections and answers nobody, as on a machine that swaps."""
        for pid in self.gcs:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self.gcs:
                os.kill(pid, signal.SIGCONT)


def _said(keeper: Head) -> Any:
    """What it says next, in JSON."""
    return json.loads(keeper.line(r'[{"]'))


@contextmanager
def cluster_of(nodes: int) -> Iterator[Nodes]:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**token, "PYTHONPATH": str(REPOSITORY)}
    with head(NODES, env=environment) as keeper:
        address, processes = _said(keeper), _said(keeper)
        gcs: list[int] = processes["gcs_server"]
        found = Nodes(keeper, {**environment, "RAY_ADDRESS": address}, [*processes["raylet"], *gcs], gcs)
        for _ in range(nodes):
            found.add()
        yield found


def lose_nodes(subject: Subject, out: Path, losses: int, chance: random.Random) -> tuple[Watch, int]:
    """A run from which nodes are taken, once all at once, and to which others are added."""
    watch, lost = Watch(out), 0
    with cluster_of(2) as nodes:
        driver = subject.kind.farm.start(*subject.kind.args(out, 2, chance), env=nodes.environment)
        for at in range(losses):
            if not watch.until(len(watch.entries) + chance.randint(1, 8), driver):
                break
            for _ in range(len(nodes.raylets) if at == 0 else 1):
                nodes.lose(chance.randrange(len(nodes.raylets)))
                lost += 1
            while len(nodes.raylets) < 2:
                nodes.add()
        said = watch.to_end(driver)
        assert driver.returncode == subject.kind.code, said
    return watch, lost


def lose_head(subject: Subject, watch: Watch, chance: random.Random, how: str) -> tuple[int, float]:
    """A run whose cluster has no head any more, and perhaps no workers; returns its exit code, and the seconds that it
    took to end."""
    with cluster_of(1) as nodes, ExitStack() as until_over:
        driver = subject.kind.farm.start(*subject.kind.args(watch.out, 2, chance), env=nodes.environment)
        if watch.until(len(watch.entries) + chance.randint(1, 8), driver):
            if how == "with its nodes":
                nodes.lose_all()
            elif how == "alone":
                nodes.lose_head()
            else:
                until_over.enter_context(nodes.stopped_head())
        lost = time.monotonic()
        said = watch.to_end(driver)
        took_s = time.monotonic() - lost
    assert driver.returncode in (subject.kind.code, RESUMABLE), said
    assert took_s < NO_HANG_S
    assert driver.returncode == RESUMABLE or how != "with its nodes", said
    if driver.returncode == RESUMABLE:
        assert "run the same command again" in said
    return driver.returncode, round(took_s, 1)


def check(subject: Subject, watch: Watch) -> None:
    check_identical(watch.out, subject.undisturbed)
    assert max(watch.done().values()) == 1, "what the ledger has is not made again"
    blamed = [entry for entry in watch.entries if entry.get("error") in ("worker_died", "timeout")]
    assert blamed == [], "a lost node is nobody's fault"
    check_clean(watch.out)


def test_lost_nodes_and_a_lost_head_cost_time_and_no_data(
    subjects: Subjects,
    cluster: dict[str, str],
    make_picture: Make,
    tmp_path: Path,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    subject = subjects("mixed", make_picture)
    lost = 0
    while lost < (trials or 1):
        watch, more = lose_nodes(subject, tmp_path / f"nodes{lost}", min(LOSSES, trials or 1), chance)
        check(subject, watch)
        lost += more
        note(lost_nodes=more)
    for at in range(-(-trials // 4) or 1):
        watch = Watch(tmp_path / f"head{at}")
        how = HEAD_LOSSES[at % len(HEAD_LOSSES)]
        code, took_s = lose_head(subject, watch, chance, how)
        again = subject.kind.farm.start(*subject.kind.args(watch.out, 2, chance), env=cluster)
        said = watch.to_end(again)
        assert again.returncode == subject.kind.code, said
        check(subject, watch)
        note(lost_head=how, code=code, ended_s=took_s)
