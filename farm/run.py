"""One run, from manifest to result manifest: lock, plan, ledger, engine, progress.

The order matters. The lock is taken before anything heavy is imported; weights are there before Ray starts; every
output is published before its ledger entry is written; the result manifest comes last.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING

from farm import clock, fetch, ledger, lock, manifest, plan, storage
from farm.assemble import Assembly
from farm.book import ModelBook
from farm.closing import Closing
from farm.config import RunConfig
from farm.entries import added_seconds, done_entry, failed_entry
from farm.errors import FarmError, LostLockError, StalledError
from farm.feed import Chosen, Feed
from farm.fleet import cluster_address, device_class, exposed_token, plan_fleet, prepare_ray, runs_fused
from farm.ledger import Compared
from farm.metrics import RunMetrics, Standing
from farm.outfit import Outfit
from farm.pace import Pace
from farm.pieces import clear_pieces
from farm.progress import Likeness, Progress, Workload, effort_of
from farm.records import Done, Failed, Part, PartKind, Split, StageSeconds, WorkItem
from farm.run_note import RunningNote, noted
from farm.schedule import Finished, Schedule, SchedulePolicy
from farm.several import settled
from farm.signals import Received, stopped_by_signals
from farm.stop import Stop, stop_of
from farm.storage import faults
from farm.summary import MAX_FAILURES, SHOWN, RowState, RunSummary, Tally
from farm.survey import Survey, Surveyor, compared_by, count_rows
from farm.turn import Wait

if TYPE_CHECKING:
    from farm.engine import Engine

_WRITTEN_WHEN_STOPPED = 4
"""shards of a ledger whose results are written within the seconds that a stopped run has"""


Choose = Callable[[Surveyor, Survey, Outfit], Chosen]
"""which of the rows that are to do a run does"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would do."""

    out: str
    survey: Survey


def run_manifest(
    config: RunConfig, held: lock.RunLock | None = None, stop: Stop | None = None, choose: Choose | None = None
) -> RunSummary:
    """Do everything a manifest asks for that is not done yet. Raises FarmError when it cannot start or go on.

    `held`: the lock of the output root, of who holds it already; `stop`: when the run ends, of who has begun before;
    `choose`: says which of the rows are done, and the others are left.
    """
    with stopped_by_signals() as received:
        return _run_stoppable(settled(config), received, held, stop or stop_now(config), choose)


def stop_now(config: RunConfig) -> Stop:
    """When a run ends that begins now."""
    return stop_of(config.stop, datetime.now().astimezone(), clock.now_s())


def _run_stoppable(
    config: RunConfig, received: Received, lock_held: lock.RunLock | None, stop: Stop, choose: Choose | None
) -> RunSummary:
    out = output_root(config)
    with nullcontext(lock_held) if lock_held else lock.RunLock(out) as held:
        received.on_end = held.abandon
        storage.clear_staging(out, keep=held.run, is_dead=held.is_dead)
        with _leaving_nothing(out, held, is_on_cluster=cluster_address(config.worker) is not None):
            return _run_held(config, out, received, held, stop, choose)


@contextmanager
def _leaving_nothing(out: str, held: lock.RunLock, *, is_on_cluster: bool) -> Generator[None]:
    """Where a run cannot go on its workers have ended, and what they had staged would fill a disk that has to be freed.

    Not that of one that has lost its lock, which removes nothing more, or its cluster, whose workers may be at work:
    the next run does.
    """
    try:
        yield
    except LostLockError:
        raise
    except FarmError as error:
        if is_on_cluster and isinstance(error, StalledError):
            raise
        with suppress(FarmError):  # what ended the run is what is to be said, and may keep us from clearing too
            held.confirm()
            storage.clear_staging(out, keep="", is_dead=held.is_dead)
        raise


def _run_held(
    config: RunConfig, out: str, received: Received, held: lock.RunLock, stop: Stop, choose: Choose | None
) -> RunSummary:
    started_s = time.monotonic()
    planner, models = planner_of(config, out)
    with Surveyor(config, planner, out) as surveyor:
        is_said = ledger.check_form(out, is_empty=not surveyor.ledger)
        counted = surveyor.survey(lambda: stop.check(clock.now_s(), "the manifest was read"))
        if not is_said:
            ledger.write_form(out, held.run)
        outfit = Outfit(config, models, counted, planner)
        chosen = choose(surveyor, counted, outfit) if choose is not None else None
        run = _Run(config, out, held, surveyor, counted, outfit, stop, chosen)
        with noted(run.note, lambda: run.summary("", 0.0)), ledger.Ledger(out, held.run, held.check) as book:
            run.work(book, planner.fingerprint, received)
    ledger.compact(out, held.run, held.confirm)
    results = run.write_results()
    run.clear_pieces()
    held.confirm()
    storage.clear_staging(out, keep="", is_dead=held.is_dead)
    summary = run.summary(results, time.monotonic() - started_s)
    run.note.end(summary)
    notes = models.notes_of_work(counted.models)
    warnings = filter(None, (held.warning, exposed_token(config.worker), *notes, summary.warning))
    return replace(summary, warning="; ".join(warnings) or None)


