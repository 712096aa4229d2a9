"""The same place of a source and of its output, to be laid over each other: crops of pictures, stills of films."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import cast

import numpy as np
from numpy.typing import NDArray

from farm import storage
from farm.console import printable
from farm.errors import ErrorKind, ItemError
from farm.media import image, video
from farm.report.sample import Row
from sr_kernel.frame_rgb import frame_rgb

Rgb = NDArray[np.uint8]
"""HW3"""
SIDE_PX = 480
"""of a crop of an output"""
_MOST_SOURCE_PX = 64_000_000
"""of a source that is decoded whole, to look for a busy place; of larger ones it is the middle"""
_MOST_FILM_BYTES = 1 << 31
"""of a film whose packets are read for a still"""
_MOST_FRAME_PX = 64_000_000
_SEARCHED_PX = 1_000_000
"""that are compared at most to find a busy place: of larger pictures every n-th"""
_MOST_ICC_BYTES = 4096
_PAPER = 236
"""what lies under transparent pixels"""
_AT_ONCE = 4
_LIMITS = image.ReadLimits(max_pixels=1 << 40, pages="first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One place before and after."""

    before: Rgb
    """of the source, in its own pixels"""
    after: Rgb
    """the same place of the output"""
    place: str
    """where that is, in words"""
    icc: bytes | None = None
    """colour profile of both"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A row of the sample."""

    row: Row
    title: str
    """the output below its root; printable, whatever its name is"""
    pair: Pair | None
    notice: str = ""
    """why there is no pair"""


def iter_shown(root: str, rows: Sequence[Row]) -> Iterator[Shown]:
    """Each row with its pair, in order. Raises what is wrong with a whole store; what is wrong with a file is shown."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="report") as pool:
        yield from pool.map(_shown, repeat(root), rows)


def title_of(root: str, output: str) -> str:
    """An output below its root, printable."""
    return printable(output.removeprefix(root.rstrip("/") + "/"))


def _shown(root: str, row: Row) -> Shown:
    title = title_of(root, row.output)
    try:
        _check_same(row)
        pair = _film_pair(row) if row.frames else _picture_pair(row)
    except ItemError as error:
        return Shown(row=row, title=title, pair=None, notice=printable(str(error)))
    return Shown(row=row, title=title, pair=pair)


def _check_same(row: Row) -> None:
    """Raises ItemError unless source and output are still what the run read and made, as far as their stores say."""
    found = storage.stat(row.output)
    if found.bytes != row.bytes:
        what = f"has {found.bytes} bytes, published were {row.bytes}"
        raise ItemError(ErrorKind.CHANGED_DURING_READ, row.output, what, "run again with --verify-outputs")
    if video.is_sequence(row.source):
        what = "a numbered sequence, of which no still is shown"
        raise ItemError(ErrorKind.UNSUPPORTED, row.source, what, "look at the output")
    version = row.source_version
    if version.startswith(("etag:", "stat:")) and storage.stat(row.source).version not in (version, ""):
        what = "is another one since it was restored"
        raise ItemError(ErrorKind.CHANGED_DURING_READ, row.source, what, "run again to restore it as it is now")


# -- pictures ------------------------------------------------------------------------------------------------------


def _picture_pair(row: Row) -> Pair:
    with storage.open_read(row.source) as file:
        header = image.read_header(file, row.source, _LIMITS)
        side = _source_side((header.width, header.height), (row.width, row.height))
        if header.area_px <= _MOST_SOURCE_PX:
            file.seek(0)
            picture = image.decode(file, row.source, _LIMITS)
            pixels = _solid(picture.pixels)
            x, y = busiest(pixels, side)
            before = pixels[y : y + side, x : x + side]
        else:
            x, y = (header.width - side) // 2, (header.height - side) // 2
            file.seek(0)
            picture = image.decode_rows(file, row.source, _LIMITS, y, y + side)
            before = _solid(picture.pixels[:, x : x + side])
    left, right = _span(x, side, header.width, row.width)
    top, bottom = _span(y, side, header.height, row.height)
    with storage.open_read(row.output) as file:
        rows = image.decode_rows(file, row.output, _LIMITS, top, bottom)
    icc = rows.meta.icc
    return Pair(
        before=np.ascontiguousarray(before),
        after=_solid(rows.pixels[:, left:right]),
        place=f"{right - left} x {bottom - top} px of {row.width} x {row.height}",
        icc=icc if icc and len(icc) <= _MOST_ICC_BYTES and not rows.header.gray else None,
    )


def _source_side(source: tuple[int, int], output: tuple[int, int]) -> int:
    """Side of the square of source pixels of which SIDE_PX output pixels are made; no larger than the picture."""
    scale = max(output[0] / source[0], output[1] / source[1])
    return max(1, min(*source, round(SIDE_PX / scale)))


def _span(start: int, side: int, source: int, output: int) -> tuple[int, int]:
    """Where some source pixels of a line lie in the output's line, half-open, one pixel at least."""
    first = min(output - 1, round(start * output / source))
    return first, min(output, max(first + 1, round((start + side) * output / source)))


