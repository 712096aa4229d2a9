"""Numbered pictures as a film: what they have in common, and frame by frame their pixels.

A frame is what the picture is for `farm.media.image`: upright, CMYK and LAB turned into sRGB, gray gray, 16 bits 16
bits. Pixels are all that is kept of it; an embedded colour profile is left out, with a warning unless it is sRGB's.
Pictures may differ in all but their size: the film is gray when all are, and of 16 bits or with alpha when one is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import cast

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan, Span
from farm.media.image import ImageHeader, Picture, ReadLimits, Source, decode, read_header
from farm.media.video.pictures.cut import Timeline, cut_pictures, video_of
from farm.media.video.pictures.numbered import list_numbered, numbered_files, refuse_gaps, stat
from farm.media.video.pictures.still_frames import is_opaque, planes_of, profile_warning
from farm.media.video.pictures.target import PICTURE_CONTAINERS
from farm.media.video.values import FilmCut, Frame, Planes
from farm.params import UpscaleParams
from sr_kernel.layout import FrameLayout

__all__ = ["DEFAULT_RATE", "iter_sequence", "read_sequence", "stat"]

DEFAULT_RATE = Fraction(24)
"""frames a second where none is asked for"""
_AT_ONCE = 16
"""headers that are asked of a store at a time"""
_HEADER_BYTES = 32 << 10
"""read of a store at a time while only headers are wanted"""
_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED, ErrorKind.EMPTY_INPUT, ErrorKind.NOT_AN_IMAGE})
"""what allowed damage may hide"""


def read_sequence(url: str, params: UpscaleParams) -> FilmCut:
    """The plan of a sequence, from the headers of all its pictures.

    The timestamp of a source frame is the number of its picture, its time base one frame.

    Raises:
        ItemError: MISSING for numbers that have no picture; UNSUPPORTED when sizes differ; what `read_header` says of
            a picture, under the picture's own name.
    """
    video = video_of(params)
    numbers = tuple(list_numbered(url))
    refuse_gaps(numbers, url)
    files = numbered_files(url)
    headers = _headers([files.url(number) for number in numbers], params)
    layout = _common(headers)
    if layout.alpha and video.container not in PICTURE_CONTAINERS:  # which may not hold what may not be needed
        transparent = [one for one, header in headers.items() if header.has_alpha]
        layout = replace(layout, alpha=not _all_opaque(transparent, params))
    times = Timeline(
        time_base=1 / (Fraction(video.fps) if video.fps else DEFAULT_RATE), pts=numbers, end=numbers[-1] + 1
    )
    first_url, first = next(iter(headers.items()))
    shown = _read(first_url, params)
    warnings = (shown[0].warning, profile_warning(shown[0].meta)) if shown else ()
    return cut_pictures(layout, times, first.format, params, url, warnings=tuple(filter(None, warnings)))


def iter_sequence(url: str, film: FilmPlan, span: Span, params: UpscaleParams) -> Iterator[Frame]:
    """The frames of one segment.

    Raises:
        ItemError: what `decode` says of a picture, under the picture's own name. With `allow_damaged` or `salvage` a
            damaged picture is kept as far as it goes; with `allow_damaged` one that holds nothing is replaced by the
            nearest before it, else after it.
    """
    files = numbered_files(url)
    for index, number in zip(range(*span.frames), span.pts, strict=True):
        planes, damaged = _planes(files.url(number), film.source, params)
        if planes is None:
            first = number - index
            near = (*range(number - 1, first - 1, -1), *range(number + 1, first + film.frames))
            planes = _nearest((files.url(one) for one in near), url, film.source, params)
        yield Frame(index=index, planes=planes, damaged=damaged)


def _headers(urls: Sequence[str], params: UpscaleParams) -> dict[str, ImageHeader]:
    """Of every picture, in order; without those that damage is allowed to have taken."""
    limits = _limits(params)

    def read(url: str) -> ImageHeader | ItemError:
        # The buffer of a store's file asks for 4 MiB, more than most pictures have.
        file = cast("io.BufferedReader", storage.open_read(url)).detach()
        try:
            with io.BufferedReader(file, _HEADER_BYTES) as small:
                return read_header(small, url, limits)
        except ItemError as error:
            if error.kind not in _DAMAGE or not video_of(params).allow_damaged:
                raise
            return error

    if storage.is_remote(urls[0]):
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="header") as pool:
            found = list(pool.map(read, urls))
    else:
        found = [read(url) for url in urls]
    headers = {url: one for url, one in zip(urls, found, strict=True) if isinstance(one, ImageHeader)}
    if not headers and isinstance(found[0], ItemError):
        raise found[0]
    return headers


def _common(headers: dict[str, ImageHeader]) -> FrameLayout:
    """A layout that holds all pictures."""
    first = next(iter(headers.values()))
    for url, header in headers.items():
        if (header.width, header.height) != (first.width, first.height):
            found = f"{header.width} x {header.height}, but the first picture is {first.width} x {first.height}"
            raise ItemError(ErrorKind.UNSUPPORTED, url, found, "give all pictures of the sequence one size")
    return FrameLayout(
        width=first.width,
        height=first.height,
        model="gray" if all(header.gray for header in headers.values()) else "rgb",
        depth=max(header.depth for header in headers.values()),
        full_range=True,
        alpha=any(header.has_alpha for header in headers.values()),
    )


def _all_opaque(urls: Iterable[str], params: UpscaleParams) -> bool:
    """Whether no pixel of any picture is transparent; decodes up to the first one that has some."""
    return all(read is None or is_opaque(read[0].pixels) for read in (_read(url, params) for url in urls))


def _planes(url: str, layout: FrameLayout, params: UpscaleParams) -> tuple[Planes | None, bool]:
    """The planes of a picture, and whether it is damaged; None where nothing of it is left."""
    read = _read(url, params)
    if read is None:
        return None, True
    picture, damaged = read
    header = picture.header
    same = (header.width, header.height) == (layout.width, layout.height)
    if not same or (layout.model == "gray" and not header.gray) or header.depth > layout.depth:
        found = "is not the picture that the film was planned with"
        raise ItemError(ErrorKind.CHANGED_DURING_READ, url, found, "run again when it is settled")
    return planes_of(picture.pixels, layout), damaged


def _nearest(urls: Iterable[str], url: str, layout: FrameLayout, params: UpscaleParams) -> Planes:
    """The planes of the first picture that holds something."""
    for one in urls:
        planes, _ = _planes(one, layout, params)
        if planes is not None:
            return planes
    raise ItemError(ErrorKind.DECODE_ERRORS, url, "not one picture can be decoded", "copy them again")


def _read(url: str, params: UpscaleParams) -> tuple[Picture, bool] | None:
    """A picture, and whether it is damaged; None where nothing of it is left and that is allowed."""
    if storage.is_remote(url):
        return _decoded(storage.read_bytes(url), url, params)
    with storage.open_read(url) as file:
        return _decoded(file, url, params)


def _decoded(source: Source, url: str, params: UpscaleParams) -> tuple[Picture, bool] | None:
    video = video_of(params)
    try:
        return decode(source, url, _limits(params)), False
    except ItemError as error:
        if error.kind not in _DAMAGE or not (video.salvage or video.allow_damaged):
            raise
    try:
        return decode(source, url, _limits(params, salvage=True)), True
    except ItemError as error:
        if error.kind not in _DAMAGE or not video.allow_damaged:
            raise
    return None


def _limits(params: UpscaleParams, *, salvage: bool = False) -> ReadLimits:
    return ReadLimits(max_pixels=params.max_pixels_in, pages=params.pages, salvage=salvage)
