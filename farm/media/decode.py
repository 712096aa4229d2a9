"""From a picture file to upright pixels: refuse by rule, convert what has one right conversion, keep all else.

Nothing is decoded before the header has passed every rule. libvips reads sequentially, so that rows are streamed and a
crop of rows never holds the whole picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar, cast

import numpy as np
import pyvips
from numpy.typing import NDArray

from farm.errors import ErrorKind, ItemError
from farm.kinds import ANIMATION_EXTENSIONS
from farm.media.complaints import COMPLAINING, ComplaintError, late_complaint, tells_of_lost_tiles
from farm.media.formats import HEAD_BYTES, misnamed, sniff
from farm.media.gate import GATE
from farm.media.load import SALVAGE, judged, load, told
from farm.media.metadata import read_int, read_meta
from farm.media.picture import ImageHeader, Picture, Pixels, ReadLimits, Source
from farm.media.png_head import PngHead, read_png_head
from farm.media.tiff_head import read_tiff_size
from farm.media.truncation import ends_early, is_cut
from farm.media.vips import OpenSource, errors_left, warnings_heard

Sample = TypeVar("Sample", np.uint8, np.uint16)

_SPACES = frozenset({"b-w", "grey16", "srgb", "rgb", "rgb16", "cmyk", "labs"})
_CONVERTED: Mapping[str, str] = MappingProxyType({"cmyk": "cmyk", "labs": "lab"})
"""libvips' name of a colour space that becomes sRGB -> its name in a header"""
_ASKED, _LOOKS = 3, 3
_DAMAGE = frozenset({ErrorKind.CORRUPT, ErrorKind.TRUNCATED})
_STRIP_ROWS = 64
_GIF_SCREEN_END = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A picture whose header has passed the rules and whose pixels are not yet decoded."""

    image: pyvips.Image
    source: OpenSource
    header: ImageHeader
    url: str
    warnings: tuple[str, ...]
    profile: bool = False
    """whether the file holds a colour profile, which libpng drops without a word where it is broken"""
    alone: bool = False
    """whether the calling thread decodes by itself"""


def read_header(source: Source, url: str, limits: ReadLimits) -> ImageHeader:
    """Read and judge the header only; no pixel is decoded.

    Raises:
        ItemError: of the kind that says why the picture is refused.
    """
    return told(lambda: _open(source, url, limits).header)


def decode(source: Source, url: str, limits: ReadLimits, *, alone: bool = False) -> Picture:
    """Decode a whole picture, upright.

    Args:
        alone: by the calling thread, without libvips' own (save for WebP), for who forks later: see
            `farm.media.vips.let_threads_end`. Slower for large pictures.

    Raises:
        ItemError: EMPTY_INPUT, NOT_AN_IMAGE, TRUNCATED, CORRUPT, TOO_LARGE or UNSUPPORTED.
    """
    return _read(source, url, limits, None, alone=alone)


def decode_rows(source: Source, url: str, limits: ReadLimits, y0: int, y1: int) -> Picture:
    """Decode the upright rows ``y0 <= y < y1`` only; the header still describes the whole picture.

    Memory is that of the rows asked for, whatever the orientation, where the format can be read line by line (all but
    interlaced PNG, progressive JPEG, WebP and AVIF, which their decoders unfold whole).

    Raises:
        ItemError: as `decode`, as far as the file had to be read.
        ValueError: no such rows.
    """
    return _read(source, url, limits, (y0, y1))


def prove(source: Source, url: str, limits: ReadLimits) -> ImageHeader:
    """Decode every pixel and keep none: memory is that of some lines, save for what `decode_rows` says unfolds whole.

    Raises:
        ItemError: as `decode`.
    """
    return told(lambda: _proved(source, url, limits))


def _proved(source: Source, url: str, limits: ReadLimits) -> ImageHeader:
    opened = _open(source, url, limits, strict=True)
    with judged(opened.source, opened.header.format, url):
        opened.image.avg()
    return opened.header


def _read(
    source: Source, url: str, limits: ReadLimits, rows: tuple[int, int] | None, *, alone: bool = False
) -> Picture:
    """Decode what is whole; of a damaged file, where that is asked for, what the decoder still makes of it."""
    try:
        whole = replace(limits, salvage=False)
        return told(lambda: _whole(source, url, whole, rows, alone=alone))
    except ItemError as error:
        if not limits.salvage or error.kind not in _DAMAGE:
            raise
        state, found = "cut" if error.kind is ErrorKind.TRUNCATED else "damaged", error.found
    picture = told(lambda: _attempt(source, url, limits, rows, alone=alone, strict=False))
    kept = f"the file is {state} ({found}); what it still holds was kept"
    return replace(picture, warning="; ".join(filter(None, (picture.warning, kept))), lacking=True)


def _whole(source: Source, url: str, limits: ReadLimits, rows: tuple[int, int] | None, *, alone: bool) -> Picture:
    """Decode with every complaint of the decoder as an error, and once more if that complaint means no lost pixel.

    Raises ComplaintError at once where other threads decode too, whose complaint it may be. Alone it asks more than
    once before it believes that nothing is lost: who encodes beside it takes words away, too.
    """
    complaint = None
    for _ in range(_ASKED):
        try:
            return _attempt(source, url, limits, rows, alone=alone, strict=True)
        except ComplaintError as error:
            if error.final or not GATE.is_alone:
                raise
            complaint = error.found if error.found.startswith("damaged jpg") else None
    picture = _second_look(source, url, limits, rows)
    return replace(picture, warning="; ".join(filter(None, (picture.warning, complaint))) or None)


def _second_look(source: Source, url: str, limits: ReadLimits, rows: tuple[int, int] | None) -> Picture:
    """Decode and go on at complaints.

    Of lost tiles of a TIFF only a note is left, beside those of threads that encode: what is there each time is ours.
    """
    for _ in range(_LOOKS):
        errors_left()
        picture = _attempt(source, url, limits, rows, alone=True, strict=False)
        if picture.header.format != "tiff" or not tells_of_lost_tiles(errors_left()):
            return picture
    raise ItemError(ErrorKind.CORRUPT, url, "damaged tiff (some of its tiles cannot be decoded)", "copy it again")


def _attempt(
    source: Source, url: str, limits: ReadLimits, rows: tuple[int, int] | None, *, alone: bool, strict: bool
) -> Picture:
    """Decode once.

    Args:
        strict: complaints that libvips tells when it lets a picture go are errors, too.
    """
    with warnings_heard() as heard:
        opened = replace(_open(source, url, limits, strict=strict), alone=alone)
        picture = _picture(opened, limits, rows)
        file = opened.source
        del opened
    kind = picture.header.format
    found = late_complaint(kind, heard)
    if found and strict and kind == "jpg":
        if is_cut(kind, file.file()):
            raise ItemError(ErrorKind.TRUNCATED, url, "the file ends too early", SALVAGE)
        raise ComplaintError(ErrorKind.CORRUPT, url, found, "copy it again")
    if found:
        picture = replace(picture, warning="; ".join(filter(None, (picture.warning, found))))
    return picture


def _open(source: Source, url: str, limits: ReadLimits, *, strict: bool = False) -> _Opened:
    opened = OpenSource(source)
    head = opened.file().read(HEAD_BYTES)
    file_format = sniff(head, url)
    png = _judge_png(opened, url, limits) if file_format == "png" else None
    screen = _judge_screen(head, url, limits) if file_format == "gif" else None
    if file_format == "tiff" and (size := read_tiff_size(opened.file())):
        _judge_size(*size, url, limits)
    warnings: list[str] = []
    if warning := misnamed(url, file_format):
        warnings.append(warning)
    fail_on = "none" if limits.salvage else "warning" if strict and file_format in COMPLAINING else "error"
    image = load(opened, file_format, url, fail_on)
    header = _judge(image, file_format, url, limits, png.frames if png else 1)
    if header.pages > 1:
        warnings.append(f"first of {header.pages} pages or frames taken")
    if screen and screen != (image.width, image.height):
        found = f"its screen is {screen[0]}x{screen[1]}, its frames fill {image.width}x{image.height}"
        warnings.append(f"{found}, which was taken")
    profile = png is not None and png.profile
    return _Opened(image=image, source=opened, header=header, url=url, warnings=tuple(warnings), profile=profile)


def _judge_png(source: OpenSource, url: str, limits: ReadLimits) -> PngHead | None:
    """What stands before the pixels; refuses what libpng would take for damage (a giant) or finds only with them."""
    png = read_png_head(source.file())
    if png is None:
        return None
    if not png.sound:
        raise ItemError(ErrorKind.CORRUPT, url, "the checksum of the PNG header is wrong", "copy it again")
    _judge_size(png.width, png.height, url, limits)
    return png


def _judge_screen(head: bytes, url: str, limits: ReadLimits) -> tuple[int, int] | None:
    """Width and height of a GIF's screen, which libvips takes for those of its frames where they are unlikely."""
    if len(head) < _GIF_SCREEN_END:
        return None
    width, height = (int.from_bytes(head[at : at + 2], "little") for at in (6, 8))
    _judge_size(width, height, url, limits)
    return width, height


