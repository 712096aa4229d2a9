"""The benches of a GPU end well on one: what they check holds there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sr_kernel.hardware import FUSED_CAPABILITY

from ..runs import REPOSITORY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "bench" / script), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability(0)[0] != FUSED_CAPABILITY,
    reason=f"the fused kernels are for GPUs of capability {FUSED_CAPABILITY}",
)
@pytest.mark.timeout(600)
def test_every_fused_kernel_gives_what_the_plain_one_does(tmp_path: Path) -> None:
    done = run("kernels.py", "--results", str(tmp_path), "--scratch", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = map(json.loads, (tmp_path / "kernels.jsonl").read_text().splitlines())
    assert {(one["kernel"], one["batch"]) for one in kept["networks"]} >= {("fused", 8), ("plain", 8)}


@pytest.mark.timeout(600)
def test_every_job_and_every_model_run_on_the_gpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    done = run("gpu.py", "--quick", "--no-limits", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = map(json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines())
    assert len(kept["jobs"]) == 7
