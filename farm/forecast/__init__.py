"""What a manifest would take: rows, pixels, hours, bytes, memory, and what would be refused. Starts and writes nothing.

lot.py      rows that are alike, and how large they are     rate.py   how fast a machine is, measured or recorded
volume.py   bytes of outputs from their pixels
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farm import ledger
from farm.book import ModelBook
from farm.config import RunConfig
from farm.errors import UsageError
from farm.fleet import worker_count
from farm.forecast.lot import Looked, Lots, Volume, errors
from farm.forecast.rate import ModelRate, Rates, measure, read_rates, write_rates
from farm.forecast.volume import output_px_bytes
from farm.kinds import MediaKind
from farm.outfit import body_bytes
from farm.run import output_root, planner_of
from farm.several import settled
from farm.summary import RowState
from farm.survey import DeclinedRow, PendingRow, PlannedRow, Survey, Surveyor, count_rows
from farm.tasks.memory import memory_share

__all__ = ["Forecast", "ModelShare", "Rates", "forecast", "measure_models", "read_rates", "write_rates"]

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShare:
    """What one model has to do."""

    model: str
    rows: int
    work_px: float
    """source pixels that go through it, of all passes and turns"""
    px_s: float
    """of one worker"""
    precision: str

    @property
    def hours(self) -> float:
        """Of one worker."""
        return self.work_px / self.px_s / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would do and take. Rows = pending + reused + settled + refused."""

    out: str
    rows: int
    pending: int
    reused: int
    settled: int
    refused: int
    refusals: Mapping[str, int]
    """refused rows by class"""
    examples: tuple[str, ...]
    """why the first of them are, and what was looked into and would fail"""
    unreadable: int
    """of what was looked into: what cannot be read, and what is refused by the size that only its header says"""
    pictures: int
    films: int
    others: Mapping[str, int]
    """rows of training data by what is made of them; their time and bytes are not estimated"""
    source_px: float
    frames: float
    looked: int
    """rows that were looked into, for sizes that the manifest does not say"""
    models: tuple[ModelShare, ...]
    rates: Rates
    gpus: int
    workers: int
    output_px: float
    output_bytes: float
    worker_bytes: int | None
    """that the pictures of one worker of this machine may take; None for workers of another machine"""
    body_bytes: int
    """that the largest picture takes whose body is run whole, and faces; 0 where no model does so"""
    largest_bytes: int
    """that the largest picture takes in a CPU worker, of each sort of rows the one with the most pixels, as far as they
    are known; 0 of GPUs, where what takes more is restored alone, and where there are no pictures"""
    largest: str
    """its URL"""

    @property
    def worker_hours(self) -> float:
        """GPU-hours, or those of CPU workers."""
        return sum(one.hours for one in self.models)

    @property
    def hours(self) -> float:
        """On all GPUs or CPU workers, if they are busy all the time. The rate is that of a worker alone on its GPU."""
        return self.worker_hours / (self.gpus or self.workers)

    @property
    def fits(self) -> bool | None:
        """Whether each worker can hold the largest picture; None where nothing is known of its memory."""
        return None if self.worker_bytes is None else max(self.body_bytes, self.largest_bytes) <= self.worker_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What was found in the manifest."""

    out: str
    survey: Survey
    refusals: Counter[str]
    lots: Lots
    volumes: Sequence[Volume]


def forecast(config: RunConfig, rates: Rates | None = None) -> Forecast:
    """Count, look into some rows of each kind, and reckon. Without `rates` the models are timed here.

    Raises UsageError for rates that lack a model, and what a dry run raises.
    """
    config = settled(config)
    out = output_root(config)
    if rates is not None:
        config = _elsewhere(config, rates)
    planner, book = planner_of(config, out, rates.device if rates else None)
    lots, refusals = Lots(), Counter[str]()

    def seen(row: PlannedRow) -> None:
        if isinstance(row, PendingRow):
            lots.add(row.item)
        elif isinstance(row, DeclinedRow):
            refusals[row.error.kind.value] += 1

    with Surveyor(config, planner, out) as surveyor:
        ledger.check_form(out, is_empty=not surveyor.ledger)
        survey = count_rows(surveyor, show=_SHOWN, seen=seen)
        volumes = list(lots.volumes())
    needed = sorted({volume.key.likeness.model for volume in volumes})
    found = rates or measure(config, [_name(book, model) for model in needed])
    shares = tuple(_share(model, book, volumes, found) for model in needed)
    counted = _Counted(out=out, survey=survey, refusals=refusals, lots=lots, volumes=volumes)
    whole = [spec for spec in (book.by_spec_name(model).spec for model in needed) if spec.whole_body]
    needs_bytes = body_bytes(config.model, whole, faces=config.face.enhance)
    return _reckoned(config, counted, shares, found, needs_bytes)


def measure_models(config: RunConfig) -> Rates:
    """Time the models of the command."""
    config = settled(config)
    return measure(config, config.model.asked)


def _elsewhere(config: RunConfig, rates: Rates) -> RunConfig:
    """Workers as they would be there: of GPUs as many as are asked for, whatever this machine has."""
    if rates.device == "cpu" and config.worker.gpus:
        raise UsageError("--rate: it is of CPU workers, and --gpus asks for GPUs; give --gpus 0 or another file")
    if rates.device == "cuda" and (config.worker.gpus == 0 or config.worker.workers is not None):
        raise UsageError("--rate: it is of GPUs, and CPU workers are asked for; give --gpus N or another file")
    return config if rates.device == "cuda" else replace(config, worker=replace(config.worker, gpus=0))


def _workers(config: RunConfig, rates: Rates, needs_bytes: int, *, recorded: bool) -> tuple[int, int]:
    """GPUs and workers."""
    if recorded and rates.device == "cuda":
        gpus = config.worker.gpus or 1
        return gpus, gpus * config.worker.actors_per_gpu
    return worker_count(config.worker, needs_bytes)


def _name(book: ModelBook, model: str) -> str:
    """What a model is resolved by."""
    return model if model in book else next(name for name, one in book.items() if one.spec.name == model)


def _share(model: str, book: ModelBook, volumes: Sequence[Volume], rates: Rates) -> ModelShare:
    mine = [volume for volume in volumes if volume.key.likeness.model == model]
    rate = _rate(model, book.by_spec_name(model).sha256, rates)
    return ModelShare(
        model=model,
        rows=sum(volume.rows for volume in mine),
        work_px=sum(volume.work_px for volume in mine),
        px_s=rate.px_s,
        precision=rate.precision,
    )


def _rate(model: str, sha256: str, rates: Rates) -> ModelRate:
    rate = rates.of(model, sha256)
    if rate is None:
        raise UsageError(f"--rate: it has no rate of {model}; measure it with farm plan --measure FILE --model {model}")
    return rate


def _reckoned(
    config: RunConfig, counted: _Counted, shares: tuple[ModelShare, ...], rates: Rates, needs_bytes: int
) -> Forecast:
    survey, volumes = counted.survey, counted.volumes
    is_here = rates.host == socket.gethostname()
    gpus, workers = _workers(config, rates, needs_bytes, recorded=not is_here)
    unreadable = errors(volumes)
    quality = config.output.quality
    films = [volume for volume in volumes if volume.key.likeness.kind is MediaKind.VIDEO]
    largest = max((volume.largest for volume in volumes), key=lambda one: one.needs_bytes, default=Looked(guess_px=0))
    return Forecast(
        out=counted.out,
        rows=survey.rows,
        pending=survey.states[RowState.PENDING],
        reused=survey.states[RowState.REUSED],
        settled=survey.states[RowState.SETTLED],
        refused=survey.states[RowState.REFUSED],
        refusals=dict(counted.refusals.most_common()),
        examples=tuple([str(row.error) for row in survey.refused] + unreadable)[:_SHOWN],
        unreadable=len(unreadable),
        pictures=sum(volume.rows for volume in volumes) - sum(volume.rows for volume in films),
        films=sum(volume.rows for volume in films),
        others=counted.lots.others,
        source_px=sum(volume.source_px for volume in volumes),
        frames=sum(volume.frames for volume in films),
        looked=sum(len(volume.looked) for volume in volumes),
        models=shares,
        rates=rates,
        gpus=gpus,
        workers=workers,
        output_px=sum(volume.output_px for volume in volumes),
        output_bytes=sum(volume.output_px * output_px_bytes(volume.key.form, quality) for volume in volumes),
        worker_bytes=memory_share(workers) if is_here else None,
        body_bytes=needs_bytes,
        largest_bytes=largest.needs_bytes,
        largest=largest.url if largest.needs_bytes else "",
    )
