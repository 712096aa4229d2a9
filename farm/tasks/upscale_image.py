"""The task that restores pictures: whole ones, bands of large ones, and the join of bands into one file.

Runs in the worker's input/output threads. Stages are timed one by one; the source is read once where it fits in memory.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from farm import __version__, lock, plan, storage
from farm.errors import BusyError, DiskError, ErrorKind, ItemError
from farm.media import image
from farm.records import Done, Part, PartKind, Split, StageSeconds, UpscaleParams, WorkItem
from farm.tasks.base import WorkerContext
from farm.tasks.lane import Lane
from farm.tasks.memory import MemoryBudget
from farm.tasks.resident import ResidentModel
from farm.tasks.restore import Cut, RestoredPixels, Restorer, picture_spec, whole, working_bytes
from sr_kernel.fidelity import PixelStats, is_black
from sr_kernel.pixels import FILL_BLOCK_PX
from sr_kernel.tiles import PicturePlan, band_out_rows, band_read_rows, band_tiles, plan_bands, plan_picture

_WHOLE_FILE_BYTES = 256 << 20
"""sources up to this size are read at once; larger ones are read while they are decoded"""
_PIECE_SUFFIX = "piece"
_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED, ErrorKind.NOT_AN_IMAGE, ErrorKind.MISSING})


class UpscaleImage:
    """One per worker; see farm.tasks.base.Task."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._node = socket.gethostname()
        self._root = storage.OutputRoot(url=context.out, attempt=context.run)
        self._resident = ResidentModel(context)
        self._lane = Lane(self._resident.get)
        self._restorer = Restorer(self._lane)
        self._budget = MemoryBudget(context.memory_bytes)

    def run(self, part: Part, batch_limit: int | None) -> Done | Split:
        clock = _Clock()
        if part.kind is PartKind.JOIN:
            return self._join(part, clock)
        with self._source(part.item, clock) as source:
            if part.kind is PartKind.BAND:
                return self._band(part, source, clock, batch_limit)
            return self._picture(part, source, clock, batch_limit)

    def stop(self) -> None:
        self._lane.stop()

    # -- the three kinds of parts ------------------------------------------------------------------------------

    def _picture(self, part: Part, source: image.Source, clock: _Clock, batch_limit: int | None) -> Done | Split:
        item, params = part.item, part.item.params
        header = self._header(item, source)
        picture_plan = plan_picture(picture_spec(params, header.width, header.height))
        bands = plan_bands(picture_plan, params.band_px)
        if bands:
            size = (header.width, header.height)
            return Split(part_id=part.part_id, size=size, bands=bands, node=self._node, worker=self._context.name)
        cut = whole(picture_plan)
        with self._held(item, cut, header):
            with clock.stage("decode"):
                picture = image.decode(source, item.row.source_url, _limits(params))
                image.check_holds(picture.pixels, _encode_spec(item, picture_plan, params.precision), item.output_url)
            made = self._restored(picture.pixels, cut, item, clock, batch_limit)
            with clock.stage("encode"):
                spec = _encode_spec(item, picture_plan, made.precision)
                data = image.encode(made.pixels, picture.meta, spec, item.output_url)
        with clock.stage("write"):
            published = self._publish(item.output_url, data)
        return replace(
            self._done(part, published, picture_plan, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=header.width * header.height,
            warning=picture.warning,
        )

    def _band(self, part: Part, source: image.Source, clock: _Clock, batch_limit: int | None) -> Done:
        item, params = part.item, part.item.params
        header = self._header(item, source)
        if part.size != (header.width, header.height) or part.grid_rows is None:
            raise _changed(item, f"is now {header.width}x{header.height}")
        picture_plan = plan_picture(picture_spec(params, header.width, header.height))
        y0, y1 = _aligned(band_read_rows(picture_plan, part.grid_rows), header)
        out_rows = band_out_rows(picture_plan, part.grid_rows)
        cut = Cut(plan=picture_plan, tiles=band_tiles(picture_plan, part.grid_rows), read_y0=y0, out_rows=out_rows)
        with self._held(item, cut, header):
            with clock.stage("decode"):
                rows = image.decode_rows(source, item.row.source_url, _limits(params), y0, y1)
            made = self._restored(rows.pixels, cut, item, clock, batch_limit)
            with clock.stage("encode"):
                data = image.encode_piece(made.pixels)
        with clock.stage("write"):
            published = self._publish(self._piece_url(part), data)
        keep_px = sum(tile.keep.area_px for tile in cut.tiles)
        return replace(
            self._done(part, published, picture_plan, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=keep_px,
            extent=out_rows,
        )

    def _join(self, part: Part, clock: _Clock) -> Done:
        item, params = part.item, part.item.params
        if part.size is None:
            raise ValueError(f"{part.part_id} does not know its size")
        picture_plan = plan_picture(picture_spec(params, *part.size))
        spec = picture_plan.spec
        stats = sum((piece.stats for piece in part.pieces), PixelStats())
        self._check_believable(stats, item)
        with self._source(item, clock) as source, clock.stage("decode"):
            first_row = image.decode_rows(source, item.row.source_url, _limits(params), 0, 1)
        openers = [partial(storage.open_read, piece.url) for piece in part.pieces]
        precision = params.precision if first_row.header.depth == 8 else params.precision_16bit
        with clock.stage("encode"), self._root.open_write(item.output_url) as sink:
            encode = _encode_spec(item, picture_plan, precision)
            with self._joining(part):
                meta = first_row.meta
                image.join_pieces(openers, spec.out_width, spec.out_height, meta, encode, item.output_url, sink)
            self._check_alive()
            published = sink.commit()
        return Done(
            part_id=part.part_id,
            url=published.url,
            sha256=published.sha256,
            bytes=published.bytes,
            width=spec.out_width,
            height=spec.out_height,
            source_px=spec.width * spec.height,
            mode=picture_plan.mode.value,
            precision=precision,
            stats=stats,
            seconds=clock.seconds,
            node=self._node,
            worker=self._context.name,
            warning=first_row.warning,
        )

    @contextmanager
    def _joining(self, part: Part) -> Generator[None]:
        """A band that cannot be read is no fault of the source: all bands go, and the next run makes them anew."""
        try:
            yield
        except ItemError as error:
            if error.kind not in _DAMAGE:
                raise
            storage.delete_tree(storage.parent(part.pieces[0].url))
            raise ItemError(
                ErrorKind.CHANGED_DURING_READ,
                part.item.row.source_url,
                f"a finished band of it was damaged or lost before the join ({error.found})",
                "run the same command again, which makes the bands anew",
            ) from error

    # -- what they share ---------------------------------------------------------------------------------------

    @contextmanager
    def _source(self, item: WorkItem, clock: _Clock) -> Generator[image.Source]:
        """The source's bytes, or an open file when it is large; checked against the version that was planned."""
        url = item.row.source_url
        with clock.stage("read"), _reading(url):
            before = storage.stat(url)
            if item.row.sha256 is None and plan.source_version(item.row, before) != item.source_version:
                raise _changed(item, "is not the version that was planned")
            small = before.bytes <= _WHOLE_FILE_BYTES
            data = storage.read_bytes(url) if small else b""
            if small and item.row.sha256 is not None:
                _check_digest(item, data)
        if small:
            yield data
        else:
            with storage.open_read(url) as file:
                yield file
        with _reading(url):
            if storage.stat(url).version != before.version:
                raise _changed(item, "changed while it was read")

    def _header(self, item: WorkItem, source: image.Source) -> image.ImageHeader:
        header = image.read_header(source, item.row.source_url, _limits(item.params))
        refusal = plan.refuse_size(item, header.width, header.height)
        if refusal is not None:
            raise refusal
        return header

    @contextmanager
    def _held(self, item: WorkItem, cut: Cut, header: image.ImageHeader) -> Generator[None]:
        precision = item.params.precision if header.depth == 8 else item.params.precision_16bit
        wanted = working_bytes(cut.plan, cut, header.bands, header.depth, precision)
        if self._context.device == "cpu" and wanted > self._context.memory_bytes:
            raise ItemError(
                ErrorKind.OUT_OF_MEMORY,
                item.row.source_url,
                f"needs about {wanted / 2**30:.1f} GiB, this worker may use {self._context.memory_bytes / 2**30:.1f}",
                "lower --exact-px or --band-px, or use fewer --workers",
            )
        with self._budget.hold(wanted):
            yield

    def _restored(
        self, pixels: NDArray[Any], cut: Cut, item: WorkItem, clock: _Clock, batch_limit: int | None
    ) -> RestoredPixels:
        made = self._restorer.restore(pixels, cut, item.params, item.row.source_url, batch_limit)
        clock.add("wait", made.verdict.wait_s)
        clock.add("infer", made.verdict.infer_s)
        self._check_believable(made.verdict.stats, item)
        return made

    def _check_believable(self, stats: PixelStats, item: WorkItem) -> None:
        if is_black(stats):
            raise ItemError(
                ErrorKind.SUSPECT_OUTPUT,
                item.row.source_url,
                "the restored picture is black where the source is not",
                "try --precision fp32, and check the model's weights",
            )

    def _publish(self, url: str, data: bytes) -> storage.Published:
        self._check_alive()
        return self._root.publish(url, data)

    def _check_alive(self) -> None:
        """An orphan must not publish: actors were seen writing for seconds after their driver had been killed."""
        if self._context.driver_host == self._node and not lock.holds(self._context.out, self._context.run):
            raise BusyError(f"run {self._context.run} is over; nothing more is published in its name")

    def _piece_url(self, part: Part) -> str:
        name = f"{part.index:05d}.{_PIECE_SUFFIX}"
        return storage.join(self._context.out, ".farm", "parts", part.item.item_id, name)

    def _done(
        self, part: Part, published: storage.Published, picture_plan: PicturePlan, made: RestoredPixels, clock: _Clock
    ) -> Done:
        return Done(
            part_id=part.part_id,
            url=published.url,
            sha256=published.sha256,
            bytes=published.bytes,
            width=0,
            height=0,
            source_px=0,
            mode=picture_plan.mode.value,
            precision=made.precision,
            stats=made.verdict.stats,
            seconds=clock.seconds,
            node=self._node,
            worker=self._context.name,
        )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started_s)

    def add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @property
    def seconds(self) -> StageSeconds:
        return StageSeconds(**self._seconds)


@contextmanager
def _reading(url: str) -> Generator[None]:
    """A source that cannot be read is the row's misfortune, not the run's."""
    try:
        yield
    except DiskError as error:
        raise ItemError(ErrorKind.STORAGE_ERROR, url, str(error), "check the disk or the store") from error


def _aligned(rows: tuple[int, int], header: image.ImageHeader) -> tuple[int, int]:
    """Rows to read; with alpha, whole blocks of the fill that hides colours under transparent pixels."""
    if not header.has_alpha:
        return rows
    block = FILL_BLOCK_PX
    return rows[0] // block * block, min(header.height, -(-rows[1] // block) * block)


def _limits(params: UpscaleParams) -> image.ReadLimits:
    return image.ReadLimits(max_pixels=params.max_pixels_in, pages=params.pages)


def _encode_spec(item: WorkItem, picture_plan: PicturePlan, precision: str) -> image.EncodeSpec:
    params = item.params
    if not params.stamp:
        return image.EncodeSpec(format=params.format, quality=params.quality, stamp=None)
    stamp = {
        "Version": __version__,
        "Model": params.model,
        "ModelSHA256": params.model_sha256,
        "Scale": f"{params.outscale:g}",
        "Precision": precision,
        "Mode": picture_plan.mode.value,
        "Denoise": f"{params.denoise:g}",
        "Resize": params.resize,
        "ParametersHash": item.params_hash,
    }
    return image.EncodeSpec(format=params.format, quality=params.quality, stamp=stamp)


def _changed(item: WorkItem, found: str) -> ItemError:
    return ItemError(ErrorKind.CHANGED_DURING_READ, item.row.source_url, found, "run again when it is settled")


def _check_digest(item: WorkItem, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != item.row.sha256:
        raise ItemError(
            ErrorKind.CHANGED_DURING_READ,
            item.row.source_url,
            f"sha256 is {found}, the manifest says {item.row.sha256}",
            "copy the source again or correct the manifest",
        )
