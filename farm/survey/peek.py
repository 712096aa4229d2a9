"""What only a look into a file can tell while rows are planned: animated or not, and sometimes its size.

Reads headers, several at a time; whatever cannot be read is left for the worker, which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from farm import storage
from farm.blocks import RowBlock, block_of
from farm.config import RunConfig
from farm.errors import DiskError, ItemError
from farm.kinds import ANIMATION_EXTENSIONS, FORMAT_LIMITS, MediaKind, extension_of, is_sequence
from farm.media import image
from farm.params import UpscaleParams
from farm.records import FileStat, ManifestRow, RefusedRow, WorkItem
from farm.sizes import refuse_size

_AT_ONCE = 8
_HOLDS_ANYTHING = 1_000_000
"""formats whose sides may be this long need no look at the header before the work"""


class Peek:
    """Looks into sources for one run. Close it, or use it as a context."""

    def __init__(self, config: RunConfig) -> None:
        self._films = ANIMATION_EXTENSIONS.keys() if config.limits.pages in ("animation", "video") else ()
        """extensions of pictures that are treated as films where they are animated"""
        self._operation = config.prepare.packs
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="probe")

    def __enter__(self) -> Peek:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def of_kind(self, block: RowBlock) -> RowBlock:
        """The rows, each of the kind that this run takes it for."""
        if self._operation:
            rows = [block.refused.get(at) or block.row(at) for at in range(len(block))]
            return block_of((_as_pack(row, self._operation) for row in rows), block.first)
        numbered = any(kind is MediaKind.VIDEO for kind in block.kinds) and any("%" in url for url in block.urls)
        if not self._films and not numbered:
            return block
        rows = [block.refused.get(at) or block.row(at) for at in range(len(block))]
        return block_of(self._pool.map(self._of_kind, rows), block.first)

    def _of_kind(self, row: ManifestRow | RefusedRow) -> ManifestRow | RefusedRow:
        if isinstance(row, RefusedRow):
            return row
        if row.kind is MediaKind.IMAGE and extension_of(row.source_url) in self._films and _is_animated(row):
            return replace(row, kind=MediaKind.VIDEO)
        if row.kind is MediaKind.VIDEO and is_sequence(row.source_url) and _is_there(row.source_url):
            return replace(row, kind=MediaKind.IMAGE)  # a picture whose name only looks like a sequence's
        return row

    def refusals(self, items: Sequence[WorkItem]) -> Iterable[ItemError | None]:
        """Of each pending item, why its format cannot hold the output; headers are read where formats have limits."""
        if not any(map(_needs_header, items)):
            return [None] * len(items)
        return self._pool.map(_refusal, items)


def _as_pack(row: ManifestRow | RefusedRow, operation: str) -> ManifestRow | RefusedRow:
    return row if isinstance(row, RefusedRow) else replace(row, kind=MediaKind.PACK, task=operation)


def _needs_header(item: WorkItem) -> bool:
    """Whether only the file can tell that its format holds the output; films are looked into by workers, and sizes
    that the manifest says have been seen."""
    row = item.row
    if row.kind is not MediaKind.IMAGE or (row.width and row.height) or not isinstance(item.params, UpscaleParams):
        return False
    return FORMAT_LIMITS[item.params.format] <= _HOLDS_ANYTHING


def _refusal(item: WorkItem) -> ItemError | None:
    if not _needs_header(item):
        return None
    try:
        return refuse_size(item, *_size(item))
    except ItemError:
        return None  # what is wrong with the file is the worker's to say


def _size(item: WorkItem) -> tuple[int, int]:
    limits = image.ReadLimits(max_pixels=item.upscale.max_pixels_in, pages=item.upscale.pages)
    with storage.open_read(item.row.source_url) as source:
        header = image.read_header(source, item.row.source_url, limits)
    return header.width, header.height


def sequence_stat(url: str) -> FileStat:
    """What the store says of a numbered sequence: of all its pictures together. Raises ItemError."""
    from farm.media.video.pictures import sequence

    return sequence.stat(url)


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
