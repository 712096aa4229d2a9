"""A real Prometheus with the file that we ship, and Ray's own port, which it asks."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .metrics_page import RUNS, SCRAPE, Watched
from .nodes import free_port

FAST = {"RAY_metrics_report_interval_ms": "1000"}
"""what nodes gather and forget in a second and two, instead of ten and twenty"""
START_S = 150.0
_LINE = re.compile(r"(ray_farm_\w+)\{(.*)\} (\S+)")


def scrape(port: int, runs: set[str], watched: Watched = RUNS) -> dict[tuple[str, str], float]:
    """What Ray says there of our metrics; nothing before it serves anything."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    labelled = watched.documented()
    found: dict[tuple[str, str], float] = {}
    for line in lines:
        if match := _LINE.match(line):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
            runs.add(labels["run"])
            found[match[1], labels.get(labelled.get(match[1], ""), "")] = float(match[3])
    return found


@dataclass(frozen=True)
class Prometheus:
    """A real one, which asks a port every second."""

    url: str

    def ask(self, query: str, seconds: float) -> list[Any]:
        """What it answers to a query for any time within the last so many seconds."""
        now = time.time()
        asked = urllib.parse.urlencode({"query": query, "start": now - seconds, "end": now, "step": 1})
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range?{asked}", timeout=30) as answer:
            return json.load(answer)["data"]["result"]


@contextmanager
def prometheus(program: str, folder: Path, port: int) -> Iterator[Prometheus]:
    """With the file that we ship, but for the port and how often it asks."""
    config, at = folder / "prometheus.yml", free_port()
    config.write_text(SCRAPE.read_text().replace("127.0.0.1:8090", f"127.0.0.1:{port}").replace("15s", "1s"))
    flags = ("--config.file", config, "--storage.tsdb.path", folder / "data", "--log.level", "error")
    process = subprocess.Popen([program, *map(str, flags), "--web.listen-address", f"127.0.0.1:{at}"])
    try:
        found = Prometheus(f"http://127.0.0.1:{at}")
        end = time.monotonic() + START_S
        while not is_ready(found):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def is_ready(asked: Prometheus) -> bool:
    try:
        with urllib.request.urlopen(f"{asked.url}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def plain(query: str) -> str:
    """A query as Grafana would send it, for all runs and an interval of ten seconds."""
    query = re.sub(r"label_values\((\w+), run\)", r"\1", query)
    return query.replace("$__rate_interval", "10s").replace("$run", ".*")
