"""One run, from manifest to result manifest: lock, plan, ledger, engine, progress.

The order matters. The lock is taken before anything heavy is imported; weights are there before Ray starts; every
output is published before its ledger entry is written; the result manifest comes last.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm import fetch, ledger, lock, manifest, plan, storage
from farm.assemble import Assembly
from farm.config import RunConfig
from farm.entries import done_entry, failed_entry, refused_entry
from farm.errors import InterruptedRun, ModelError
from farm.fleet import device_class, plan_fleet, prepare_ray
from farm.progress import Progress
from farm.records import Done, Failed, Part, PartKind, Split, WorkItem
from farm.schedule import Finished, Pace, Schedule, SchedulePolicy
from farm.signals import stopped_by_signals
from farm.survey import PlannedRow, RowState, Survey, Surveyor, survey
from sr_kernel.models import FILE_PREFIX, flop_per_px

if TYPE_CHECKING:
    from farm.engine import Engine
    from farm.tasks.base import WorkerContext

_SHOWN = 5
"""outputs and failures that a summary names"""
_FLOOR_FLOPS = {"cpu": 10e9, "cuda": 500e9}
"""floating-point operations a second that no working device falls below; deadlines rest on it until a rate is known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run did. Rows = done + reused + skipped + failed + left."""

    out: str
    results: str
    rows: int
    done: int
    reused: int
    skipped: int
    failed: int
    left: int
    """not reached, because the run was stopped"""
    source_px: int
    seconds: float
    outputs: tuple[str, ...]
    """the first few outputs, for a person to open"""
    failures: tuple[str, ...]
    """the first few messages"""
    signum: int | None = None

    @property
    def exit_code(self) -> int:
        if self.signum:
            return InterruptedRun(self.signum).code
        return 3 if self.failed else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would do."""

    out: str
    survey: Survey


class ModelBook(dict[str, fetch.ResolvedModel]):
    """Models by the name that the command or a row gives; resolved when first asked for.

    Raises ModelError for the command's own model, KeyError for one that a row names.
    """

    def __init__(self, main: str) -> None:
        super().__init__()
        self[main] = fetch.resolve(main)

    def __missing__(self, name: str) -> fetch.ResolvedModel:
        try:
            resolved = self[name] = fetch.resolve(name)
        except ModelError as error:
            raise KeyError(name) from error
        return resolved

    def by_spec_name(self, name: str) -> fetch.ResolvedModel:
        """The model whose own name, as items carry it, is `name`."""
        return next(model for model in self.values() if model.spec.name == name)


def run_manifest(config: RunConfig) -> RunSummary:
    """Do everything a manifest asks for that is not done yet. Raises FarmError when it cannot start or go on."""
    started_s = time.monotonic()
    out = output_root(config)
    with lock.RunLock(out) as held:
        storage.clear_staging(out, keep=held.run)
        surveyor, books = _surveyor(config, out)
        counted = survey(surveyor)
        with ledger.Ledger(out, held.run) as book:
            run = _Run(config, out, held.run, surveyor, counted, books, book)
            run.refuse()
            if counted.states[RowState.PENDING]:
                run.work()
        ledger.compact(out, held.run)
        storage.clear_staging(out, keep="")
        return run.summary(ledger.write_results(out), time.monotonic() - started_s)


def dry_run(config: RunConfig) -> DryRun:
    """Count, plan and check everything; start and write nothing."""
    out = output_root(config)
    surveyor, _ = _surveyor(config, out)
    return DryRun(out=out, survey=survey(surveyor))


def output_root(config: RunConfig) -> str:
    """Where outputs go: as asked for, or farm-out/ beside the manifest; absolute."""
    return manifest.canonical(config.output.out) if config.output.out else manifest.default_out(config.manifest)


