"""The task that restores pictures: whole ones, bands of large ones, and the join of bands into one file.

Runs in the worker's input/output threads. Stages are timed one by one; the source is read once where it fits in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from farm import storage
from farm.errors import ErrorKind, ItemError, LostPiecesError
from farm.media import image
from farm.records import Done, Part, PartKind, Split, UpscaleParams, WorkItem
from farm.sizes import refuse_size
from farm.tasks.restore import Cut, RestoredPixels, picture_spec, whole, working_bytes
from farm.tasks.station import Clock, Source, Station, changed, stamp_of
from sr_kernel.believable.niqe import niqe
from sr_kernel.fidelity import PixelStats
from sr_kernel.pixels import FILL_BLOCK_PX
from sr_kernel.tiles import PicturePlan, band_out_rows, band_read_rows, band_tiles, plan_bands, plan_picture

_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED, ErrorKind.NOT_AN_IMAGE, ErrorKind.MISSING})


class UpscaleImage:
    """One per worker; see farm.tasks.base.Task."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def run(self, part: Part, batch_limit: int | None) -> Done | Split:
        clock = Clock()
        if part.kind is PartKind.JOIN:
            return self._join(part, clock)
        with self._station.source(part.item, clock, version=part.version) as source:
            if part.kind is PartKind.BAND:
                return self._band(part, source.data, clock, batch_limit)
            return self._picture(part, source, clock, batch_limit)

    def stop(self) -> None:
        self._station.stop()

    # -- the three kinds of parts ------------------------------------------------------------------------------

    def _picture(self, part: Part, found: Source, clock: Clock, batch_limit: int | None) -> Done | Split:
        item, params, source = part.item, part.item.upscale, found.data
        header = self._header(item, source)
        picture_plan = plan_picture(picture_spec(params, header.width, header.height))
        bands = plan_bands(picture_plan, params.band_px)
        if bands:
            size = (header.width, header.height)
            return Split(
                part_id=part.part_id,
                size=size,
                bands=bands,
                version=found.version,
                node=self._station.node,
                worker=self._station.name,
            )
        cut = whole(picture_plan)
        with self._held(item, cut, header):
            with clock.stage("decode"):
                picture = image.decode(source, item.row.source_url, _limits(params))
                image.check_holds(picture.pixels, _encode_spec(item, picture_plan, params.precision), item.output_url)
            made = self._restored(picture.pixels, cut, item, clock, batch_limit)
            suspect = self._station.judged(made.verdict.stats, item)
            with clock.stage("encode"):
                quality = niqe(made.pixels) if params.niqe else None
                spec = _encode_spec(item, picture_plan, made.precision)
                data = image.encode(made.pixels, picture.meta, spec, item.output_url)
        with clock.stage("write"):
            published = self._station.publish(item.output_url, data, key=item.item_id)
        return replace(
            self._done(part, published, picture_plan, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=header.width * header.height,
            warning=picture.warning,
            source_sha256=hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else "",
            niqe=quality,
            suspect=suspect,
        )

    def _band(self, part: Part, source: image.Source, clock: Clock, batch_limit: int | None) -> Done:
        item, params = part.item, part.item.upscale
        header = self._header(item, source)
        if part.size != (header.width, header.height) or part.grid_rows is None:
            raise changed(item, f"is now {header.width}x{header.height}")
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
            published = self._station.publish(self._station.piece_url(part), data, key=part.part_id)
        keep_px = sum(tile.keep.area_px for tile in cut.tiles)
        return replace(
            self._done(part, published, picture_plan, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=keep_px,
            extent=out_rows,
        )

    def _join(self, part: Part, clock: Clock) -> Done:
        item, params = part.item, part.item.upscale
        if part.size is None:
            raise ValueError(f"{part.part_id} does not know its size")
        picture_plan = plan_picture(picture_spec(params, *part.size))
        spec = picture_plan.spec
        stats = sum((piece.stats for piece in part.pieces), PixelStats())
        suspect = self._station.judged(stats, item)
        with self._station.source(item, clock, version=part.version) as source, clock.stage("decode"):
            first_row = image.decode_rows(source.data, item.row.source_url, _limits(params), 0, 1)
        openers = [partial(storage.open_read, piece.url) for piece in part.pieces]
        precision = params.precision if first_row.header.depth == 8 else params.precision_16bit
        root, encode = self._station.root, _encode_spec(item, picture_plan, precision)
        opened = root.open_write if encode.format in image.SOUGHT_FORMATS else root.open_stream
        with clock.stage("encode"), opened(item.output_url, key=item.item_id) as sink:
            with self._joining(part):
                meta = first_row.meta
                image.join_pieces(openers, spec.out_width, spec.out_height, meta, encode, item.output_url, sink)
            self._station.check_alive()
            published = sink.commit()
        done = self._station.done(
            part,
            published,
            clock,
            stats=stats,
            mode=picture_plan.mode.value,
            precision=precision,
            suspect=suspect,
        )
        return replace(
            done,
            width=spec.out_width,
            height=spec.out_height,
            source_px=spec.width * spec.height,
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
            raise LostPiecesError(
                ErrorKind.CHANGED_DURING_READ,
                part.item.row.source_url,
                f"a finished band of it was damaged or lost before the join ({error.found})",
                "run the same command again, which makes the bands anew",
            ) from error

    # -- what they share ---------------------------------------------------------------------------------------

    def _header(self, item: WorkItem, source: image.Source) -> image.ImageHeader:
        header = image.read_header(source, item.row.source_url, _limits(item.upscale))
        refusal = refuse_size(item, header.width, header.height)
        if refusal is not None:
            raise refusal
        return header

    def _held(self, item: WorkItem, cut: Cut, header: image.ImageHeader) -> AbstractContextManager[None]:
        precision = item.upscale.precision if header.depth == 8 else item.upscale.precision_16bit
        wanted = working_bytes(cut.plan, cut, header.bands, header.depth, precision)
        return self._station.held(item, wanted, "lower --exact-px or --band-px, or use fewer --workers")

    def _restored(
        self, pixels: NDArray[Any], cut: Cut, item: WorkItem, clock: Clock, batch_limit: int | None
    ) -> RestoredPixels:
        made = self._station.restorer.restore(pixels, cut, item.upscale, item.row.source_url, batch_limit)
        clock.add("wait", made.verdict.wait_s)
        clock.add("infer", made.verdict.infer_s)
        self._station.check_believable(made.verdict.stats, item)
        return made

    def _done(
        self, part: Part, published: storage.Published, picture_plan: PicturePlan, made: RestoredPixels, clock: Clock
    ) -> Done:
        return self._station.done(
            part,
            published,
            clock,
            stats=made.verdict.stats,
            mode=picture_plan.mode.value,
            precision=made.precision,
        )


def _aligned(rows: tuple[int, int], header: image.ImageHeader) -> tuple[int, int]:
    """Rows to read; with alpha, whole blocks of the fill that hides colours under transparent pixels."""
    if not header.has_alpha:
        return rows
    block = FILL_BLOCK_PX
    return rows[0] // block * block, min(header.height, -(-rows[1] // block) * block)


def _limits(params: UpscaleParams) -> image.ReadLimits:
    return image.ReadLimits(max_pixels=params.max_pixels_in, pages=params.pages)


def _encode_spec(item: WorkItem, picture_plan: PicturePlan, precision: str) -> image.EncodeSpec:
    stamp = stamp_of(item, precision=precision, mode=picture_plan.mode.value)
    return image.EncodeSpec(format=item.upscale.format, quality=item.upscale.quality, stamp=stamp)
