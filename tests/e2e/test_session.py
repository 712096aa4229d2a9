"""An embedded Ray starts what a run needs and nothing else; the head of a cluster is watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ..heads import PATIENT
from ..nodes import free_port
from ..runs import REPOSITORY, cluster

__all__ = ["cluster"]

CONNECTED = """
import psutil
from farm.config import WorkerConfig
from farm.fleet import prepare_ray
prepare_ray(WorkerConfig())
from farm.session import Session
session = Session(None, 1, 0, at_first=1)
session.connect()
import ray
@ray.remote
class Asked:
    def loaded(self):
        import sys
        return "torch" in sys.modules
    def threads_more(self):
        import os, torch
        before = len(os.listdir("/proc/self/task"))
        torch.nn.functional.conv2d(torch.ones(1, 64, 128, 128), torch.ones(64, 64, 3, 3))
        return len(os.listdir("/proc/self/task")) - before
asked = Asked.remote()
print("torch", ray.get(asked.loaded.remote()))
print("threads", ray.get(asked.threads_more.remote()))
import time
from ray._private import utils, worker
utils.publish_error_to_driver("some", "words of Ray's", worker.global_worker.gcs_client)
time.sleep(1)
for child in psutil.Process().children(recursive=True):
    print(" ".join(child.cmdline()))
session.disconnect()
print(len(psutil.Process().children(recursive=True)), "left")
"""

LEAVES = """
import sys
from farm.console import leave
from farm.session import Session
session = Session(sys.argv[1], 1, 0)
session.connect()
print("connected", flush=True)
sys.stdin.readline()
session.disconnect()
leave(3, stopped=False)
"""
STOPPED = """
import os, signal, subprocess, sys, time
from ray.cluster_utils import Cluster
from farm.head import HeadWatch
from farm.session import head_call

def is_soon(lost):
    until = time.monotonic() + 30
    while watch.is_lost is not lost and time.monotonic() < until:
        time.sleep(0.05)
    return watch.is_lost is lost

def is_stopped():
    # each of its threads: the signal comes to some later than to others, and one may still answer
    states = []
    for thread in os.listdir(f"/proc/{gcs}/task"):
        with open(f"/proc/{gcs}/task/{thread}/stat") as status:
            states.append(status.read().rpartition(")")[2].split()[0])
    return set(states) == {"T"}

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
(gcs,) = (started.process.pid for started in cluster.head_node.all_processes["gcs_server"])
watch = HeadWatch(cluster.address, head_call(cluster.address), lost_s=1, at_once_s=600)
print("answers", watch.answers())
driver = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], cluster.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
while driver.stdout.readline() != "connected\\n":
    assert driver.poll() is None
os.kill(gcs, signal.SIGSTOP)
while not is_stopped():
    time.sleep(0.01)
asked_s = time.monotonic()
print("stopped, answers", watch.answers(), "in time", time.monotonic() - asked_s < 6)
print("lost", is_soon(True))
driver.communicate("\\n", timeout=60)
print("a driver leaves with", driver.returncode)
os.kill(gcs, signal.SIGCONT)
print("goes on, answers", watch.answers(), "back", is_soon(False))
watch.stop()
cluster.shutdown()
"""


HANDLED = """
import sys
from farm.session import Session
session = Session(sys.argv[1] or None, 1, 0)
session.connect()
(line,) = [line for line in open("/proc/self/status") if line.startswith("SigCgt")]
print(int(line.split()[1], 16))
session.disconnect()
"""


@pytest.mark.parametrize("where", ["embedded", "cluster"])
def test_rays_core_hears_no_signal(where: str, request: pytest.FixtureRequest) -> None:
    """Its handler aborts the process three seconds after a SIGTERM, whatever the orderly end is in the middle of; it
    would be there for SIGTRAP, too, which nobody else of us hears."""
    environment = request.getfixturevalue("cluster") if where == "cluster" else {"RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", HANDLED, environment.get("RAY_ADDRESS", "")]
    ran = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert not int(ran.stdout.split()[-1]) >> (signal.SIGTRAP - 1) & 1


def test_a_head_that_is_stopped_still_takes_connections_and_is_lost_all_the_same() -> None:
    """A real one, as a machine that swaps may make of it; who has done his work meanwhile does not wait for it."""
    patient = {**os.environ, **PATIENT}
    ran = subprocess.run(
        [sys.executable, "-c", STOPPED, LEAVES],
        cwd=REPOSITORY,
        env=patient,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-5:] == [
        "answers True",
        "stopped, answers False in time True",
        "lost True",
        "a driver leaves with 3",
        "goes on, answers True back True",
    ]


def test_an_embedded_ray_has_no_dashboard_no_autoscaler_and_nobody_who_reads_logs() -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    without["OMP_NUM_THREADS"] = "8"
    ran = subprocess.run(
        [sys.executable, "-c", CONNECTED], cwd=REPOSITORY, env=without, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    *started, left = ran.stdout.splitlines()
    assert any("/raylet" in command for command in started), started
    for name in ("dashboard.py", "monitor.py", "log_monitor.py"):
        assert not [command for command in started if name in command], started
    assert "torch True" in started, "the worker has loaded it before anybody asked"
    assert "threads 0" in started, "and computes in one thread, whatever the user's shell says"
    assert "words of Ray's" not in ran.stdout, "programs read what is there"
    assert left == "0 left"


def test_an_embedded_ray_waits_for_no_agents_and_ends_with_what_stands_for_them() -> None:
    """Both are Python programs of two seconds; they are there only with metrics or a dashboard."""
    ran = subprocess.run([sys.executable, "-c", CONNECTED], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert not [line for line in ran.stdout.splitlines() if "Agent" in line]
    programs = [line for line in ran.stdout.splitlines() if "raylet_socket_name" not in line]  # whose words name them
    assert len([line for line in programs if "idle.py" in line]) == 2
    served = CONNECTED.replace("at_first=1", f"metrics_port={free_port()}")
    ran = subprocess.run([sys.executable, "-c", served], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "ray::DashboardAgent" in ran.stdout
    assert "idle.py" not in ran.stdout
    assert ran.stdout.splitlines()[-1] == "0 left"
