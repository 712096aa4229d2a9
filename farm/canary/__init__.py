"""A sample before the whole: some rows of every sort, restored by the real path; a report; what all would take.

draw.py      which rows                                  kept.py     what is remembered of them
measured.py  what they took, as the ledger says          reckon.py   what all would take
page.py      their report

The sample is a run like any other that leaves the other rows: what it has done is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from farm import clock, ledger, lock, run
from farm.canary.draw import Draw, with_sample
from farm.canary.kept import Sample, read_sample, write_sample
from farm.canary.measured import Measured, measure
from farm.canary.page import write_page
from farm.canary.reckon import reckon
from farm.config import CanaryConfig, RunConfig
from farm.feed import Chosen
from farm.fleet import worker_count
from farm.outfit import Outfit
from farm.records import WorkItem
from farm.several import settled
from farm.stop import Stop
from farm.summary import SAMPLE, SHOWN, SUSPECT_LIMIT, Canary, RowState, RunSummary
from farm.survey import PendingRow, Survey, Surveyor

__all__ = ["Answer", "Planned", "Seen", "goes_on", "plan_sample", "run_rest", "run_sample", "without_rest"]

Answer = Callable[[Canary, bool | None], bool]
"""told of a sample and whether the options go on (None: they leave that to a person); says whether the run does"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a sample ended."""

    summary: RunSummary
    canary: Canary
    stop: Stop
    """when the whole command ends"""
    is_over: bool
    """whether nothing is left, or the sample was stopped: then there is nothing to go on with"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Which rows a sample would have."""

    sources: tuple[str, ...]
    pending: int
    """those of the rows that are still to do"""
    population: int
    strata: int


def run_sample(config: RunConfig, held: lock.RunLock) -> Seen:
    """Restore the sample and write its report. Raises FarmError when that cannot start or go on."""
    out, stop = run.output_root(config), run.stop_now(config)
    choice = _Choice(config, out, held, stop)
    summary = run.run_manifest(_trusting(config), held, stop, choice.choose)
    held.check()
    measured = measure(out, choice.sample.drawn, on_gpus=choice.gpus > 0)
    canary = _canary(choice, measured)
    was_stopped = summary.signum is not None or bool(summary.stopped)
    if canary.rows and not was_stopped:
        canary = replace(canary, page=write_page(out, canary, choice.sample.drawn))
    verifies = config.verify_inputs or config.verify_outputs
    return Seen(
        summary=replace(summary, canary=canary),
        canary=canary,
        stop=stop,
        is_over=was_stopped or not (summary.left or verifies),
    )


def goes_on(seen: Seen, config: CanaryConfig, answer: Answer) -> bool:
    """Whether the others follow."""
    if not seen.canary.rows:  # only done ones are left, to be verified
        return True
    limit = config.yes_if_suspect_below
    bad_percent = max(seen.canary.bad_percent, seen.canary.refused_percent)
    decided = config.yes or (limit is not None and bad_percent < limit)
    return answer(seen.canary, True if decided else None)


def without_rest(seen: Seen, config: CanaryConfig) -> RunSummary:
    """Of a command that does not go on."""
    return replace(seen.summary, stopped=SAMPLE if config.yes_if_suspect_below is None else SUSPECT_LIMIT)


def run_rest(config: RunConfig, held: lock.RunLock, seen: Seen) -> RunSummary:
    """All that is left; the summary is of both runs."""
    first, rest = seen.summary, run.run_manifest(config, held, seen.stop)
    again = min(first.done, rest.reused)
    return replace(
        rest,
        done=rest.done + again,
        reused=rest.reused - again,
        source_px=rest.source_px + first.source_px,
        frames=rest.frames + first.frames,
        seconds=rest.seconds + first.seconds,
        warned=rest.warned + first.warned,
        warnings=(*first.warnings, *rest.warnings)[:SHOWN],
        canary=seen.canary,
    )


