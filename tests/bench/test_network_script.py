"""What a network reaches of its processor's peak, in small: a line for every window and batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ..runs import REPOSITORY
from ..seeded import save_srvgg


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    model = save_srvgg(folder / "small.pth", features=16, convs=2)
    script = [sys.executable, str(REPOSITORY / "bench/network.py"), "--model", str(model), "--size", "96x64"]
    words = [*script, "--rounds", "1", "--precision", "fp32", "--results", str(folder), *options]
    return subprocess.run(words, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)


def test_every_window_and_batch_has_its_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--tile-px", "32", "96", "--batch", "1", "2")
    assert done.returncode == 0, done.stderr
    kept = [json.loads(line) for line in (tmp_path / "network.jsonl").read_text().splitlines()]
    assert [(one["windows"], one["batch"]) for one in kept] == [(6, 1), (6, 2), (1, 1), (1, 2)]
    assert done.stdout.count('"network_share_of_peak":') == 4
    for one in kept:
        assert 0 < one["network_share_of_matmul"] < 1.2
        assert one["memory_mb"] > 50
        assert one["psnr_to_fp32_db"] is None, "fp32 in windows is fp32 as a whole"
        assert one["halo_flop_ran_over_bare"] >= 1