def dry_run(config: RunConfig) -> DryRun:
    """Count, plan and check everything; start and write nothing."""
    config = settled(config)
    out = output_root(config)
    planner, _ = planner_of(config, out)
    with Surveyor(config, planner, out) as surveyor:
        ledger.check_form(out, is_empty=not surveyor.ledger)
        return DryRun(out=out, survey=count_rows(surveyor))


def output_root(config: RunConfig) -> str:
    """Where outputs go: as asked for, or farm-out/ beside the manifest; absolute."""
    return manifest.output_root(config.manifest, config.output.out)


def planner_of(config: RunConfig, out: str, device: str | None = None) -> tuple[plan.Planner, ModelBook]:
    """Who resolves the rows of a run, and its models; `device`: cuda or cpu instead of what this machine has."""
    models, device = ModelBook(config.model), device or device_class(config.worker)
    fused = device == "cuda" and runs_fused(config.worker, config.model.kernel)
    face = fetch.resolve_face(config.face, config.model.weights_dir)
    return plan.Planner(config, models, out, device, fused=fused, face=face), models


class _Run:
    """The part of a run that has state: what has ended so far."""

    def __init__(
        self,
        config: RunConfig,
        out: str,
        held: lock.RunLock,
        surveyor: Surveyor,
        counted: Survey,
        outfit: Outfit,
        stop: Stop,
        chosen: Chosen | None,
    ) -> None:
        self._config = config
        self._out = out
        self._held = held
        self._id = held.run
        self._surveyor = surveyor
        self._counted = counted
        self._outfit = outfit
        self._stop = stop
        self._assembly = Assembly()
        self._failed_items: set[str] = set()
        """cut pictures and films that failed while other pieces of theirs were in flight"""
        self._spoilt: set[str] = set()
        """those of them whose pieces are of no use to a later run"""
        self._chosen = chosen
        states = counted.states if chosen is None else chosen.states
        self._tally = Tally(states=Counter(states), outputs=counted.reused[:SHOWN], failures=counted.settled[:SHOWN])
        self._schedule: Schedule | None = None
        self._signum: int | None = None
        self._is_slow_told = False
        self.note = RunningNote(out)
        self._spent: dict[str, StageSeconds] = {}
        """on pieces of items that are not joined yet, by item"""

    def work(self, book: ledger.Ledger, fingerprint: str, received: Received) -> None:
        """Write down what needs no worker; start Ray, if a row does, and run all that do."""
        self._book = book
        closing = Closing(self._out, self._id, book, fingerprint, self._surveyor.ledger, self._held.confirm)
        self._feed = Feed(self._surveyor, self._counted, book, closing, self._tally, self._id, self._chosen)
        self._feed.on_shard = self._forget_failed
        self._feed.is_over = self._is_over
        parts = self._feed.parts()
        first = next(parts, None)
        if first is not None:
            with faults.run_level(self._out):
                storage.capabilities(self._out)  # a root that cannot be written to is known before anything starts
            self.note.begin(self._config, self._id, self._counted)
            self._run_parts(chain([first], parts), received)

    @property
    def _too_many_failed(self) -> bool:
        """Whether more rows have failed in this run than it may go on with."""
        refused = self._tally.states[RowState.REFUSED] - self._counted.states[RowState.REFUSED]
        return self._stop.too_many(self._tally.failed + refused, self._counted.rows)

    @property
    def _may_reorder(self) -> bool:
        """Whether the last rows may go out by their size: none is left for want of time, and no order was asked for."""
        return self._stop.ends_s == math.inf and self._config.stop.first != "oldest"

    def _is_over(self) -> bool:
        """Whether no more rows are wanted."""
        return self._stop.is_over(clock.now_s()) or self._too_many_failed

    def _forget_failed(self) -> None:
        """Of items that failed, those are forgotten of which nothing is in flight any more."""
        kept = self._schedule.forget_dropped() if self._schedule else set[str]()
        for item_id in self._spoilt - kept:
            self._delete_pieces(item_id)
        self._spoilt &= kept
        self._failed_items &= kept

    # -- work --------------------------------------------------------------------------------------------------

    def _run_parts(self, parts: Iterator[Part], received: Received) -> None:
        """Start Ray, run every part, end Ray."""
        feed = self._feed
        costs, lines = self._outfit.costs, sys.stdout if self._config.json else None
        work = Workload(costs, {}, 0)
        with Progress(0, work, quiet=self._config.quiet, lines=lines, refused=feed.refused) as progress:

            def expect(guesses: Mapping[Likeness, int], rows: int) -> None:
                progress.expect(guesses, rows, feed.unplanned, feed.expected)

            progress.start(self._id, self._out, costs)
            expect(feed.guesses, feed.planned)
            feed.on_planned = expect
            self._outfit.fetch(progress)
            progress.note("starting Ray")
            prepare_ray(self._config.worker)
            from farm.engine import Engine  # imports ray

            pace = self._outfit.pace()
            schedule = self._schedule = Schedule(SchedulePolicy(largest_first=self._may_reorder), pace)
            context = self._outfit.context(self._id, self._out)
            slots, engine_config = plan_fleet(
                self._config.worker, context, pace.deadline_s, self._outfit.body_bytes, self._stop.ends_s
            )
            ahead = list(islice(parts, len(slots)))
            engine = Engine(replace(engine_config, at_first=self._wanted(ahead, len(slots))), slots, schedule)
            engine.session.on_terminated = lambda: received.handle(signal.SIGTERM, None)
            engine.on_waiting = lambda wait: self._wait(wait, progress)

            def connected() -> None:
                received.arm()  # Ray brings a SIGTERM handler of its own
                if self._config.worker.dashboard and engine.session.dashboard:
                    progress.say(engine.session.dashboard_words())

            def turn() -> None:
                self._held.check()
                if self._too_many_failed:
                    engine.stop()
                progress.tick()
                metrics.tell(lambda: self._standing(schedule, progress))

            def end() -> None:
                engine.session.abandon()
                self._held.abandon()

            engine.session.on_connected = connected
            engine.on_turn = turn
            received.ask(engine.stop, end)
            received.arm()  # asking a cluster what it has has brought them already
            with engine:
                progress.begin(schedule)
                self.note.wait("")
                metrics = RunMetrics(self._id)
                for finished in engine.run(chain(ahead, parts)):
                    self._end(finished, engine, schedule, pace, progress)
                    metrics.ended(finished.part, finished.outcome)
                metrics.tell(lambda: self._standing(schedule, progress), last=True)
            received.on_first = None
            self._signum = received.signum
            for item_id in self._spoilt:
                self._delete_pieces(item_id)  # only now: other pieces of theirs were in flight

    def _wait(self, wait: Wait, progress: Progress) -> None:
        """Workers have no place yet, or start: hours may pass in which nothing else is looked after."""
        self._held.check()
        progress.wait(wait.text, wait.told)
        self.note.wait(wait.text if wait.wanted else "")

    def _wanted(self, ahead: Sequence[Part], workers: int) -> int:
        """How many workers the first parts keep busy: a film, a pack or a large picture is cut into more."""
        band_px = self._config.model.band_px
        is_cut = (part.kind is not PartKind.PICTURE or part.item.is_pack or part.cost_px > band_px for part in ahead)
        return workers if any(is_cut) else min(workers, len(ahead))

    # -- what ends ---------------------------------------------------------------------------------------------

    def _end(self, finished: Finished, engine: Engine, schedule: Schedule, pace: Pace, progress: Progress) -> None:
        part, outcome = finished.part, finished.outcome
        if isinstance(outcome, Done):
            self._tell_slow(outcome, progress)
        if part.item.item_id in self._failed_items:
            return
        if isinstance(outcome, Split):
            self._cut(part, outcome, engine, progress)
        elif isinstance(outcome, Failed) and part.item.is_pack and part.kind is PartKind.BAND:
            self._go_on(self._assembly.add_failed(part, outcome), engine)
        elif isinstance(outcome, Failed):
            schedule.drop_item(part.item.item_id)
            self._fail(part.item, outcome, finished.attempts, progress)
        else:
            if part.kind is not PartKind.JOIN:
                pace.observe(part, outcome.source_px, outcome.seconds.infer)
            self._finish(finished, outcome, engine, progress)

    def _tell_slow(self, done: Done, progress: Progress) -> None:
        """Why the first results of a GPU took so long, once a run."""
        if done.passes.slow_s and not self._is_slow_told:
            self._is_slow_told = True
            progress.say(
                f"{done.worker}: its first passes took {done.passes.slow_s:.0f} s, most of it to compile and load "
                f"kernels; {done.node} keeps what was compiled"
            )

    def _cut(self, part: Part, split: Split, engine: Engine, progress: Progress) -> None:
        item = part.item
        engine.add(self._assembly.begin(part, split, self._feed.pieces(item)))
        px, share = split.size[0] * split.size[1], self._assembly.share(item.item_id)
        frames = split.film.frames if split.film else 0
        name = storage.name(item.row.source_url)
        progress.cut(item, px * (frames or 1), share, name, frames, effort_of(split))

    def _finish(self, finished: Finished, done: Done, engine: Engine, progress: Progress) -> None:
        part = finished.part
        item_id = part.item.item_id
        if part.kind in (PartKind.BAND, PartKind.SEGMENT):
            self._spent[item_id] = added_seconds(self._spent.get(item_id, StageSeconds()), done.seconds)
            self._book.append(done_entry(part, done, finished.attempts, self._id))
            self._go_on(self._assembly.add(part, done), engine)
            progress.piece(part.item, done.source_px, done.frames, effort_of(done))
            return
        pieces = self._spent.pop(item_id, None)
        self._book.append(done_entry(part, done, finished.attempts, self._id, pieces=pieces))
        if self._assembly.end(item_id):
            self._delete_pieces(item_id)
        is_open = part.item.is_pack and done.lacking
        self._feed.ended(part.item, RowState.REUSED, Compared.NOT_MARKED if is_open else compared_by(part.item))
        self._tally.done += 1
        self._tally.source_px += done.source_px
        self._tally.frames += done.frames
        self._tally.note_output(done.url)
        if done.warning:
            self._tally.note_warning(part.item.row.source_url, done.warning)
        if done.suspect:
            found = f"published, but suspect ({done.suspect}): look at {done.url}"
            self._tally.note_warning(part.item.row.source_url, found)
        progress.finish(part.item, 0 if part.kind is PartKind.JOIN else done.source_px, effort_of(done))

    def _go_on(self, join: Part | None, engine: Engine) -> None:
        """With the join of an item whose pieces are all there."""
        if join is not None:
            engine.add([join])

    def _fail(self, item: WorkItem, failed: Failed, attempts: int, progress: Progress) -> None:
        self._book.append(failed_entry(item, failed, attempts, self._id))
        self._spent.pop(item.item_id, None)
        if self._assembly.end(item.item_id):
            self._failed_items.add(item.item_id)
            if failed.kind.lasting:
                self._spoilt.add(item.item_id)
        compared = compared_by(item) if failed.kind.settled else Compared.NOT_MARKED
        self._feed.ended(item, RowState.SETTLED, compared)
        self._tally.failed += 1
        self._tally.note_failure(failed.message)
        progress.fail(item, failed.kind.value, failed.message, effort_of(failed))

    def _delete_pieces(self, item_id: str) -> None:
        self._held.check()  # or they may be another run's
        storage.delete_tree(storage.join(self._out, ".farm", "parts", item_id))

    # -- what is said ------------------------------------------------------------------------------------------

    def _standing(self, schedule: Schedule, progress: Progress) -> Standing:
        """What metrics are told; rows are counted as the summary counts them."""
        counted, mishaps = self.summary("", 0.0), schedule.mishaps
        states = ("done", "failed", "reused", "skipped")
        return Standing(
            items={state: getattr(counted, state) for state in states},
            retries=mishaps.retries,
            out_of_memory=mishaps.out_of_memory,
            deaths={cause.value: count for cause, count in mishaps.deaths.items()},
            workers=schedule.workers,
            queued_parts=schedule.queued,
            in_flight_units=schedule.in_flight,
            items_left=counted.left,
            progress_ratio=progress.reached,
            eta_s=progress.left_s(),
        )

    def write_results(self) -> str:
        """Write the result manifest; returns its URL.

        Not after a signal where it would take longer than a stopped run may: the next run writes it.
        """
        if self._signum is not None and len(self._surveyor.ledger) > _WRITTEN_WHEN_STOPPED:
            return storage.join(self._out, ledger.RESULTS)
        return ledger.write_results(self._out, self._held.confirm, run=self._id)

    def clear_pieces(self) -> None:
        """Remove what a run that was killed had joined and not removed. Not after a signal: the next run does it."""
        if self._signum is None:
            clear_pieces(self._out, self._held.confirm, self._held.is_settled)

    def summary(self, results: str, seconds: float) -> RunSummary:
        summary = self._tally.summary(self._out, results, rows=self._counted.rows, seconds=seconds, signum=self._signum)
        summary = replace(summary, stopped=self._stopped_by(summary))
        if not self._feed.unverified:
            return summary
        return replace(summary, warning=f"{self._feed.unverified} rows have no digest of their source: not verified")

    def _stopped_by(self, summary: RunSummary) -> str:
        """The option by which the run ended, if one did."""
        if self._too_many_failed:
            return MAX_FAILURES
        closing = self._schedule is not None and self._schedule.is_closing
        return self._stop.name if summary.left and (closing or self._stop.is_over(clock.now_s())) else ""
