"""What Prometheus is told of a run, through Ray: a table of metrics, and the one who fills it, in the driver.

Workers say what they did in what they bring back: nothing is measured for this, and nothing is sent for a part. Sums
are kept here and handed to Ray every second, whose agent on the driver's node puts `ray_` before each name and serves
them to whoever asks. A training has a table of its own (`farm.training.metrics`) and tells it the same way.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum

from farm.records import Done, Outcome, Part, PartKind

_EVERY_S = 1.0
"""Ray's agent forgets a gauge that nobody has set for two of its intervals, each of a second at least"""
RAY_PREFIX = "ray_"


class MetricKind(str, Enum):
    """What Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One metric; docs/dashboard.md has a row for each, docs/training.md for those of a training."""

    name: str
    """as Ray is told"""
    kind: MetricKind
    text: str
    """what it is, in one line"""
    tag: str = ""
    """what tells its series of one run apart; empty: there is one. All have `run` besides"""

    @property
    def exported(self) -> str:
        """As Prometheus sees it."""
        return f"{RAY_PREFIX}{self.name}{'_total' if self.kind is MetricKind.COUNTER else ''}"

    @property
    def tags(self) -> tuple[str, ...]:
        return ("run", self.tag) if self.tag else ("run",)


def counter(name: str, text: str, tag: str = "") -> MetricSpec:
    """What only grows."""
    return MetricSpec(name=name, kind=MetricKind.COUNTER, text=text, tag=tag)


def gauge(name: str, text: str, tag: str = "") -> MetricSpec:
    """How something stands."""
    return MetricSpec(name=name, kind=MetricKind.GAUGE, text=text, tag=tag)


METRICS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        counter("farm_items", "Rows that have ended.", "state"),
        counter("farm_source_pixels", "Source pixels restored, of films those of every frame."),
        counter("farm_frames", "Frames of films restored."),
        counter("farm_source_bytes", "Bytes of the sources of rows that are done."),
        counter("farm_output_bytes", "Bytes of the outputs published."),
        counter("farm_stage_seconds", "Seconds of wall clock that parts spent in a stage.", "stage"),
        counter("farm_busy_seconds", "Seconds that a worker's network ran.", "worker"),
        counter("farm_batch_windows", "Windows that went through the network in batches."),
        counter("farm_batch_slots", "Windows that these batches had room for."),
        counter("farm_out_of_memory", "Times that memory was not enough.", "where"),
        counter("farm_retries", "Parts that were started again."),
        counter("farm_worker_deaths", "Workers that were lost.", "cause"),
        gauge("farm_workers", "Workers that are ready."),
        gauge("farm_queued_parts", "Parts that wait in the driver for a worker."),
        gauge("farm_in_flight_units", "Units that workers hold."),
        gauge("farm_items_left", "Rows that are still to be done."),
        gauge("farm_progress_ratio", "Share of all work that is done."),
        gauge("farm_eta_seconds", "Seconds until the run ends, as far as can be told."),
    )
}
"""by name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a run stands. Counts are those since it began."""

    items: Mapping[str, int]
    """rows that have ended, by state"""
    retries: int
    out_of_memory: int
    """runs of parts that failed for it"""
    deaths: Mapping[str, int]
    """of workers, by cause"""
    workers: int
    queued_parts: int
    in_flight_units: int
    items_left: int
    progress_ratio: float
    eta_s: float | None
    """None while nothing can be said"""


Key = tuple[str, str]
"""a metric's name, and the value of its tag or nothing"""


