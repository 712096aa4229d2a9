"""An embedded Ray starts what a run needs and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from ..runs import REPOSITORY

CONNECTED = """
import psutil
from farm.config import WorkerConfig
from farm.fleet import prepare_ray
prepare_ray(WorkerConfig())
from farm.session import Session
session = Session(None, 1, 0)
session.connect()
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
    assert left == "0 left"
