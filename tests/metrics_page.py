"""What docs/dashboard.md and the Grafana dashboard say of metrics."""

from __future__ import annotations

import json
import re
from typing import Any

from .runs import REPOSITORY

PAGE = REPOSITORY / "docs" / "dashboard.md"
DASHBOARD = REPOSITORY / "cluster" / "metrics" / "farm.json"
SCRAPE = REPOSITORY / "cluster" / "metrics" / "prometheus.yml"


def documented() -> dict[str, str]:
    """The label besides `run`, or nothing, by metric, of the page's table."""
    rows = re.findall(r"^\| `(ray_farm_\w+)` \| (?:`(\w+)`)? *\| .{10,} \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows)
    return dict(rows)


def panels() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The dashboard, and its panels."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    return dashboard, dashboard["panels"]


def queries() -> list[str]:
    """Of every panel and of the variable `run`, as they stand there."""
    dashboard, found = panels()
    asked = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    return [*(target["expr"] for panel in found for target in panel["targets"]), *asked]


def named(query: str) -> set[str]:
    """The metrics that a query asks for."""
    return set(re.findall(r"\bray_\w+", query))
