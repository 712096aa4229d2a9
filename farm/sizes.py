"""How large a picture is before anybody has decoded it: guessed from its file, and refused by rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import ErrorKind, ItemError
from farm.kinds import FORMAT_LIMITS, MediaKind, extension_of
from farm.records import WorkItem
from farm.target import SMALLER, asked, final_size

PIXELS_PER_BYTE: Mapping[str, float] = {"png": 0.7, "jpg": 3.8, "jpeg": 3.8, "tif": 0.2, "tiff": 0.2}
"""Source pixels a byte of file, by extension: medians over 21 pictures. A first guess of the cost, replaced as
soon as a worker has read the header; other extensions are guessed like JPEG."""
_FILM_PX_PER_BYTE = 60.0
"""source pixels a byte of a film: 2 to 5 Mbit/s for 720p at 25 a second"""


def refuse_size(item: WorkItem, width: int, height: int) -> ItemError | None:
    """Why a picture of this upright size in pixels is not restored, or None; asked before anything is decoded."""
    params, url = item.upscale, item.row.source_url
    if width * height > params.max_pixels_in:
        found = f"{width} x {height} is {width * height} pixels (limit {params.max_pixels_in})"
        return ItemError(ErrorKind.TOO_LARGE, url, found, "raise --max-pixels if the picture is to be trusted")
    out_width, out_height = final_size(width, height, params)
    limit = FORMAT_LIMITS[params.format]
    if out_width <= limit and out_height <= limit and out_width * out_height <= params.max_pixels_out:
        return None
    by = f"at {params.outscale:g}x" if params.size is None else f"for --size {asked(params)}"
    made = f"{width} x {height} {by} makes {out_width} x {out_height}"
    if out_width * out_height > params.max_pixels_out:
        found = f"{made}, {out_width * out_height} pixels (limit {params.max_pixels_out})"
        return ItemError(ErrorKind.TOO_LARGE, url, found, f"raise --max-pixels-out or {SMALLER}")
    found = f"{made}, but {params.format} holds at most {limit} pixels a side"
    return ItemError(ErrorKind.TOO_LARGE, url, found, f"use --format tiff or png, or {SMALLER}")


def guess_px(source_url: str, kind: MediaKind, nbytes: int, size: tuple[int | None, int | None]) -> int:
    """Source pixels of a row, as far as they can be guessed before anybody has looked into its file of `nbytes`.

    `size`: upright width and height, where the manifest says them: then it is no guess for a picture.
    """
    width, height = size
    if kind is MediaKind.VIDEO:
        return max(1, int(nbytes * _FILM_PX_PER_BYTE))
    if width and height:
        return width * height
    return max(1, int(nbytes * PIXELS_PER_BYTE.get(extension_of(source_url), PIXELS_PER_BYTE["jpg"])))
