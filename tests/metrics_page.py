"""What the pages and the Grafana dashboards say of metrics: those of runs, and those of trainings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runs import REPOSITORY

_METRICS = REPOSITORY / "cluster" / "metrics"
SCRAPE = _METRICS / "prometheus.yml"


@dataclass(frozen=True)
class Watched:
    """What is told of one sort of work."""

    page: Path
    dashboard: Path

    def documented(self) -> dict[str, str]:
        """The label besides `run`, or nothing, by metric, of the page's table."""
        text = self.page.read_text("utf-8")
        rows = re.findall(r"^\| `(ray_farm_\w+)` \| (?:`(\w+)`)? *\| .{10,} \|$", text, re.MULTILINE)
        assert len({name for name, _ in rows}) == len(rows)
        return dict(rows)

    def panels(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The dashboard, and its panels."""
        dashboard = json.loads(self.dashboard.read_text("utf-8"))
        return dashboard, dashboard["panels"]

    def queries(self) -> list[str]:
        """Of every panel and of the variable `run`, as they stand there."""
        dashboard, found = self.panels()
        asked = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        return [*(target["expr"] for panel in found for target in panel["targets"]), *asked]


RUNS = Watched(REPOSITORY / "docs" / "dashboard.md", _METRICS / "farm.json")
TRAININGS = Watched(REPOSITORY / "docs" / "training.md", _METRICS / "training.json")


def named(query: str) -> set[str]:
    """The metrics that a query asks for."""
    return set(re.findall(r"\bray_\w+", query))
