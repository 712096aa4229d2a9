"""What a manifest asks for, row by row, before any work starts: planned, already done, refused, colliding.

Rows are streamed twice: once to be counted and checked (`survey`), once to be worked on (`Surveyor.rows` again).
Nothing of them is kept between, so the driver's memory does not grow with the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

from farm import collide, manifest, plan, storage
from farm.config import RunConfig
from farm.entries import known_piece, suffices
from farm.errors import DiskError, ErrorKind, ItemError
from farm.kinds import ANIMATION_EXTENSIONS, FORMAT_LIMITS, MediaKind, extension_of, is_sequence
from farm.media import image
from farm.progress import Likeness, likeness_of
from farm.records import FileStat, ItemStatus, LedgerEntry, ManifestRow, Piece, RefusedRow, WorkItem
from farm.summary import RowState

_PROBES_AT_ONCE = 8
_CHUNK_ROWS = 64
_HOLDS_ANYTHING = 1_000_000
"""formats whose sides may be this long need no look at the header before the work"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row and what became of it in the plan."""

    index: int
    source: str
    state: RowState
    item: WorkItem | None = None
    error: ItemError | None = None
    output: str = ""
    """where the row's output goes, where that is known although the row was refused"""
    moved: LedgerEntry | None = None
    """what the ledger says of it, when it stood at another place of the manifest then"""


@dataclass(slots=True)
class Survey:
    """The count of a manifest."""

    states: Counter[RowState] = field(default_factory=Counter[RowState])
    moved: int = 0
    """rows whose number in the ledger is not theirs any more"""
    models: set[str] = field(default_factory=set[str])
    """models of pending rows"""
    guesses: Counter[Likeness] = field(default_factory=Counter[Likeness])
    """source pixels of pending rows, as far as they can be guessed"""
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
        self._pieces = _pieces(ledger)
        self._films = ANIMATION_EXTENSIONS.keys() if config.limits.pages in ("animation", "video") else ()
        """extensions of pictures that are treated as films where they are animated"""

    def rows(self) -> Iterator[PlannedRow]:
        """Every row of the manifest, in order, planned."""
        read = self.read()
        with ThreadPoolExecutor(_PROBES_AT_ONCE, thread_name_prefix="probe") as pool:
            while chunk := list(islice(read, _CHUNK_ROWS)):
                far = isinstance(chunk[0], ManifestRow) and storage.is_remote(chunk[0].source_url)
                planned = list(pool.map(self._planned, chunk)) if far else [self._planned(row) for row in chunk]
                yield from pool.map(self._probed, planned) if any(map(_needs_header, planned)) else planned

    def read(self) -> Iterator[ManifestRow | RefusedRow]:
        """The manifest's rows as they stand, each of the kind that this run takes it for."""
        config = self._config
        rows = manifest.read_manifest(config.manifest, root=config.root, out=self._out, limit=config.limits.limit)
        return map(self._of_kind, rows)

    def _of_kind(self, row: ManifestRow | RefusedRow) -> ManifestRow | RefusedRow:
        if isinstance(row, RefusedRow):
            return row
        if row.kind is MediaKind.IMAGE and extension_of(row.source_url) in self._films and _is_animated(row):
            return replace(row, kind=MediaKind.VIDEO)
        if row.kind is MediaKind.VIDEO and is_sequence(row.source_url) and _is_there(row.source_url):
            return replace(row, kind=MediaKind.IMAGE)  # a picture whose name only looks like a sequence's
        return row

    def check_outputs(self) -> None:
        """Raise ManifestError when two rows would write the same output."""
        collide.check_outputs(self.read, self._planner)

    def message(self, key: str) -> str | None:
        """What the ledger says of an item that has failed before; None when it knows nothing of it."""
        entry = self._ledger.get(key)
        return entry.message if entry else None

    def differs(self, entry: LedgerEntry) -> bool:
        """Whether the ledger does not say this already, of this row."""
        known = self._ledger.get(entry.key)
        return known is None or (known.message, known.row) != (entry.message, entry.row)

    def pieces(self, item: WorkItem) -> dict[str, Piece]:
        """Bands or segments that an earlier run has finished, that are still there and lack no more than the item may,
        by part id."""
        return {
            entry.key: known_piece(index, entry)
            for index, entry in self._pieces.get(item.item_id, ())
            if self._outputs.get(entry.output) == entry.bytes and suffices(entry, item.params)
        }

    def _planned(self, row: ManifestRow | RefusedRow) -> PlannedRow:
        if isinstance(row, RefusedRow):
            return PlannedRow(index=row.index, source=row.source, state=RowState.REFUSED, error=row.error)
        output = ""
        try:
            output = self._planner.output_url(row)
            item = self._planner.plan(row, source_stat(row))
        except ItemError as error:
            state = RowState.REFUSED
            return PlannedRow(index=row.index, source=row.source_url, state=state, error=error, output=output)
        state, entry = self._state(item)
        moved = entry if entry is not None and entry.row != row.index else None
        return PlannedRow(index=row.index, source=row.source_url, state=state, item=item, output=output, moved=moved)

    def _state(self, item: WorkItem) -> tuple[RowState, LedgerEntry | None]:
        """What is to be done, and the entry that says why nothing is."""
        entry = self._ledger.get(item.item_id)
        if entry is None or not suffices(entry, item.params):
            return RowState.PENDING, None
        if entry.status is ItemStatus.DONE:
            there = self._outputs.get(item.output_url) == entry.bytes
            return (RowState.REUSED, entry) if there else (RowState.PENDING, None)
        settled = bool(entry.error) and ErrorKind(entry.error).settled
        return (RowState.SETTLED, entry) if settled else (RowState.PENDING, None)

    def _probed(self, row: PlannedRow) -> PlannedRow:
        """Refuse a pending row whose output its format cannot hold; reads a header only where a format has a limit."""
        item = row.item
        if item is None or not _needs_header(row):
            return row
        try:
            error = plan.refuse_size(item, *_size(item))
        except ItemError:
            return row  # what is wrong with the file is the worker's to say
        if error is None:
            return row
        return replace(row, state=RowState.REFUSED, error=error)


