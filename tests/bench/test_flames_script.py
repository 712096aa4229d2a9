"""Samples of py-spy belong to the part of the house that was at work; what waits is not counted."""

from __future__ import annotations

from .scripts import bench_module

LANE = "thread (7): lane;_run (farm/tasks/lane.py:300)"
STACKS = {
    "driver": ["thread (1): MainThread;run (farm/run.py:10);wait (ray/_private/worker.py:3) 10"],
    "worker": [
        f"{LANE};run (sr_kernel/backend.py:272);Conv.__call__ (sr_kernel/archs/layer.py:40) 70",
        f"{LANE};means_of (sr_kernel/steps.py:176);clone (torch/_tensor.py:5) 12",
        "thread (8): publish;save (farm/media/encode.py:9);Operation.call (pyvips/voperation.py:299) 8",
        "thread (6): MainThread;Worker.main_loop (ray/_private/worker.py:1069) 900",
        "thread (5608) 50",
    ],
}


def test_a_sample_belongs_to_the_innermost_part_of_ours() -> None:
    with bench_module("flames") as flames:
        lines = flames.tables(STACKS)
    assert lines[2:6] == [
        "| driver | everything else of the farm | 10 | 10.0% |",
        "| worker | network | 70 | 70.0% |",
        "| worker | colours, resizing, rounding, figures | 12 | 12.0% |",
        "| worker | encode, join, publish | 8 | 8.0% |",
    ]
    assert "| `Conv.__call__ (sr_kernel/archs/layer.py)` | 70.0% |" in lines
    assert not any("main_loop" in line or "thread" in line for line in lines)
