"""The task that makes training data: a pack is opened, its samples are made source by source, and put together.

A pack is cut like a large picture. Its bands are ranges of samples: `SLOTS` numbers belong to each of its sources. A
source that fails is a line of the pack's output; only what may be over tomorrow keeps the pack from being settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from farm import failpoints, shards, storage
from farm.errors import ErrorKind, ItemError, LostPiecesError
from farm.kinds import MediaKind
from farm.media import image
from farm.records import Done, ManifestRow, Part, PartKind, Piece, Split, WorkItem
from farm.sample import DegradeOptions, Made, PrepareParams, SourceReport, SourceRow, read_pack, safe_key
from farm.tasks.operations.base import Content, Operation
from farm.tasks.operations.frames import Frames
from farm.tasks.operations.table import make_operation
from farm.tasks.station import Clock, Station, changed, check_digest, reading

SLOTS = 1 << 24
"""samples that a source may have"""
_SAMPLE_PX_BYTES = 12
"""beside a decoded pixel: it once more as plain RGB, a plane of it as float, and what is encoded of it"""
_SAMPLES_BYTES = 64 << 20
"""samples of a part, and what a degradation holds"""
_LESS = "lower --max-pixels, or use fewer --workers"
_SAMPLES = 16
"""samples of one source that are made in one part"""


class Prepare:
    """One per worker; see farm.tasks.base.Task."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._operation = lru_cache(maxsize=8)(self._make_operation)
        self._rows = lru_cache(maxsize=8)(_read_rows)
        self._digest = lru_cache(maxsize=8)(_digest_of)

    def run(self, part: Part, batch_limit: int | None) -> Done | Split:  # noqa: ARG002 (of networks)
        clock = Clock()
        if part.kind is PartKind.JOIN:
            return self._join(part, clock)
        if part.kind is PartKind.BAND:
            return self._band(part, clock)
        return self._open(part, clock)

    def stop(self) -> None:
        self._station.stop()

    # -- the three kinds of parts ------------------------------------------------------------------------------

    def _open(self, part: Part, clock: Clock) -> Split:
        rows = self._rows_of(part.item)
        bands: list[tuple[int, int]] = []
        for at, row in enumerate(rows):
            samples = self._samples_of(part.item, row, clock)
            for first in range(0, samples, _SAMPLES):
                bands.append((at * SLOTS + first, at * SLOTS + min(first + _SAMPLES, samples)))
        return Split(
            part_id=part.part_id,
            size=(max(part.cost_px, 1), 1),
            bands=tuple(bands),
            node=self._station.node,
            worker=self._station.name,
        )

    def _band(self, part: Part, clock: Clock) -> Done:
        if part.grid_rows is None:
            raise ValueError(f"{part.part_id} does not know its samples")
        at, first = divmod(part.grid_rows[0], SLOTS)
        row = self._rows_of(part.item)[at]
        report = self._report(part.item, row, first, part.grid_rows[1] - at * SLOTS, clock)
        with clock.stage("write"):
            if part.item.prepare.form == "tree":
                report = self._publish_members(part.item, report)
            failpoints.hit("encode", part.item.output_url)
            data = shards.write_piece([report])
            published = self._station.publish(self._station.piece_url(part), data, key=part.part_id)
        return replace(self._station.done(part, published, clock), source_px=part.cost_px, extent=part.grid_rows)

    def _join(self, part: Part, clock: Clock) -> Done:
        item = part.item
        rows, operation = self._rows_of(item), self._operation(item.prepare)
        spec = shards.PackSpec(
            form=item.prepare.form,
            part=_part_name(item, self._station.context.out),
            roles=item.prepare.roles,
            sample_columns=operation.sample_columns,
            source_columns=operation.source_columns,
            key=item.item_id,
        )
        ends = _Ends()
        self._station.check_alive()
        failpoints.hit("join", item.output_url)
        with clock.stage("encode"):
            written = shards.write_pack(spec, ends.counted(_joined(part, rows)), self._station.root)
        done = self._station.done(part, written.published, clock)
        return replace(done, lacking=ends.passing > 0, warning=ends.warning)

    # -- one source --------------------------------------------------------------------------------------------

    def _report(self, item: WorkItem, row: SourceRow, first: int, last: int, clock: Clock) -> SourceReport:
        """How a source ended. Raises ItemError where another try may help, or nobody but the item stands for it."""
        if row.skip:
            return SourceReport(row=row, status="skipped", reason=row.skip)
        if row.refusal[0]:
            return SourceReport(row=row, status="failed", reason=row.refusal[0], message=row.refusal[1])
        try:
            made = self._made(item, row, first, last, clock)
        except ItemError as error:
            if not item.is_pack or error.kind.retryable or error.kind is ErrorKind.OUT_OF_MEMORY:
                raise
            return _failed(row, error.kind, str(error))
        status = "skipped" if made.skipped else "done"
        return SourceReport(
            row=row,
            status=status,
            reason=made.skipped,
            message=made.message,
            rules=made.rules,
            samples=made.samples,
            record=made.record,
        )

    def _made(self, item: WorkItem, row: SourceRow, first: int, last: int, clock: Clock) -> Made:
        source = _as_item(item, row)
        with ExitStack() as stack:
            failpoints.hit("decode", row.url)
            content = self._content(source, row, clock, stack)
            if row.kind is MediaKind.IMAGE:
                stack.enter_context(self._station.held(source, _needed_bytes(content, row, item.prepare), _LESS))
            with clock.stage("infer"):
                failpoints.hit("infer", row.url)
                return self._operation(item.prepare).make(row, content, first, last)

    def _content(self, source: WorkItem, row: SourceRow, clock: Clock, stack: ExitStack) -> Content:
        """The source while the stack is open; a film is read here and there, so it stays a file."""
        if row.kind is MediaKind.VIDEO:
            settled = stack.enter_context(self._station.settled(source, storage.stat, clock))
            with clock.stage("read"), reading(row.url):
                file = stack.enter_context(storage.open_read(row.url))
            if row.sha256 is not None:
                check_digest(source, self._digest(row.url, settled.version))
            stack.callback(settled.check)
            return Content(data=file)
        found = stack.enter_context(self._station.source(source, clock))
        lq = None
        if row.lq_url is not None:
            with clock.stage("read"), reading(row.lq_url):
                seen = storage.stat(row.lq_url).version
                lq = storage.read_bytes(row.lq_url)
            if seen != row.lq_version:
                raise changed(replace(source, row=replace(source.row, source_url=row.lq_url)), "is another version")
        return Content(data=found.data, lq=lq)

    def _samples_of(self, item: WorkItem, row: SourceRow, clock: Clock) -> int:
        """How many samples, or windows of a film, a source has; 1 where nobody can say: then that part says why."""
        if row.skip or row.refusal[0]:
            return 1
        if isinstance(item.prepare.options, DegradeOptions):
            return item.prepare.options.per_image
        operation = self._operation(item.prepare)
        if not isinstance(operation, Frames):
            return 1
        try:
            with ExitStack() as stack:
                return max(1, operation.windows(self._content(_as_item(item, row), row, clock, stack), row))
        except ItemError:
            if not item.is_pack:
                raise
            return 1

    def _publish_members(self, item: WorkItem, report: SourceReport) -> SourceReport:
        """Files of a tree go where they stay; a piece keeps what is known of them."""
        for sample in report.samples:
            for member in sample.members:
                path = shards.tree_path(member.role, sample.key, member.extension)
                url = storage.join(self._station.context.out, path)
                self._station.publish(url, member.data, key=f"{item.item_id}/{member.role}")
        return shards.strip_data(report)

    # -- what they share ---------------------------------------------------------------------------------------

    def _rows_of(self, item: WorkItem) -> tuple[SourceRow, ...]:
        if item.is_pack:
            return self._rows(item.row.source_url)
        row = item.row
        source = SourceRow(
            url=row.source_url,
            relative_path=row.relative_path,
            key=safe_key(row.relative_path),
            kind=row.kind,
            version=item.source_version,
            sha256=row.sha256,
            bytes=row.bytes,
        )
        return (source,)

    def _make_operation(self, params: PrepareParams) -> Operation:
        context = self._station.context
        return make_operation(params, lambda work: self._station.lane.call(work).result(), context.device)