def _needs_header(row: PlannedRow) -> bool:
    """Whether only the picture's size can tell that its format holds the output; films are looked into by workers."""
    return (
        row.state is RowState.PENDING
        and row.item is not None
        and row.item.row.kind is MediaKind.IMAGE
        and FORMAT_LIMITS[row.item.params.format] <= _HOLDS_ANYTHING
    )


def source_stat(row: ManifestRow) -> FileStat:
    """What the store says of a source; of a numbered sequence, of all its pictures together. Raises ItemError."""
    if row.kind is MediaKind.VIDEO and is_sequence(row.source_url):
        from farm.media.video.pictures import sequence

        return sequence.stat(row.source_url)
    return storage.stat(row.source_url)


def _is_animated(row: ManifestRow) -> bool:
    """Whether a picture has several frames; what cannot be read is said by whoever restores it."""
    limits = image.ReadLimits(pages="first")
    try:
        with storage.open_read(row.source_url) as source:
            return image.read_header(source, row.source_url, limits).pages > 1
    except (ItemError, DiskError):
        return False


def _is_there(url: str) -> bool:
    try:
        return storage.exists(url)
    except (ItemError, DiskError):  # the row itself will say what is wrong
        return False


def _pieces(ledger: Mapping[str, LedgerEntry]) -> dict[str, list[tuple[int, LedgerEntry]]]:
    """Finished bands and segments by item, each with its number, from part ids of the form ITEM/KIND/NUMBER."""
    pieces: dict[str, list[tuple[int, LedgerEntry]]] = {}
    for key, entry in ledger.items():
        if entry.extent is not None:
            item_id, _, number = key.split("/")
            pieces.setdefault(item_id, []).append((int(number), entry))
    return pieces


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
            counted.guesses[likeness_of(row.item)] += row.item.cost_px
        counted.moved += row.moved is not None
        if counted.states[row.state] <= show:
            _note(counted, row, surveyor)
    return counted
