"""What benches keep can be drawn: a picture for each of them, from lines as they write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..runs import REPOSITORY
from .scripts import bench_module

ALONE = {"on every core at once": [{"network_s": 110.0, "decode_s": 1.0, "encode_s": 8.0}]}
SECONDS = {"official, untiled": [240.0], "farm, 2 workers": [64.0]}
LINES: dict[str, list[dict[str, Any]]] = {
    "images": [
        {
            "model": "m",
            "cpus": 2,
            "megapixels_s": {"official, untiled": [0.07], "farm, 2 workers": [0.28]},
            "steady_s": SECONDS,
            "alone_s": ALONE,
        }
    ],
    "video": [
        {
            "model": "m",
            "cpus": 2,
            "frames_s": {"official, untiled": [0.2], "farm, 2 workers": [0.75]},
            "steady_s": SECONDS,
            "alone_s": ALONE,
        }
    ],
    "network": [{"model": "m", "precision": "bf16", "window": [288, 288], "network_share_of_matmul": 0.9}],
    "kernels": [
        {
            "gpu": "one",
            "networks": [
                {"model": "m", "batch": 8, "window": [256, 256], "kernel": "fused", "share_of_matmul": 0.47},
                {"model": "m", "batch": 8, "window": [256, 256], "kernel": "plain", "share_of_matmul": 0.17},
            ],
        }
    ],
    "gpu": [
        {
            "costs": [
                {"model": "m", "precision": "fp16", "kernel": "fused", "network % of matmul": 47.0},
                {"model": "m", "precision": "fp32", "kernel": "plain", "network % of matmul": "left out"},
            ]
        }
    ],
    "degrade": [{"pairs_s": {"upstream's": [3.0], "the farm's": [9.0]}}],
    "storage": [{"pictures": 500, "seconds": {"disk to disk": {"steady_s": [36.6]}}}],
}


@pytest.fixture(scope="module")
def plot() -> Iterator[ModuleType]:
    with bench_module("plot") as module:
        yield module


def test_every_bench_that_keeps_lines_is_drawn(plot: ModuleType, tmp_path: Path) -> None:
    """Of those that lie here as they are; of those that do not, of lines of the same form."""
    for name, draw in plot.DRAWN.items():
        is_kept = (REPOSITORY / "bench" / "results" / f"{name}.jsonl").exists()
        drawn = {"kept": plot.kept(name)} if is_kept else {}
        drawn |= {"of the same form": LINES[name]} if name in LINES else {}
        assert drawn, name
        for what, lines in drawn.items():
            (tmp_path / what).mkdir(exist_ok=True)
            draw(lines, tmp_path / what)
            assert (tmp_path / what / f"{name}.png").stat().st_size > 5000