class Sums:
    """Of counters: what is known, and how much of it Ray was told."""

    def __init__(self) -> None:
        self._known: defaultdict[Key, float] = defaultdict(float)
        self._told: defaultdict[Key, float] = defaultdict(float)

    def ended(self, part: Part, outcome: Outcome) -> None:
        """A part has ended: a few additions, if it was done."""
        if not isinstance(outcome, Done):
            return
        known, passes = self._known, outcome.passes
        for stage in fields(outcome.seconds):
            known["farm_stage_seconds", stage.name] += getattr(outcome.seconds, stage.name)
        known["farm_busy_seconds", outcome.worker] += outcome.seconds.infer
        known["farm_batch_windows", ""] += passes.windows
        known["farm_batch_slots", ""] += passes.slots
        known["farm_out_of_memory", "device"] += passes.out_of_memory
        is_piece = part.kind in (PartKind.BAND, PartKind.SEGMENT)
        if part.kind is not PartKind.JOIN:  # whose bands and segments were counted
            known["farm_source_pixels", ""] += outcome.source_px
            known["farm_frames", ""] += outcome.frames
        if not is_piece:
            known["farm_output_bytes", ""] += outcome.bytes
        if is_piece == part.item.is_pack:  # the join of a pack reads no source
            known["farm_source_bytes", ""] += outcome.source_bytes

    def stand(self, stands: Standing) -> None:
        """What others count."""
        known = self._known
        known.update({("farm_items", state): float(count) for state, count in stands.items.items()})
        known.update({("farm_worker_deaths", cause): float(count) for cause, count in stands.deaths.items()})
        known["farm_out_of_memory", "part"] = stands.out_of_memory
        known["farm_out_of_memory", "worker"] = stands.deaths.get("memory", 0)
        known["farm_retries", ""] = stands.retries

    def news(self) -> list[tuple[Key, float]]:
        """What is to be added to what was told, and now is; Ray takes no zeros."""
        found = [(key, value - self._told[key]) for key, value in self._known.items() if value > self._told[key]]
        self._told.update((key, self._known[key]) for key, _ in found)
        return found


class RayMetrics:
    """The metrics of a table as Ray takes them, of one run; made once Ray is connected."""

    def __init__(self, table: Mapping[str, MetricSpec], run: str, clock: Callable[[], float] = time.monotonic) -> None:
        from ray.util.metrics import Counter, Gauge  # the table can be read without Ray

        self._table, self._run, self._clock = table, run, clock
        self._told_s = -_EVERY_S
        of_kind = {kind: [spec for spec in table.values() if spec.kind is kind] for kind in MetricKind}
        self._counters = {spec.name: Counter(spec.name, spec.text, spec.tags) for spec in of_kind[MetricKind.COUNTER]}
        self._gauges = {spec.name: Gauge(spec.name, spec.text, spec.tags) for spec in of_kind[MetricKind.GAUGE]}

    def is_due(self) -> bool:
        """Whether Ray was told long enough ago; whoever hears so tells it again."""
        now_s = self._clock()
        if is_due := now_s - self._told_s >= _EVERY_S:
            self._told_s = now_s
        return is_due

    def add(self, key: Key, more: float) -> None:
        """To a counter; Ray takes no zeros."""
        self._counters[key[0]].inc(more, self._tags(key))

    def show(self, key: Key, value: float) -> None:
        """By a gauge."""
        self._gauges[key[0]].set(value, self._tags(key))

    def _tags(self, key: Key) -> dict[str, str]:
        name, value = key
        return {"run": self._run, self._table[name].tag: value} if self._table[name].tag else {"run": self._run}


class RunMetrics:
    """Of one run; made once Ray is connected."""

    def __init__(self, run: str) -> None:
        self._ray = RayMetrics(METRICS, run)
        self._sums = Sums()

    def ended(self, part: Part, outcome: Outcome) -> None:
        """A part has ended for good."""
        self._sums.ended(part, outcome)

    def tell(self, standing: Callable[[], Standing], *, last: bool = False) -> None:
        """Hand everything to Ray, unless that was done just now; `last`: even then."""
        if not self._ray.is_due() and not last:
            return
        stands = standing()
        self._sums.stand(stands)
        for key, more in self._sums.news():
            self._ray.add(key, more)
        for name, value in _gauges(stands).items():
            self._ray.show((name, ""), value)


def _gauges(stands: Standing) -> dict[str, float]:
    told = {
        "farm_workers": stands.workers,
        "farm_queued_parts": stands.queued_parts,
        "farm_in_flight_units": stands.in_flight_units,
        "farm_items_left": stands.items_left,
        "farm_progress_ratio": stands.progress_ratio,
    }
    return told if stands.eta_s is None else {**told, "farm_eta_seconds": stands.eta_s}