def busiest(pixels: Rgb, side: int) -> tuple[int, int]:
    """Left and top of the square of that side with the most contours, of squares half a side apart."""
    height, width, _ = pixels.shape
    step = max(1, int((height * width / _SEARCHED_PX) ** 0.5))
    green = pixels[::step, ::step, 1].astype(np.int16)
    change = np.zeros(green.shape, np.int64)
    change[:, 1:] += np.abs(np.diff(green, axis=1))
    change[1:] += np.abs(np.diff(green, axis=0))
    sums = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    places = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]

    def busy(place: tuple[int, int]) -> float:
        y0, x0 = place[0] // step, place[1] // step
        y1, x1 = min(y0 + max(1, side // step), green.shape[0]), min(x0 + max(1, side // step), green.shape[1])
        return float(sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0])

    y, x = max(places, key=busy)
    return x, y


def _starts(length: int, side: int) -> list[int]:
    """Starts of spans of `side` half a side apart, the last one at the end."""
    last = length - side
    return [*range(0, last, max(1, side // 2)), last]


def _solid(pixels: image.Pixels) -> Rgb:
    """As a page shows it: 8 bits, three channels, transparent parts over paper."""
    top = 255 if pixels.dtype == np.uint8 else 65535
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:].astype(np.float32) / top
        mixed = pixels[..., :-1].astype(np.float32) * (255 / top) * alpha + _PAPER * (1 - alpha)
        made = np.rint(mixed).astype(np.uint8)
    elif pixels.dtype == np.uint16:
        made = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        made = cast("NDArray[np.uint8]", pixels)
    return np.ascontiguousarray(np.repeat(made, 3, axis=2) if made.shape[2] == 1 else made)


# -- films ---------------------------------------------------------------------------------------------------------


def _film_pair(row: Row) -> Pair:
    """The frame in the middle of the output, and the source's frame of that time."""
    still, at_s = _still(row.output, None)
    source, _ = _still(row.source, at_s)
    height, width, _ = source.shape
    side = _source_side((width, height), (still.shape[1], still.shape[0]))
    x, y = busiest(source, side)
    left, right = _span(x, side, width, still.shape[1])
    top, bottom = _span(y, side, height, still.shape[0])
    return Pair(
        before=np.ascontiguousarray(source[y : y + side, x : x + side]),
        after=np.ascontiguousarray(still[top:bottom, left:right]),
        place=f"{right - left} x {bottom - top} px of {still.shape[1]} x {still.shape[0]}, at {at_s:.2f} s",
    )


def _still(url: str, at_s: float | None) -> tuple[Rgb, float]:
    """The frame that is shown at a time from the first one on, or in the middle, and when that is."""
    nbytes = storage.stat(url).bytes
    if nbytes > _MOST_FILM_BYTES:
        what = f"{nbytes} bytes, of which no still is shown (limit {_MOST_FILM_BYTES})"
        raise ItemError(ErrorKind.TOO_LARGE, url, what, "look at the film")
    with storage.open_read(url) as file:
        frames = video.read_frames(file, url, _MOST_FRAME_PX)
        times = [float((time - frames.times[0]) * frames.film.time_base) for time in frames.times]
        number = len(times) // 2 if at_s is None else max(0, bisect_right(times, at_s + 1e-6) - 1)
        frame = next(iter(video.iter_chosen(file, frames, [number])))
        pixels = video.turned(frame_rgb(frame.planes, frames.film.source), frames.film.rotation)
    return _solid(pixels), times[number]
