"""An embedded Ray starts what a run needs and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from ..nodes import free_port
from ..runs import REPOSITORY

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
print("torch", ray.get(Asked.remote().loaded.remote()))
for child in psutil.Process().children(recursive=True):
    print(" ".join(child.cmdline()))
session.disconnect()
print(len(psutil.Process().children(recursive=True)), "left")
"""


def test_an_embedded_ray_has_no_dashboard_no_autoscaler_and_nobody_who_reads_logs() -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ran = subprocess.run(
        [sys.executable, "-c", CONNECTED], cwd=REPOSITORY, env=without, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    *started, left = ran.stdout.splitlines()
    assert any("/raylet" in command for command in started), started
    for name in ("dashboard.py", "monitor.py", "log_monitor.py"):
        assert not [command for command in started if name in command], started
    assert "torch True" in started, "the worker has loaded it before anybody asked"
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
