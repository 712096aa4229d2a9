"""A cluster as an administrator starts it: a head and workers by the scripts that we ship, each a node of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .heads import PATIENT, REPOSITORY, START_S
from .runs import NONE
from .waiting import wait_for

SCRIPTS = REPOSITORY / "cluster" / "ray"
PORTS = range(20_000, 32_768)
HERE = "127.0.0.1"
NODES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""addresses of the head and the others, all on loopback; for 127.0.0.1 Ray would take another one of this machine"""
ANY_PORT = ("--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0")
BESIDE = (*ANY_PORT, "--object-store-memory", "104857600")
"""options of nodes that share a machine with others: any free ports, little memory"""
QUICK = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
"""a node that is gone is missed in three seconds, instead of fifteen"""


def free_port() -> int:
    """Outside of those that Ray gives its workers, and of those that the system gives whoever asks for any: between
    this look and its use another program's Ray took one of these."""
    while True:
        with socket.socket() as tried:
            port = secrets.choice(PORTS)
            try:
                tried.bind((HERE, port))
            except OSError:
                continue
            return port


@dataclass
class Node:
    """One script that stays in the foreground, and all that it has started."""

    process: subprocess.Popen[bytes]
    log: Path
    seen: set[psutil.Process] = field(default_factory=set[psutil.Process])
    """all that was ever below it, as far as somebody looked"""

    def until_started(self) -> None:
        def started() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "Ray runtime started." in self.log.read_text()

        wait_for(started, f"{self.process.args} has started", START_S)

    def look(self) -> list[psutil.Process]:
        """What is below it now."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
            self.seen |= set(found)
            return found
        return []

    def lose(self) -> None:
        """kill -9 of its raylet: to the others the machine is gone."""
        (raylet,) = (one for one in self.look() if one.name() == "raylet")
        raylet.kill()


@dataclass
class Machines:
    """A head without a place for workers, and nodes with one each."""

    address: str
    metrics_port: int
    """of the head, on which jobs have their drivers"""
    token: Path
    nodes: list[Node] = field(default_factory=list[Node])

    @property
    def user(self) -> dict[str, str]:
        """Environment of somebody who may use it."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_USAGE_STATS_ENABLED": "0"}
        return {**token, "RAY_ADDRESS": self.address, "PYTHONPATH": str(REPOSITORY)}


@contextmanager
def machines(workers: Sequence[Mapping[str, str]], every: Mapping[str, str] = NONE) -> Iterator[Machines]:
    """Each of `workers` is what the environment of one node has more; `every`: that of the head, and of all."""
    folder = Path(tempfile.mkdtemp(prefix="farm-ray-"))  # short: Ray's sockets lie below it
    port = free_port()
    made = Machines(address=f"{NODES[0]}:{port}", metrics_port=free_port(), token=folder / "token")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    every = {**os.environ, **PATIENT, **QUICK, **every, "PYTHONPATH": str(REPOSITORY), "PATH": path}
    every["RAY_AUTH_TOKEN_PATH"] = str(made.token)

    def start(script: str, options: Sequence[str], environment: Mapping[str, str]) -> None:
        log = folder / f"{len(made.nodes)}.log"
        command = [str(SCRIPTS / script), NODES[0], str(port), *BESIDE, *options]
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, env={**every, **environment}, stdout=said, stderr=said, stdin=subprocess.DEVNULL
            )
        made.nodes.append(Node(process, log))

    try:
        ports = {"METRICS_PORT": str(made.metrics_port), "HEAD_CPUS": "0"}
        start("head.sh", ("--temp-dir", str(folder / "ray"), "--dashboard-port", str(free_port())), ports)
        made.nodes[0].until_started()
        for more in workers:
            own = {"METRICS_PORT": str(free_port()), "WORKER_ADDRESS": NODES[len(made.nodes)], "WORKER_CPUS": "1"}
            start("worker.sh", (), {**own, **more})
            made.nodes[-1].until_started()  # one by one: nodes that share a folder take each other's sockets
        yield made
    finally:
        for node in made.nodes:
            node.look()
        for node in reversed(made.nodes):
            node.process.terminate()
        for node in made.nodes:
            node.process.wait(60)
        for left in psutil.wait_procs([one for node in made.nodes for one in node.seen], timeout=15)[1]:
            left.kill()
        shutil.rmtree(folder)
