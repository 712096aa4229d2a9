"""Where figures are kept: a line of JSON for each measurement, beside what says on which machine it was made."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from figures import cpu_name  # beside this file

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, Any]


def machine(*packages: str) -> Figures:
    """This machine, its load by others just now, and versions of what is measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "threads_a_core": _threads_a_core(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "commit": _commit(),
    }


def keep(name: str, figures: Figures, folder: Path = RESULTS) -> None:
    """Append a line to NAME.jsonl of a folder, bench/results unless told otherwise."""
    with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(figures, separators=(',', ':'))}\n")


def kept(name: str) -> list[Figures]:
    """All lines of bench/results/NAME.jsonl, the oldest first."""
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text("utf-8").splitlines()]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _threads_a_core() -> int:
    """1 where it cannot be told."""
    path = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if not path.exists():
        return 1
    return sum(int(last or first) - int(first) + 1 for first, _, last in map(_bounds, path.read_text().split(",")))


def _bounds(text: str) -> tuple[str, str, str]:
    return text.strip().partition("-")


def _commit() -> str:
    """Empty where there is no git, or no repository."""
    if shutil.which("git") is None:
        return ""
    asked = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(asked, cwd=RESULTS, capture_output=True, text=True, check=False)
    return said.stdout.strip()
