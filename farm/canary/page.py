"""The report on a sample: OUT/sample.html."""

from __future__ import annotations

from collections.abc import Sequence

from farm import storage
from farm.canary.draw import Drawn
from farm.progress import duration, hours, pixel_rate, size
from farm.report import MOST_SHOWN, Excerpt, ReportConfig, report
from farm.report.words import count, pixels
from farm.summary import Canary

PAGE = "sample.html"
"""below the output root, beside results.parquet"""


def write_page(root: str, canary: Canary, drawn: Sequence[Drawn]) -> str:
    """Write the page; returns its URL."""
    excerpt = Excerpt(
        keys=frozenset(one.item_id for one in drawn),
        shards=frozenset(one.shard for one in drawn),
        heading=f"A sample of {count(canary.rows)} of {count(canary.population)} rows",
        figures=tuple(_figures(canary)),
        note="The whole is reckoned from the sample by source pixels, each kind, size and folder by its own, as if no "
        "row failed. Below are the rows of the sample alone.",
    )
    place = storage.join(root, PAGE)
    report(ReportConfig(run=root, page=place, sample=min(MOST_SHOWN, canary.rows), excerpt=excerpt))
    return place


def _figures(canary: Canary) -> list[tuple[str, str, str]]:
    bad = f"{canary.failed} failed, {canary.suspect} suspect"
    figures = [("suspect or failed", f"{canary.bad_percent:.3g} %", bad)]
    strata = f"of {count(canary.strata)} kinds, sizes and folders"
    figures.append(("drawn from", count(canary.strata_drawn), strata))
    if canary.worker_seconds:
        rate = pixel_rate(canary.source_px / canary.worker_seconds)
        figures.append(("rate", rate, "of one worker"))
    if canary.whole is None or canary.hours is None or canary.device_hours is None:
        return figures
    who = f"{canary.gpus} GPUs" if canary.gpus else f"{canary.workers} CPU workers"
    kind = "GPU-hours" if canary.gpus else "worker-hours"
    whole = canary.whole
    return [
        *figures,
        (f"{kind} of the whole", f"{canary.device_hours:.3g}", f"{hours(3600 * canary.hours)} on {who}"),
        ("outputs of the whole", size(whole.output_bytes), f"of {pixels(whole.source_px)} of sources"),
        ("left", count(canary.left), f"rows; the sample took {duration(canary.worker_seconds)} of workers"),
    ]
