"""What a ledger says of a run as figures: counts, sums, time series and spreads. Reads columns; draws nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.records import ItemStatus
from farm.report.spread import Spread, Timeline
from sr_kernel.believable import floors

Table = Any
"""a pyarrow.Table of COLUMNS, which has no types"""
STAGES = ("read", "decode", "wait", "infer", "encode", "write")
"""of `StageSeconds`, in the order in which a part goes through them"""
FIGURES = ("consistency", "colour", "off", "stripes", "lattice", "seam", "niqe")
"""columns of the ledger that say how believable an output is"""
RANGES: Mapping[str, tuple[float, float]] = {
    "consistency": (0, 100),
    "colour": (0, 50),
    "off": (0, 1),
    "stripes": (0, 1),
    "lattice": (0, 10),
    "seam": (0, 20),
    "niqe": (0, 50),
}
"""what each is counted over"""
FLOORS: Mapping[str, tuple[float, int]] = {
    "consistency": (floors.LEAST_CONSISTENCY_DB, -1),
    "colour": (floors.MOST_COLOUR_LEVELS, 1),
    "off": (floors.MOST_OFF_SHARE, 1),
    "stripes": (floors.MOST_STRIPED_SHARE, 1),
    "lattice": (floors.MOST_LATTICE_LEVELS, 1),
    "seam": (floors.MOST_SEAM_SCORE, 1),
}
"""where a figure is beyond belief, and whether the larger (1) or the smaller (-1) is the worse; NIQE has none"""
EXAMPLES = 5
"""messages of a class of failures that are kept"""
SUSPECTS = 50
"""suspect outputs that are kept for a list"""
MOST_NAMES = 64
"""models, workers and runs that are told apart; what comes beyond is counted as one"""
OTHERS = "others"
COLUMNS = [
    *("status", "error", "message", "source", "output", "bytes", "width", "height", "source_px", "model"),
    *("scale", "suspect", "frames", "flicker", "infer_s", "node", "worker", "finished_unix", "run", "source_version"),
    "entry",
    *(f"{stage}_s" for stage in STAGES if stage != "infer"),
    *FIGURES,
]
"""what is read of each entry"""


@dataclass(slots=True)
class Group:
    """Done rows that share a model, a worker or a run."""

    rows: int = 0
    failed: int = 0
    source_px: int = 0
    frames: int = 0
    infer_s: float = 0.0
    first_unix: float = float("inf")
    last_unix: float = 0.0
    restored: Timeline = field(default_factory=Timeline)
    """source pixels of done rows, when each ended"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An output that is not believable."""

    output: str
    suspect: str
    """names of the figures that are beyond belief, with spaces between"""
    figures: Mapping[str, float]
    """the figures that it has"""


@dataclass(slots=True)
class Failure:
    """One class of failures."""

    count: int = 0
    examples: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Account:
    """All that is said of a root in figures; filled shard by shard."""

    done: int = 0
    failed: int = 0
    suspect: int = 0
    """of the done ones"""
    films: int = 0
    frames: int = 0
    source_px: int = 0
    output_px: int = 0
    """of pictures, and of one frame of films"""
    output_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """by stage, summed over all workers"""
    staged: int = 0
    """done rows whose stages are known"""
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])
    models: dict[str, Group] = field(default_factory=dict[str, Group])
    workers: dict[str, Group] = field(default_factory=dict[str, Group])
    runs: dict[str, Group] = field(default_factory=dict[str, Group])
    suspects: list[Suspect] = field(default_factory=list[Suspect])
    """the first ones"""
    figures: dict[str, Spread] = field(default_factory=lambda: {name: Spread(*RANGES[name]) for name in FIGURES})
    """of done rows that have them"""

    def add(self, table: Table) -> None:
        """Count the results of a shard."""
        is_done = np.asarray(_compute().equal(table["status"], ItemStatus.DONE.value))
        done, failed = table.filter(is_done), table.filter(~is_done)
        self.done += len(done)
        self.failed += len(failed)
        frames = done["frames"].to_numpy()
        self.films += int((frames > 0).sum())
        self.frames += int(frames.sum())
        self.source_px += int(done["source_px"].to_numpy().sum())
        self.output_px += int((done["width"].to_numpy() * done["height"].to_numpy()).sum())
        self.output_bytes += int(done["bytes"].to_numpy().sum())
        self._add_stages(done)
        self._add_groups(table, is_done)
        self._add_failures(failed)
        self._add_suspects(done)
        for name in FIGURES:
            self.figures[name].add(done[name].to_numpy())

    def _add_stages(self, done: Table) -> None:
        known = np.asarray(_compute().is_valid(done["read_s"]))
        self.staged += int(known.sum())
        for stage in STAGES:
            seconds = done[f"{stage}_s"].to_numpy()[known]
            self.seconds[stage] += float(np.nan_to_num(seconds).sum())

    def _add_groups(self, table: Table, is_done: NDArray[np.bool_]) -> None:
        px, frames = table["source_px"].to_numpy(), table["frames"].to_numpy()
        infer_s, ended = table["infer_s"].to_numpy(), table["finished_unix"].to_numpy()
        nodes, workers = table["node"].to_pylist(), table["worker"].to_pylist()
        places = [f"{node} {worker}" if worker else "" for node, worker in zip(nodes, workers, strict=True)]
        kinds = ((self.models, table["model"].to_pylist()), (self.runs, table["run"].to_pylist()))
        for groups, names in (*kinds, (self.workers, places)):
            for name, where in _positions(names):
                group = _group(groups, name)
                done = where[is_done[where]]
                group.rows += len(done)
                group.failed += len(where) - len(done)
                group.source_px += int(px[done].sum())
                group.frames += int(frames[done].sum())
                group.infer_s += float(infer_s[done].sum())
                group.first_unix = min(group.first_unix, float(ended[where].min()))
                group.last_unix = max(group.last_unix, float(ended[where].max()))
                if groups is self.runs:
                    group.restored.add(ended[done], px[done].astype(np.float64))

    def _add_failures(self, failed: Table) -> None:
        for name, message in zip(failed["error"].to_pylist(), failed["message"].to_pylist(), strict=True):
            failure = self.failures.setdefault(name or "unknown", Failure())
            failure.count += 1
            if len(failure.examples) < EXAMPLES:
                failure.examples.append(message)

    def _add_suspects(self, done: Table) -> None:
        table = done.filter(_compute().not_equal(done["suspect"], ""))
        self.suspect += len(table)
        for row in table.slice(0, max(0, SUSPECTS - len(self.suspects))).to_pylist():
            figures = {name: row[name] for name in FIGURES if row[name] is not None}
            self.suspects.append(Suspect(output=row["output"], suspect=row["suspect"], figures=figures))


def _positions(names: list[str]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each name but the empty one, with the rows that have it."""
    values, inverse = np.unique(np.array(names, dtype=object), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(values) + 1))
    for number, name in enumerate(values):
        if name:
            yield str(name), order[bounds[number] : bounds[number + 1]]


def _group(groups: dict[str, Group], name: str) -> Group:
    if name not in groups and len(groups) >= MOST_NAMES:
        name = OTHERS
    return groups.setdefault(name, Group())


def _compute() -> Any:
    from pyarrow import compute

    return cast(Any, compute)
