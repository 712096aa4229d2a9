"""How figures are written in the results: medians with their range, memory by role, this machine."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def mid(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def peaks(runs: Iterable[Mapping[str, float]]) -> str:
    """The largest resident memory of each role over all runs, in MB."""
    largest: dict[str, float] = {}
    for memory_mb in runs:
        for role, value in memory_mb.items():
            largest[role] = max(largest.get(role, 0.0), value)
    return ", ".join(f"{role} {largest[role]:.0f}" for role in sorted(largest))


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def process_mb(field: str = "VmHWM") -> float:
    """Of this process: VmHWM, the most it ever held (what it was forked from not counted), or VmRSS, what it holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3