def _judge(image: pyvips.Image, file_format: str, url: str, limits: ReadLimits, pages: int) -> ImageHeader:
    """The header, or the reason why such a picture is refused."""
    width, height = image.width, image.height
    _judge_size(width, height, url, limits)
    pages = max(pages, read_int(image, "n-pages", 1))
    if pages > 1 and limits.pages == "refuse":
        every = ", or all of them with --pages animation" if file_format in ANIMATION_EXTENSIONS else ""
        what_to_do = f"take the first with --pages first{every}"
        raise ItemError(ErrorKind.UNSUPPORTED, url, f"{pages} pages or frames", what_to_do)
    space, bands = str(image.interpretation), _bands(image)
    if space not in _SPACES or not bands:
        found = f"{image.bands} bands of {space} (expected gray, RGB, CMYK or LAB, with or without alpha)"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "convert it to RGB first")
    if str(image.format) not in ("uchar", "ushort") and space != "labs":
        found = f"{image.format} samples (expected 8 or 16 bits, unsigned)"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "convert it to 16 bits first; it is not squashed silently")
    orientation = read_int(image, "orientation", 1)
    turned = orientation in (5, 6, 7, 8)
    deep = str(image.format) != "uchar"
    return ImageHeader(
        width=height if turned else width,
        height=width if turned else height,
        bands=bands,
        gray=bands < 3,
        has_alpha=bands in (2, 4),
        depth=16 if deep else 8,
        format=file_format,
        pages=pages,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        converted=_CONVERTED.get(space, ""),
    )


