"""The table of speeds, run in small: a row for every model and precision, with figures that can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sr_kernel.hardware import cpu_has_bf16

ROOT = Path(__file__).parents[2]
PRECISIONS = ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]


def test_every_model_in_every_precision_has_its_row(tmp_path: Path) -> None:
    out, models = tmp_path / "models.md", ["x2plus", "animevideov3"]
    program = [sys.executable, str(ROOT / "bench/models.py"), "--quick", "--out", str(out), "--models", *models]
    done = subprocess.run(
        program, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.read_text().splitlines()[6:-2]]
    assert [row[:3:2] for row in rows] == [[model, precision] for model in models for precision in PRECISIONS]
    figures = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [one["model"] for one in figures] == [row[0] for row in rows]
    for one in figures:
        assert 0 < one["share_of_peak"] < 1.2
        assert one["output_mp_s"] > one["source_mp_s"] > 0
        assert one["memory_mb"] > 50
        assert one["tta_times"] > 2
    assert [one["windows"] > 1 for one in figures] == [one["model"] == "animevideov3" for one in figures]