def plan_sample(config: RunConfig) -> Planned:
    """Draw, and start and write nothing."""
    config = _trusting(settled(config))
    out = run.output_root(config)
    planner, _ = run.planner_of(config, out)
    with Surveyor(config, planner, out) as surveyor:
        ledger.check_form(out, is_empty=not surveyor.ledger)
        looked = _look(surveyor, surveyor.survey(), config.canary.sample or 0, read_sample(out), lambda: None)
    return Planned(
        sources=tuple(item.row.source_url for item in looked.pending.values()),
        pending=len(looked.pending),
        population=looked.sample.population,
        strata=len(looked.draw.crowds),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What is to do, and which of it is the sample."""

    sample: Sample
    pending: dict[str, WorkItem]
    """what is to do of the sample"""
    draw: Draw
    states: Counter[RowState]
    is_old: bool
    """whether the sample is one that was drawn before"""


class _Choice:
    """Chooses the rows of a run that does a sample alone."""

    def __init__(self, config: RunConfig, out: str, held: lock.RunLock, stop: Stop) -> None:
        self._config = config
        self._out = out
        self._held = held
        self._stop = stop

    def choose(self, surveyor: Surveyor, counted: Survey, outfit: Outfit) -> Chosen:
        """See `farm.run.Choose`."""
        asked, before = self._config.canary.sample or 0, read_sample(self._out)
        looked = _look(surveyor, counted, asked, before, self._check)
        self.sample, self.was_done = looked.sample, looked.is_old and not looked.pending
        self.crowds, self.states = looked.draw.crowds, looked.states
        if looked.is_old:
            done = [one for one in looked.sample.drawn if one.item_id not in looked.pending]
            self.crowds = with_sample(self.crowds, done)
        elif looked.sample.drawn:
            write_sample(self._out, self._held.run, looked.sample)
        self.gpus, self.workers = worker_count(self._config.worker, outfit.body_bytes)
        return Chosen(items=looked.pending, states=looked.states)

    def _check(self) -> None:
        self._stop.check(clock.now_s(), "a sample was drawn")
        self._held.check()


def _trusting(config: RunConfig) -> RunConfig:
    """What is done is verified by the run over all rows, once."""
    return replace(config, verify_inputs=False, verify_outputs=False)


def _look(
    surveyor: Surveyor, counted: Survey, asked: int, before: Sample | None, on_shard: Callable[[], None]
) -> _Looked:
    """Plan every row that may be to do. `before`: the last sample, which is found again where all else is the same."""
    draw, states = Draw(asked), Counter(counted.states)
    wanted = {one.item_id for one in before.drawn} if before else set[str]()
    found: dict[str, WorkItem] = {}
    for _, planned in surveyor.plans(counted):
        on_shard()
        for row in planned.rows():
            states[row.state] += 1
            if isinstance(row, PendingRow):
                draw.add(row.item)
                if row.item.item_id in wanted:
                    found[row.item.item_id] = row.item
        del planned  # or two shards are held while the next one is planned
    if before is not None and before.is_of(asked, draw.rows, draw.digest, found):
        return _Looked(sample=before, pending=found, draw=draw, states=states, is_old=True)
    drawn = draw.sample()
    sample = Sample(asked=asked, population=draw.rows, digest=draw.digest, drawn=tuple(one for _, one in drawn))
    pending = {item.item_id: item for item, _ in drawn}
    return _Looked(sample=sample, pending=pending, draw=draw, states=states, is_old=False)


def _canary(choice: _Choice, measured: Measured) -> Canary:
    sample = choice.sample
    return Canary(
        asked=sample.asked,
        rows=len(sample.drawn),
        population=sample.population,
        manifest=choice.states.total(),
        refused=choice.states[RowState.REFUSED],
        strata=len(choice.crowds),
        strata_drawn=len({one.stratum for one in sample.drawn}),
        was_done=choice.was_done and bool(sample.drawn),
        done=measured.done,
        failed=measured.failed,
        suspect=measured.suspect,
        source_px=sum(one.source_px for one in measured.spent),
        worker_seconds=sum(one.seconds for one in measured.spent),
        output_bytes=sum(one.output_bytes for one in measured.spent),
        gpus=choice.gpus,
        workers=choice.workers,
        whole=reckon(choice.crowds, measured.spent),
        page="",
    )
