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

from farm import failpoints, storage
from farm.entries import joined_precision, joined_warning
from farm.errors import ErrorKind, ItemError, LostPiecesError
from farm.media import image
from farm.params import UpscaleParams
from farm.records import Done, Part, PartKind, Split, WorkItem
from farm.sizes import refuse_size
from farm.target import SMALLER
from farm.tasks.chain import (
    Link,
    Plans,
    band_links,
    chain_bytes,
    mode_of,
    plan_chain,
    plan_cuts,
    restore_chain,
    whole_links,
)
from farm.tasks.faces import check_whole, face_bytes
from farm.tasks.restore import RestoredPixels, batch_note
from farm.tasks.station import Clock, Source, Station, changed, stamp_of
from sr_kernel.believable.floors import suspicions
from sr_kernel.believable.niqe import niqe
from sr_kernel.fidelity import PixelStats

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
        plans = plan_chain(params, header.width, header.height)
        check_whole(params.face, item.row.source_url, header.width, header.height)
        bands = plan_cuts(plans, params.band_px) if params.face is None else ()
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
        links = whole_links(plans)
        with self._held(item, links, header):
            with clock.stage("decode"):
                failpoints.hit("decode", item.row.source_url)
                picture = image.decode(source, item.row.source_url, _limits(params))
                image.check_holds(picture.pixels, _encode_spec(item, plans, params.precision), item.output_url)
            made, beyond = self._restored(picture.pixels, links, item, clock, batch_limit)
            suspect = self._station.judged(beyond, item)
            faces = self._station.faces.restore(picture.pixels, made.pixels, params.face, item.row.source_url)
            clock.add("infer", faces.infer_s if faces else 0.0)
            with clock.stage("encode"):
                failpoints.hit("encode", item.output_url)
                quality = niqe(made.pixels) if params.niqe else None
                spec = _encode_spec(item, plans, made.precision, faces.count if faces else None)
                data = image.encode(made.pixels, picture.meta, spec, item.output_url)
        with clock.stage("write"):
            published = self._station.publish(item.output_url, data, key=item.item_id)
        return replace(
            self._done(part, published, plans, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=header.width * header.height,
            warning=joined_warning(picture.warning, batch_note(params, made.verdict.smaller)),
            lacking=picture.lacking,
            source_sha256=hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else "",
            niqe=quality,
            suspect=suspect,
        )

    def _band(self, part: Part, source: image.Source, clock: Clock, batch_limit: int | None) -> Done:
        item, params = part.item, part.item.upscale
        header = self._header(item, source)
        if part.size != (header.width, header.height) or part.grid_rows is None:
            raise changed(item, f"is now {header.width}x{header.height}")
        plans = plan_chain(params, header.width, header.height)
        links = band_links(plans, part.grid_rows, alpha=header.has_alpha)
        with self._held(item, links, header):
            with clock.stage("decode"):
                failpoints.hit("decode", item.row.source_url)
                rows = image.decode_rows(source, item.row.source_url, _limits(params), *links[0].rows)
            made, _ = self._restored(rows.pixels, links, item, clock, batch_limit)
            with clock.stage("encode"):
                failpoints.hit("encode", item.output_url)
                data = image.encode_piece(made.pixels)
        with clock.stage("write"):
            published = self._station.publish(self._station.piece_url(part), data, key=part.part_id)
        cut = links[-1].cut
        kept_px, all_px = sum(tile.keep.area_px for tile in cut.tiles), cut.plan.spec.area_px
        return replace(
            self._done(part, published, plans, made, clock),
            width=made.pixels.shape[1],
            height=made.pixels.shape[0],
            source_px=kept_px * header.width * header.height // all_px,
            extent=cut.out_rows,
            warning=batch_note(params, made.verdict.smaller),
        )

    def _join(self, part: Part, clock: Clock) -> Done:
        item, params = part.item, part.item.upscale
        if part.size is None:
            raise ValueError(f"{part.part_id} does not know its size")
        plans = plan_chain(params, *part.size)
        spec = plans[-1].spec
        stats = sum((piece.stats for piece in part.pieces), PixelStats())
        self._station.check_believable(stats, item)
        suspect = self._station.judged(suspicions(stats), item)
        row = part.size[1] - 1 if params.salvage else 0  # what is lost is only known behind the last row
        with self._station.source(item, clock, version=part.version) as source, clock.stage("decode"):
            one_row = image.decode_rows(source.data, item.row.source_url, _limits(params), row, row + 1)
        openers = [partial(storage.open_read, piece.url) for piece in part.pieces]
        precision = joined_precision(piece.precision for piece in part.pieces)
        root, encode = self._station.root, _encode_spec(item, plans, precision)
        opened = root.open_write if encode.format in image.SOUGHT_FORMATS else root.open_stream
        with clock.stage("encode"), opened(item.output_url, key=item.item_id) as sink:
            with self._joining(part):
                failpoints.hit("join", item.output_url)
                meta = one_row.meta
                image.join_pieces(openers, spec.out_width, spec.out_height, meta, encode, item.output_url, sink)
            self._station.check_alive()
            published = sink.commit()
        done = self._station.done(
            part, published, clock, stats=stats, mode=mode_of(plans), precision=precision, suspect=suspect
        )
        return replace(
            done,
            width=spec.out_width,
            height=spec.out_height,
            source_px=part.size[0] * part.size[1],
            warning=joined_warning(one_row.warning, *(piece.warning for piece in part.pieces)),
            lacking=one_row.lacking,
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

    def _held(self, item: WorkItem, links: tuple[Link, ...], header: image.ImageHeader) -> AbstractContextManager[None]:
        wanted = _links_bytes(item.upscale, links, header.bands, header.depth)
        wanted += face_bytes(item.upscale.face, header.width, header.height, self._station.context.device)
        return self._station.held(item, wanted, f"lower --exact-px or --band-px, use fewer --workers, or {SMALLER}")

    def _restored(
        self, pixels: NDArray[Any], links: tuple[Link, ...], item: WorkItem, clock: Clock, batch_limit: int | None
    ) -> tuple[RestoredPixels, dict[str, float]]:
        """What the last pass makes, and which figures of any pass are beyond belief, each against the pass before."""
        station, last, found = self._station, None, dict[str, float]()
        for made in restore_chain(station.restorer, pixels, links, item.upscale, item.row.source_url, batch_limit):
            clock.add("wait", made.verdict.wait_s)
            clock.add("infer", made.verdict.infer_s)
            station.check_believable(made.verdict.stats, item)
            found |= suspicions(made.verdict.stats)
            last = made
        if last is None:
            raise ValueError(f"{item.item_id} has no pass")
        return last, found

    def _done(self, part: Part, published: storage.Published, plans: Plans, made: RestoredPixels, clock: Clock) -> Done:
        return self._station.done(
            part,
            published,
            clock,
            stats=made.verdict.stats,
            mode=mode_of(plans),
            precision=made.precision,
        )


def needs_bytes(params: UpscaleParams, size: tuple[int, int], channels: int, depth: int) -> int:
    """What a picture of this size takes in a CPU worker, or the largest of its bands."""
    plans = plan_chain(params, *size)
    cuts = plan_cuts(plans, params.band_px) if params.face is None else ()
    has_alpha = channels in (2, 4)
    parts = [band_links(plans, rows, alpha=has_alpha) for rows in cuts] or [whole_links(plans)]
    most = max(_links_bytes(params, links, channels, depth) for links in parts)
    return most + face_bytes(params.face, *size, "cpu")


def _links_bytes(params: UpscaleParams, links: tuple[Link, ...], channels: int, depth: int) -> int:
    precision = params.precision if depth == 8 else params.precision_16bit
    return chain_bytes(links, params, channels, depth, precision)


def _limits(params: UpscaleParams) -> image.ReadLimits:
    return image.ReadLimits(max_pixels=params.max_pixels_in, pages=params.pages, salvage=params.salvage)


def _encode_spec(item: WorkItem, plans: Plans, precision: str, faces: int | None = None) -> image.EncodeSpec:
    stamp = stamp_of(item, precision=precision, mode=mode_of(plans), faces=faces)
    return image.EncodeSpec(format=item.upscale.format, quality=item.upscale.quality, stamp=stamp)
