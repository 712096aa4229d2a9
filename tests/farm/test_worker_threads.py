"""A worker of a CPU has one core, and computes in one thread."""

from __future__ import annotations

import os
import subprocess
import sys

from ..runs import REPOSITORY

CONVOLVES = """
import os, torch
from farm.worker import Worker
from tests.farm.test_resident import context

def convolve():
    torch.nn.functional.conv2d(torch.ones(1, 64, 128, 128), torch.ones(64, 64, 3, 3))
    return len(os.listdir("/proc/self/task"))

worker = Worker(context(1 << 30))
lane = worker._tasks["upscale_image"]._station.lane
before = lane.call(lambda: len(os.listdir("/proc/self/task"))).result()
print(lane.call(convolve).result() - before, "more,", lane.call(torch.get_num_threads).result())
worker.stop()
"""


def test_one_thread_computes_though_torch_was_loaded_with_eight() -> None:
    """As by a Ray that preloads it, in a shell that exports OMP_NUM_THREADS: it is too late for the variable then."""
    ran = subprocess.run(
        [sys.executable, "-c", CONVOLVES],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ran.stdout == "0 more, 1\n"
