"""R20: what the driver holds does not grow with the manifest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from farm.plan import SHARD_ROWS

from ..runs import REPOSITORY
from ..seeded import save_srvgg

SHARDS = 3
GROWTH_MB = 10.0
"""17 bytes a row are kept, and less than 3 MB more were held after three shards, and after six, than after the first"""
PLAN = """
import json, sys
from pathlib import Path
from farm import run
from farm.config import ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.survey import Surveyor
from tests.memory import peak_bytes

manifest, model, out = sys.argv[1:]
config = RunConfig(
    manifest=manifest, model=ModelConfig(model=model), output=OutputConfig(out=out), worker=WorkerConfig(gpus=0)
)
planner, _ = run.planner_of(config, out)
peaks, rows = [], 0
with Surveyor(config, planner, out) as surveyor:
    for _, shard in surveyor.plans(surveyor.survey()):
        rows += sum(1 for _ in shard.rows())
        peaks.append(peak_bytes() / 1e6)
        del shard
print(json.dumps([rows, peaks]))
"""


def test_the_driver_is_flat_over_a_hundred_thousand_rows(tmp_path: Path) -> None:
    rows = SHARDS * SHARD_ROWS
    columns = {
        "source": [f"s3://archive/{row // 1000:05d}/{row:08d}.jpg" for row in range(rows)],
        "sha256": [f"{row:064x}" for row in range(rows)],
        "bytes": [200_000] * rows,
        "width": [640] * rows,
        "height": [480] * rows,
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet", row_group_size=SHARD_ROWS)
    model = save_srvgg(tmp_path / "tiny.pth", features=8, convs=2)
    command = [sys.executable, "-c", PLAN, tmp_path / "m.parquet", model, tmp_path / "out"]
    planned = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=170, check=False, cwd=REPOSITORY
    )
    assert planned.returncode == 0, planned.stderr
    count, peaks = json.loads(planned.stdout)
    assert count == rows >= 100_000
    assert len(peaks) == SHARDS
    assert peaks[-1] - peaks[0] < GROWTH_MB, peaks
