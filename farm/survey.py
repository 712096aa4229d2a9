"""What a manifest asks for, row by row, before any work starts: planned, already done, refused, colliding.

Rows are streamed twice: once to be counted and checked (`survey`), once to be worked on (`Surveyor.rows` again).
Nothing of them is kept between, so the driver's memory does not grow with the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from farm import manifest, plan, storage
from farm.config import RunConfig
from farm.entries import band_piece
from farm.errors import ErrorKind, ItemError
from farm.media import image
from farm.records import FORMAT_LIMITS, ItemStatus, LedgerEntry, ManifestRow, Piece, RefusedRow, WorkItem

_PROBES_AT_ONCE = 64
_HOLDS_ANYTHING = 1_000_000
"""formats whose sides may be this long need no look at the header before the work"""
_SETTLED = frozenset(
    {
        ErrorKind.EMPTY_INPUT,
        ErrorKind.NOT_AN_IMAGE,
        ErrorKind.TRUNCATED,
        ErrorKind.CORRUPT,
        ErrorKind.UNSUPPORTED,
        ErrorKind.SUSPECT_OUTPUT,
        ErrorKind.NONFINITE_OUTPUT,
    }
)
"""failures that the content alone decides: running the same bytes again gives the same answer"""


class RowState(str, Enum):
    """What is to be done for a row."""

    PENDING = "pending"
    REUSED = "reused"
    """finished by an earlier run, its output is there"""
    SETTLED = "settled"
    """failed in an earlier run for a reason that its content decides"""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row and what became of it in the plan."""

    index: int
    source: str
    state: RowState
    item: WorkItem | None = None
    error: ItemError | None = None


@dataclass(slots=True)
class Survey:
    """The count of a manifest."""

    states: Counter[RowState] = field(default_factory=Counter[RowState])
    models: set[str] = field(default_factory=set[str])
    """models of pending rows"""
    refused: list[PlannedRow] = field(default_factory=list[PlannedRow])
    reused: list[str] = field(default_factory=list[str])
    """outputs that are there"""
    settled: list[str] = field(default_factory=list[str])
    """messages of rows that failed before; of all three lists only the first few, to be shown"""

    @property
    def rows(self) -> int:
        return sum(self.states.values())


class Surveyor:
    """Plans rows against what the ledger and one listing of the output root say."""

    def __init__(
        self,
        config: RunConfig,
        planner: plan.Planner,
        out: str,
        ledger: Mapping[str, LedgerEntry],
        outputs: Mapping[str, int],
    ) -> None:
        self._config = config
        self._out = out
        self._planner = planner
        self._ledger = ledger
        self._outputs = outputs
        self._bands = _bands(ledger)

    def rows(self) -> Iterator[PlannedRow]:
        """Every row of the manifest, in order, planned."""
        planned = self._planned()
        with ThreadPoolExecutor(8, thread_name_prefix="probe") as pool:
            while chunk := list(islice(planned, _PROBES_AT_ONCE)):
                yield from pool.map(self._probed, chunk)

    def read(self) -> Iterator[ManifestRow | RefusedRow]:
        """The manifest's rows as they stand."""
        config = self._config
        return manifest.read_manifest(config.manifest, root=config.root, out=self._out, limit=config.limits.limit)

    def check_outputs(self) -> None:
        """Raise ManifestError when two rows would write the same output."""
        plan.check_outputs(self.read, self._planner)

    def message(self, key: str) -> str | None:
        """What the ledger says of an item that has failed before; None when it knows nothing of it."""
        entry = self._ledger.get(key)
        return entry.message if entry else None

    def pieces(self, item: WorkItem) -> dict[str, Piece]:
        """Bands of a picture that an earlier run has finished and that are still there, by part id."""
        return {
            entry.key: band_piece(index, entry)
            for index, entry in self._bands.get(item.item_id, ())
            if self._outputs.get(entry.output) == entry.bytes
        }

    def _planned(self) -> Iterator[PlannedRow]:
        for row in self.read():
            if isinstance(row, RefusedRow):
                yield PlannedRow(index=row.index, source=row.source, state=RowState.REFUSED, error=row.error)
                continue
            try:
                item = self._planner.plan(row, storage.stat(row.source_url))
            except ItemError as error:
                yield PlannedRow(index=row.index, source=row.source_url, state=RowState.REFUSED, error=error)
                continue
            yield PlannedRow(index=row.index, source=row.source_url, state=self._state(item), item=item)

    def _state(self, item: WorkItem) -> RowState:
        entry = self._ledger.get(item.item_id)
        if entry is None:
            return RowState.PENDING
        if entry.status is ItemStatus.DONE:
            there = self._outputs.get(item.output_url) == entry.bytes
            return RowState.REUSED if there else RowState.PENDING
        return RowState.SETTLED if entry.error and ErrorKind(entry.error) in _SETTLED else RowState.PENDING

    def _probed(self, row: PlannedRow) -> PlannedRow:
        """Refuse a pending row whose output its format cannot hold; reads a header only where a format has a limit."""
        item = row.item
        if row.state is not RowState.PENDING or item is None or FORMAT_LIMITS[item.params.format] > _HOLDS_ANYTHING:
            return row
        try:
            error = plan.refuse_size(item, *_size(item))
        except ItemError:
            return row  # what is wrong with the file is the worker's to say
        if error is None:
            return row
        return PlannedRow(index=row.index, source=row.source, state=RowState.REFUSED, item=item, error=error)


def _bands(ledger: Mapping[str, LedgerEntry]) -> dict[str, list[tuple[int, LedgerEntry]]]:
    """Finished bands by item, each with its number, from part ids of the form ITEM/band/NUMBER."""
    bands: dict[str, list[tuple[int, LedgerEntry]]] = {}
    for key, entry in ledger.items():
        if entry.rows_out is not None:
            item_id, _, number = key.split("/")
            bands.setdefault(item_id, []).append((int(number), entry))
    return bands


def _size(item: WorkItem) -> tuple[int, int]:
    if item.row.width and item.row.height:
        return item.row.width, item.row.height
    limits = image.ReadLimits(max_pixels=item.params.max_pixels_in, pages=item.params.pages)
    with storage.open_read(item.row.source_url) as source:
        header = image.read_header(source, item.row.source_url, limits)
    return header.width, header.height


def _note(counted: Survey, row: PlannedRow, surveyor: Surveyor) -> None:
    if row.state is RowState.REFUSED:
        counted.refused.append(row)
    elif row.state is RowState.REUSED and row.item is not None:
        counted.reused.append(row.item.output_url)
    elif row.state is RowState.SETTLED and row.item is not None:
        counted.settled.append(surveyor.message(row.item.item_id) or row.source)


def survey(surveyor: Surveyor, *, show: int = 20) -> Survey:
    """Count and check every row. Raises ManifestError when two rows would write the same output."""
    surveyor.check_outputs()
    counted = Survey()
    for row in surveyor.rows():
        counted.states[row.state] += 1
        if row.item is not None and row.state is RowState.PENDING:
            counted.models.add(row.item.params.model)
        if counted.states[row.state] <= show:
            _note(counted, row, surveyor)
    return counted
