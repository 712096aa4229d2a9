"""What benches keep can be drawn: a picture for each of them, from lines as they write them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..runs import REPOSITORY

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
    names = ("figures", "recorded", "limits", "watch", "alone", "plot")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "bench"))
        yield importlib.import_module("plot")
        for name in names:
            sys.modules.pop(name, None)


def test_every_bench_that_keeps_lines_is_drawn(plot: ModuleType, tmp_path: Path) -> None:
    """Of those that lie here as they are; of those that do not, of lines of the same form."""
    for name, draw in plot.DRAWN.items():
        is_kept = (REPOSITORY / "bench" / "results" / f"{name}.jsonl").exists()
        draw(plot.kept(name) if is_kept else LINES[name], tmp_path)
        if name in LINES:
            draw(LINES[name], tmp_path)
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
