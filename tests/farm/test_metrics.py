"""What a run tells is added up right, and the page, the table and the dashboard speak of the same metrics.

With a real Ray and a real Prometheus: tests/e2e/test_metrics.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from farm.errors import ErrorKind
from farm.metrics import METRICS, MetricKind, MetricSpec, Standing, Sums
from farm.records import Done, Failed, PartKind, Split, StageSeconds, Unit
from farm.title import train_title, unit_title, work_title
from farm.training.metrics import TRAIN_METRICS
from sr_kernel.passes import PassFigures

from ..metrics_page import RUNS, TRAININGS, Watched, named
from .items import DONE, make_part

SECONDS = StageSeconds(read=1.0, decode=2.0, wait=3.0, infer=4.0, encode=5.0, write=6.0)
MADE = replace(DONE, bytes=70, source_px=1000, frames=3, seconds=SECONDS, source_bytes=20, worker="upscale-m-1")
STANDING = Standing(
    items={"done": 2, "failed": 0},
    retries=1,
    out_of_memory=0,
    deaths={"crash": 1},
    workers=2,
    queued_parts=5,
    in_flight_units=1,
    items_left=3,
    progress_ratio=0.5,
    eta_s=None,
)


def sums_of(kind: PartKind, made: Done = MADE) -> dict[tuple[str, str], float]:
    sums = Sums()
    sums.ended(replace(make_part(0), kind=kind), made)
    return dict(sums.news())


def test_a_picture_counts_where_its_time_went_and_what_came_of_it() -> None:
    made = replace(MADE, frames=0, passes=PassFigures(windows=3, slots=8, out_of_memory=2))
    assert sums_of(PartKind.PICTURE, made) == {
        **{("farm_stage_seconds", name): getattr(SECONDS, name) for name in SECONDS.__dataclass_fields__},
        ("farm_busy_seconds", "upscale-m-1"): 4.0,
        ("farm_source_pixels", ""): 1000,
        ("farm_source_bytes", ""): 20,
        ("farm_output_bytes", ""): 70,
        ("farm_batch_windows", ""): 3,
        ("farm_batch_slots", ""): 8,
        ("farm_out_of_memory", "device"): 2,
    }


@pytest.mark.parametrize(
    ("kind", "pixels", "frames", "bytes_in", "bytes_out"),
    [
        (PartKind.BAND, 1000, 3, None, None),
        (PartKind.SEGMENT, 1000, 3, None, None),
        (PartKind.JOIN, None, None, 20, 70),
    ],
)
def test_what_is_cut_counts_once(
    kind: PartKind, pixels: int | None, frames: int | None, bytes_in: int | None, bytes_out: int | None
) -> None:
    """Pixels when they are restored, bytes when the whole is published."""
    found = sums_of(kind)
    assert found.get(("farm_source_pixels", "")) == pixels
    assert found.get(("farm_frames", "")) == frames
    assert found.get(("farm_source_bytes", "")) == bytes_in
    assert found.get(("farm_output_bytes", "")) == bytes_out


def test_what_failed_or_was_cut_is_nothing_done() -> None:
    sums, part = Sums(), make_part(0)
    sums.ended(part, Failed(part_id="p", kind=ErrorKind.CORRUPT, message="m", node="n", worker="w"))
    sums.ended(part, Split(part_id="p", size=(1, 1), node="n", worker="w"))
    assert sums.news() == []


def test_ray_is_told_what_is_new_and_no_zeros() -> None:
    sums = Sums()
    sums.stand(STANDING)
    told = {("farm_items", "done"): 2, ("farm_worker_deaths", "crash"): 1, ("farm_retries", ""): 1}
    assert dict(sums.news()) == told
    assert sums.news() == []
    sums.stand(replace(STANDING, items={"done": 5, "failed": 1}, deaths={"crash": 1, "memory": 2}))
    assert dict(sums.news()) == {
        ("farm_items", "done"): 3,
        ("farm_items", "failed"): 1,
        ("farm_worker_deaths", "memory"): 2,
        ("farm_out_of_memory", "worker"): 2,
    }


BOTH = pytest.mark.parametrize(
    ("watched", "table"), [(RUNS, METRICS), (TRAININGS, TRAIN_METRICS)], ids=["runs", "trainings"]
)


@BOTH
def test_every_metric_is_documented_with_its_label_and_no_other(
    watched: Watched, table: Mapping[str, MetricSpec]
) -> None:
    assert watched.documented() == {spec.exported: spec.tag for spec in table.values()}


def test_names_are_as_prometheus_wants_them() -> None:
    assert not METRICS.keys() & TRAIN_METRICS.keys()
    for spec in (*METRICS.values(), *TRAIN_METRICS.values()):
        assert re.fullmatch(r"ray_farm_[a-z]+(_[a-z]+)*", spec.exported), spec
        assert (spec.kind is MetricKind.COUNTER) == spec.exported.endswith("_total")
        assert not re.search(r"_(ms|minutes|hours|mb|mega|percent)", spec.exported), "base units"


@BOTH
def test_the_dashboard_asks_for_metrics_that_there_are_and_for_all_of_them(
    watched: Watched, table: Mapping[str, MetricSpec]
) -> None:
    exported = {spec.exported for spec in table.values()}
    assert {name for query in watched.queries() for name in named(query)} == exported


def test_the_dashboards_can_lie_beside_each_other() -> None:
    assert len({watched.panels()[0][name] for watched in (RUNS, TRAININGS) for name in ("uid", "title")}) == 4


@pytest.mark.parametrize("watched", [RUNS, TRAININGS], ids=["runs", "trainings"])
def test_the_dashboard_has_what_grafana_wants(watched: Watched) -> None:
    dashboard, found = watched.panels()
    assert re.fullmatch(r"[a-z0-9-]{1,40}", dashboard["uid"])
    assert isinstance(dashboard["schemaVersion"], int)
    assert "__inputs" not in dashboard, "what is to be answered before it loads"
    assert dashboard["title"]
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert variables["run"]["datasource"] == source
    assert len({one["id"] for one in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        assert panel["type"] in ("timeseries", "stat", "gauge")
        assert (panel["title"], panel["description"], panel["datasource"]) == (
            panel["title"].strip(),
            panel["description"].strip(),
            source,
        )
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert all('run=~"$run"' in part for part in re.findall(r"ray_farm_\w+(\{[^}]*\})?", target["expr"]))
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


def test_workers_and_units_are_called_what_they_do() -> None:
    assert work_title({"x4plus"}, set()) == "upscale-x4plus"
    assert work_title({"x4plus", "animevideov3"}, set()) == "upscale-2-models"
    assert work_title(set(), {"degrade"}) == "degrade"
    assert work_title(set(), {"degrade", "stats"}) == "prepare"
    assert work_title({"x4plus"}, {"degrade"}) == "mixed"
    assert train_title("gan", "box/2") == "train-gan-box_2"
    assert work_title({"file:../\x1b[31m" + "n" * 90}, set()) == "upscale-..___31m" + "n" * 32
    assert unit_title(Unit(unit_id=7, parts=(make_part(0),))) == "Worker.run picture animevideov3"