def _judge_size(width: int, height: int, url: str, limits: ReadLimits) -> None:
    if width * height > limits.max_pixels:
        found = f"{width}x{height} is {width * height} pixels (limit {limits.max_pixels})"
        raise ItemError(ErrorKind.TOO_LARGE, url, found, "raise --max-pixels or cut the picture first")


def _bands(image: pyvips.Image) -> int:
    """Bands after conversion to gray or RGB; 0 when there is no right conversion."""
    space = str(image.interpretation)
    if space in ("b-w", "grey16"):
        return image.bands if image.bands <= 2 else 0
    if space == "cmyk":
        return 3 if image.bands == 4 else 0
    return image.bands if image.bands in (3, 4) else 0


def _picture(opened: _Opened, limits: ReadLimits, rows: tuple[int, int] | None) -> Picture:
    y0, y1 = rows or (0, opened.header.height)
    if not 0 <= y0 < y1 <= opened.header.height:
        raise ValueError(f"rows {y0}..{y1} of a picture of {opened.header.height}")
    header, warnings = opened.header, list(opened.warnings)
    with judged(opened.source, header.format, opened.url):
        pixels = _upright(opened, y0, y1)
    if not limits.salvage and ends_early(header.format, opened.source.file()):
        raise ItemError(ErrorKind.TRUNCATED, opened.url, "the file ends too early, behind its pixels", SALVAGE)
    meta, faults = read_meta(opened.image, header, profile=opened.profile)
    warnings.extend(faults)
    return Picture(pixels=pixels, header=header, meta=meta, warning="; ".join(warnings) or None)


def _upright(opened: _Opened, y0: int, y1: int) -> Pixels:
    """Pixels of some upright rows: crop in the file's own layout while it streams, then turn."""
    image, header = opened.image, opened.header
    width, height, orientation = image.width, image.height, header.orientation
    near, count = (y0, y1 - y0)
    if orientation in (3, 4):
        near = height - y1
    elif orientation in (7, 8):
        near = width - y1
    turned = orientation >= 5
    if count != header.height:
        image = image.crop(near, 0, count, height) if turned else image.crop(0, near, width, count)
    image = _to_rgb(image, header)
    data = _samples_alone(image) if opened.alone else image.write_to_memory()
    shape = (image.height, image.width, image.bands)
    if header.depth == 16:
        return _turn(np.frombuffer(data, np.uint16).reshape(shape), orientation)
    return _turn(np.frombuffer(data, np.uint8).reshape(shape), orientation)


def _samples_alone(image: pyvips.Image) -> bytearray:
    """`write_to_memory`, some rows after the others by this thread."""
    region = pyvips.Region.new(image)
    line = image.width * image.bands * (1 if image.format == "uchar" else 2)
    samples = bytearray(line * image.height)
    for y in range(0, image.height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, image.height - y)
        samples[y * line : (y + rows) * line] = cast(bytes, region.fetch(0, y, image.width, rows))
    return samples


def _to_rgb(image: pyvips.Image, header: ImageHeader) -> pyvips.Image:
    """CMYK through its profile (libvips' own where none is embedded) and 16-bit LAB become sRGB; all else stays.

    With black point compensation, as viewers and printers do it: full ink is black, not the gray of ink on paper.
    """
    space = str(image.interpretation)
    if space == "cmyk":
        return image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=header.depth, black_point_compensation=True
        )
    if space == "labs":
        return image.colourspace("rgb16")
    return image


def _turn(pixels: NDArray[Sample], orientation: int) -> NDArray[Sample]:
    """Undo an EXIF orientation (TIFF 6.0, tag 274)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])
