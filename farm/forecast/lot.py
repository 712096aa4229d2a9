"""Rows that are alike, added up; and how large those are whose sizes nobody knows, from looking into some of each."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b

from farm import storage
from farm.errors import DiskError, ErrorKind, ItemError
from farm.kinds import MediaKind, is_sequence
from farm.media import image, video
from farm.params import UpscaleParams
from farm.progress import Likeness, likeness_of
from farm.records import WorkItem
from farm.sizes import refuse_size
from farm.target import final_size, work_factor

_PICTURES, _FILMS = 24, 4
"""of each likeness that are looked into"""
_MOST_FILM_BYTES = 1 << 31
"""of a film whose packets are read for its size"""
_AT_ONCE = 8
_TURNS = 8
_BANDS, _DEPTH = 3, 8
"""of a picture whose size the manifest says, and which nobody looks into"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LotKey:
    """What rows of a lot have in common."""

    likeness: Likeness
    form: str
    """format of a picture, container of a film"""
    asked: tuple[float, tuple[int, int] | None]
    """scale or size of the output"""


@dataclass(slots=True)
class Lot:
    """Pending rows of one key."""

    params: UpscaleParams
    rows: int = 0
    largest: WorkItem | None = None
    """the picture of the most pixels, as far as they are known"""
    guess_px: int = 0
    """source pixels as far as they can be guessed from files' bytes, or as the manifest says them"""
    held: list[tuple[int, str, WorkItem]] = field(default_factory=list[tuple[int, str, WorkItem]])
    """some of them, by draw"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look into one file gave."""

    guess_px: int
    url: str = ""
    px: int = 0
    out_px: int = 0
    frames: int = 0
    error: str = ""
    """why it would fail: it cannot be read, or is refused by its size; then all else is 0"""
    is_refused: bool = False
    """by its size: then it is no work"""
    needs_bytes: int = 0
    """of a CPU worker's memory, of a picture"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What a lot has, estimated from the rows that were looked into."""

    key: LotKey
    rows: int
    source_px: float
    work_px: float
    """source pixels that go through the network, of all passes and turns"""
    output_px: float
    frames: float
    looked: tuple[Looked, ...]
    """empty where the manifest says all sizes"""
    largest: Looked
    """of what is known, the picture that needs the most memory"""


class Lots:
    """Pending rows, lot by lot."""

    def __init__(self) -> None:
        self._lots: dict[LotKey, Lot] = {}
        self.others: dict[str, int] = {}
        """rows that no network restores, by what is made of them"""

    def add(self, item: WorkItem) -> None:
        params = item.params
        if not isinstance(params, UpscaleParams):
            self.others[params.model] = self.others.get(params.model, 0) + 1
            return
        form = params.video.container if params.video else params.format
        key = LotKey(likeness=likeness_of(item), form=form, asked=(params.outscale, params.size))
        lot = self._lots.setdefault(key, Lot(params=params))
        lot.rows += 1
        lot.guess_px += item.cost_px
        is_larger = lot.largest is None or item.cost_px > lot.largest.cost_px
        if is_larger and item.row.kind is MediaKind.IMAGE and params.device_class == "cpu":
            lot.largest = item
        one = (-_draw(item.row.source_url), item.item_id, item)
        if len(lot.held) < (_FILMS if item.row.kind is MediaKind.VIDEO else _PICTURES):
            heapq.heappush(lot.held, one)
        else:
            heapq.heappushpop(lot.held, one)

    def volumes(self) -> Iterator[Volume]:
        """Look into those that are held, several at a time."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look") as pool:
            for key, lot in self._lots.items():
                items = [item for _, _, item in sorted(lot.held, key=lambda one: one[:2])]
                held = {item.item_id for item in items}
                beside = lot.largest if lot.largest and lot.largest.item_id not in held else None
                largest = pool.submit(_looked, beside) if beside else None
                looked = tuple(pool.map(_looked, items))
                yield self._volume(key, lot, looked, largest.result() if largest else Looked(guess_px=0))

    def _volume(self, key: LotKey, lot: Lot, looked: tuple[Looked, ...], largest: Looked) -> Volume:
        told = [one for one in looked if one.is_refused or not one.error]  # of others only their bytes are known
        thought = sum(one.guess_px for one in told)
        found = sum(one.px for one in told)
        px = lot.guess_px * (found / thought if thought else 1.0)
        made = sum(one.out_px for one in told) / found if found else lot.params.outscale**2
        frames = px * sum(one.frames for one in told) / found if found else 0.0
        turns = _TURNS if lot.params.tta else 1
        return Volume(
            key=key,
            rows=lot.rows,
            source_px=px,
            work_px=px * work_factor(lot.params) * turns,
            output_px=px * made,
            frames=frames,
            looked=() if key.likeness.sized else looked,
            largest=max((largest, *looked), key=lambda one: one.needs_bytes),
        )


def errors(volumes: Iterable[Volume]) -> list[str]:
    """Why some of what was looked into would fail."""
    return [one.error for volume in volumes for one in volume.looked if one.error]


def _draw(url: str) -> int:
    return int.from_bytes(blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _looked(item: WorkItem) -> Looked:
    row = item.row
    try:
        if row.kind is MediaKind.VIDEO:
            return _film(item)
        width, height, bands, depth = row.width or 0, row.height or 0, _BANDS, _DEPTH
        if not (width and height):
            limits = image.ReadLimits(max_pixels=item.upscale.max_pixels_in, pages=item.upscale.pages)
            with storage.open_read(row.source_url) as file:
                header = image.read_header(file, row.source_url, limits)
            width, height, bands, depth = header.width, header.height, header.bands, header.depth
            if (refused := refuse_size(item, width, height)) is not None:
                raise refused
    except DiskError as error:
        return Looked(guess_px=item.cost_px, error=str(error))
    except ItemError as error:
        return Looked(guess_px=item.cost_px, error=str(error), is_refused=error.kind is ErrorKind.TOO_LARGE)
    made = final_size(width, height, item.upscale)
    return Looked(
        guess_px=item.cost_px,
        url=row.source_url,
        px=width * height,
        out_px=made[0] * made[1],
        needs_bytes=_needs_bytes(item.upscale, (width, height), bands, depth),
    )


def _needs_bytes(params: UpscaleParams, size: tuple[int, int], bands: int, depth: int) -> int:
    """What a CPU worker holds for a picture, or for the largest of its bands, by the worker's own reckoning."""
    if params.device_class != "cpu":
        return 0
    from farm.tasks.upscale_image import needs_bytes  # loads torch

    return needs_bytes(params, size, bands, depth)


def _film(item: WorkItem) -> Looked:
    """Of its packets; a very long film is left to its guess."""
    url = item.row.source_url
    if is_sequence(url):
        film = video.read_film(None, url, item.upscale).film
    elif storage.stat(url).bytes > _MOST_FILM_BYTES:
        return Looked(guess_px=0)
    else:
        with storage.open_read(url) as file:
            film = video.read_film(file, url, item.upscale).film
    frame_px, made = film.source.width * film.source.height, film.target.width * film.target.height
    return Looked(guess_px=item.cost_px, px=frame_px * film.frames, out_px=made * film.frames, frames=film.frames)