def _surveyor(config: RunConfig, out: str) -> tuple[Surveyor, ModelBook]:
    models = ModelBook(config.model.model)
    planner = plan.Planner(config, models, out, device_class(config.worker))
    entries = ledger.read_ledger(out)
    outputs = {stat.url: stat.bytes for stat in storage.list_files(out)} if entries else {}
    return Surveyor(config, planner, out, entries, outputs), models


class _Run:
    """The part of a run that has state: what has ended so far."""

    def __init__(
        self,
        config: RunConfig,
        out: str,
        run: str,
        surveyor: Surveyor,
        counted: Survey,
        models: ModelBook,
        book: ledger.Ledger,
    ) -> None:
        self._config = config
        self._out = out
        self._id = run
        self._surveyor = surveyor
        self._counted = counted
        self._models = models
        self._book = book
        self._assembly = Assembly()
        self._failed_items: set[str] = set()
        """cut pictures that failed while other bands of theirs were in flight"""
        self._done = 0
        self._failed = 0
        self._source_px = 0
        self._outputs = counted.reused[:_SHOWN]
        self._failures = counted.settled[:_SHOWN]
        self._signum: int | None = None
        self._infer_s: dict[str, float] = {}

    # -- rows that need no worker ------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Write down what the plan itself refused."""
        if self._counted.states[RowState.REFUSED]:
            for row in self._surveyor.rows():
                if row.state is RowState.REFUSED:
                    self._refused(row)

    def _refused(self, row: PlannedRow) -> None:
        if row.error is None:
            raise ValueError(f"row {row.index} was refused without a reason")
        entry = refused_entry(row.index, row.source, row.error, row.item, self._id)
        if self._surveyor.message(entry.key) != entry.message:
            self._book.append(entry)
        self._note_failure(entry.message)

    # -- rows that do ------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Start Ray, run every pending row, end Ray."""
        with Progress(self._counted.states[RowState.PENDING], quiet=self._config.quiet) as progress:
            for model in sorted(self._counted.models):
                self._fetch(model, progress)
            progress.note("starting Ray")
            prepare_ray(self._config.worker)
            from farm.engine import Engine  # imports ray

            schedule = Schedule(SchedulePolicy())
            pace = self._pace()
            slots, engine_config = plan_fleet(self._config.worker, self._context(), pace.deadline_s)
            engine = Engine(engine_config, slots, schedule)
            with stopped_by_signals(engine.stop) as received, engine:
                received.arm()  # Ray has brought a SIGTERM handler of its own
                progress.note("")
                for finished in engine.run(self._pending_parts()):
                    schedule.target_px = pace.target_px
                    self._end(finished, engine, schedule, pace, progress)
            self._signum = received.signum
            for item_id in self._failed_items:
                self._delete_pieces(item_id)  # again: bands that were in flight when another one failed

    def _fetch(self, model: str, progress: Progress) -> None:
        spec = self._models.by_spec_name(model).spec
        if spec.name.startswith(FILE_PREFIX):
            return

        def note(done: int, total: int) -> None:
            progress.note(f"fetching {model}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

        fetch.ensure(spec, self._config.model.weights_dir, note)
        if spec.partner and self._config.model.denoise < 1:
            fetch.ensure(fetch.resolve(spec.partner).spec, self._config.model.weights_dir, note)

    def _pace(self) -> Pace:
        specs = [self._models.by_spec_name(model).spec for model in self._counted.models]
        flop = max(flop_per_px(spec) for spec in specs)
        model = self._config.model
        cap_px = max(model.band_px, model.exact_px if any(spec.whole_body for spec in specs) else 1)
        return Pace(floor_px_s=_FLOOR_FLOPS[device_class(self._config.worker)] / flop, cap_px=cap_px)

    def _context(self) -> WorkerContext:
        from farm.tasks.base import WorkerContext

        files = tuple(
            (model.spec.name, model.path)
            for model in self._models.values()
            if model.path is not None and model.spec.name.startswith(FILE_PREFIX)
        )
        return WorkerContext(
            name="",
            run=self._id,
            driver_host=socket.gethostname(),
            out=self._out,
            device="cpu",
            io_threads=self._config.worker.io_threads,
            units_in_flight=SchedulePolicy().units_in_flight,
            memory_bytes=0,
            weights_dir=self._config.model.weights_dir,
            model_files=files,
        )

    def _pending_parts(self) -> Iterator[Part]:
        for row in self._surveyor.rows():
            if row.state is RowState.PENDING and row.item is not None:
                yield Part(item=row.item, kind=PartKind.PICTURE, cost_px=row.item.cost_px)

    # -- what ends ---------------------------------------------------------------------------------------------

    def _end(self, finished: Finished, engine: Engine, schedule: Schedule, pace: Pace, progress: Progress) -> None:
        part, outcome = finished.part, finished.outcome
        if part.item.item_id in self._failed_items:
            return
        if isinstance(outcome, Split):
            engine.add(self._assembly.begin(part, outcome, self._surveyor.pieces(part.item)))
        elif isinstance(outcome, Failed):
            schedule.drop_item(part.item.item_id)
            self._fail(part.item, outcome, finished.attempts, progress)
        else:
            if part.kind is not PartKind.JOIN:
                pace.observe(outcome.source_px, outcome.seconds.infer)
            self._finish(finished, outcome, engine, progress)

    def _finish(self, finished: Finished, done: Done, engine: Engine, progress: Progress) -> None:
        part = finished.part
        item_id = part.item.item_id
        if part.kind is PartKind.BAND:
            self._infer_s[item_id] = self._infer_s.get(item_id, 0.0) + done.seconds.infer
            self._book.append(done_entry(part, done, finished.attempts, self._id))
            join = self._assembly.add(part, done)
            if join is not None:
                engine.add([join])
            progress.advance_part(px=done.source_px, partial=self._assembly.fraction)
            return
        infer_s = self._infer_s.get(item_id) if part.kind is PartKind.JOIN else None
        self._book.append(done_entry(part, done, finished.attempts, self._id, infer_s=infer_s))
        self._close(part.item)
        self._done += 1
        self._source_px += done.source_px
        self._note_output(done.url)
        progress.advance(px=0 if part.kind is PartKind.JOIN else done.source_px)

    def _fail(self, item: WorkItem, failed: Failed, attempts: int, progress: Progress) -> None:
        self._book.append(failed_entry(item, failed, attempts, self._id))
        if self._close(item):
            self._failed_items.add(item.item_id)
        self._failed += 1
        self._note_failure(failed.message)
        progress.advance(px=0, failed=True)

    def _close(self, item: WorkItem) -> bool:
        """An item has ended: its bands are not needed any more. Whether it had any."""
        self._infer_s.pop(item.item_id, None)
        was_cut = self._assembly.end(item.item_id)
        if was_cut:
            self._delete_pieces(item.item_id)
        return was_cut

    def _delete_pieces(self, item_id: str) -> None:
        storage.delete_tree(storage.join(self._out, ".farm", "parts", item_id))

    def _note_output(self, url: str) -> None:
        if len(self._outputs) < _SHOWN:
            self._outputs.append(url)

    def _note_failure(self, message: str) -> None:
        if len(self._failures) < _SHOWN:
            self._failures.append(message)

    def summary(self, results: str, seconds: float) -> RunSummary:
        states = self._counted.states
        return RunSummary(
            out=self._out,
            results=results,
            rows=self._counted.rows,
            done=self._done,
            reused=states[RowState.REUSED],
            skipped=0,
            failed=self._failed + states[RowState.SETTLED] + states[RowState.REFUSED],
            left=states[RowState.PENDING] - self._done - self._failed,
            source_px=self._source_px,
            seconds=seconds,
            outputs=tuple(self._outputs),
            failures=tuple(self._failures),
            signum=self._signum,
        )