def _needed_bytes(content: Content, row: SourceRow, params: PrepareParams) -> int:
    """What a picture takes while samples are made of it. Raises ItemError as reading it does."""
    header = image.read_header(content.data, row.url, image.ReadLimits(max_pixels=params.max_pixels_in))
    return header.area_px * (header.bands * header.depth // 8 + _SAMPLE_PX_BYTES) + _SAMPLES_BYTES


def _digest_of(url: str, version: str) -> str:  # noqa: ARG001 (what it is remembered by)
    """Of a film, which is not read as a whole for each of its parts."""
    return storage.sha256_of(url)


def _read_rows(url: str) -> tuple[SourceRow, ...]:
    return read_pack(storage.read_bytes(url))


def _part_name(item: WorkItem, out: str) -> str:
    """OUT/sources/NAME.parquet: NAME."""
    below = item.output_url.removeprefix(f"{out.rstrip('/')}/")
    return below.removeprefix("sources/").removesuffix(".parquet")


def _as_item(item: WorkItem, row: SourceRow) -> WorkItem:
    """A source as the item that the station reads: checked against the version that was planned."""
    if not item.is_pack:
        return item
    etag = row.version.removeprefix("etag:") if row.version.startswith("etag:") else None
    source = ManifestRow(
        index=item.row.index,
        source_url=row.url,
        relative_path=row.relative_path,
        kind=row.kind,
        sha256=row.sha256,
        etag=etag,
        bytes=row.bytes,
        task=item.row.task,
    )
    return replace(item, row=source, source_version=row.version)


def _failed(row: SourceRow, kind: ErrorKind, message: str) -> SourceReport:
    return SourceReport(row=row, status="failed", reason=kind.value, message=message, passing=not kind.lasting)


def _joined(part: Part, rows: tuple[SourceRow, ...]) -> Iterator[SourceReport]:
    """The reports of a pack's sources, in order, from its pieces."""
    for at, pieces in groupby(part.pieces, key=lambda piece: piece.extent[0] // SLOTS):
        failpoints.hit("assemble", rows[at].url)
        yield _merged(report for piece in pieces for report in _reports(part, piece, rows[at]))


def _reports(part: Part, piece: Piece, row: SourceRow) -> Iterable[SourceReport]:
    if piece.failure is not None:
        kind, message = piece.failure
        return [_failed(row, kind, message)]
    try:
        return shards.read_piece(storage.read_bytes(piece.url))
    except (ItemError, ValueError) as error:
        storage.delete_tree(storage.parent(piece.url))
        raise LostPiecesError(
            ErrorKind.CHANGED_DURING_READ,
            part.item.row.source_url,
            f"finished samples of it were damaged or lost before they were put together ({error})",
            "run the same command again, which makes them anew",
        ) from error


def _merged(reports: Iterable[SourceReport]) -> SourceReport:
    """What the parts of one source say together: it has failed where one of them has."""
    held = list(reports)
    whole = next((report for report in held if report.status == "failed"), held[0])
    if whole.status == "failed":
        return whole
    return replace(whole, samples=tuple(sample for report in held for sample in report.samples))


class _Ends:
    """How the sources of a pack ended."""

    def __init__(self) -> None:
        self.failed = self.passing = 0

    def counted(self, reports: Iterable[SourceReport]) -> Iterator[SourceReport]:
        for report in reports:
            self.failed += report.status == "failed"
            self.passing += report.passing
            yield report

    @property
    def warning(self) -> str | None:
        return f"{self.failed} of its sources failed: its table in sources/ says why" if self.failed else None
