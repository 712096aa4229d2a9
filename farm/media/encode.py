"""From pixels to a picture file, with what travelled along.

numpy's buffer is wrapped, not copied, and everything behind it streams: converted, compressed and written line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypedDict, cast

import numpy as np
import pyvips

from farm.errors import ErrorKind, ItemError
from farm.media.exif import EMPTY_EXIF, exif_fields
from farm.media.formats import ALPHA_FORMATS, DEEP_FORMATS, check_fits
from farm.media.picture import EncodeSpec, ImageMeta, Pixels
from farm.media.stamp import stamped_xmp, upright_xmp
from farm.media.vips import translated


class SaveOptions(TypedDict, total=False):
    """Keyword arguments of libvips' savers, as far as this room sets them."""

    compression: int | str
    filter: str
    Q: int
    lossless: bool
    exact: bool
    effort: int
    predictor: str
    level: int
    bigtiff: bool
    bitdepth: int


_SAVERS: Mapping[str, str] = MappingProxyType(
    {"png": "pngsave", "jpg": "jpegsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}
)
_BIG_TIFF_BYTES = 3 << 30
"""a TIFF of more uncompressed bytes becomes a BigTIFF: offsets of 32 bits end at 4 GiB, and deflate may expand"""
_DEFAULT_RES = 72 / 25.4
"""pixels/mm that libvips itself writes when nothing is known"""
_FIELDS: Mapping[str, str] = MappingProxyType(
    {"icc": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data"}
)
"""libvips' names of what is kept and of the fields that hold it"""


def encode(pixels: Pixels, meta: ImageMeta, spec: EncodeSpec, url: str) -> bytes:
    """A whole picture as the bytes of a file.

    16 bits become 8, rounded, in formats that cannot hold more. An alpha channel that a format cannot hold is dropped
    when it is opaque everywhere and refused otherwise: no transparency is lost in silence.

    Args:
        pixels: as `Pixels` says.
        url: of the output; stands in messages only.

    Raises:
        ItemError: UNSUPPORTED when the format cannot hold the picture, ENCODE_FAILED when libvips refuses.
    """
    check_holds(pixels, spec, url)
    with translated(failed(url)):
        return save(wrap(pixels), meta, spec, None)


def check_holds(pixels: Pixels, spec: EncodeSpec, url: str) -> None:
    """Refuse pixels whose transparency the format would lose; ask it of the source before restoring.

    Raises:
        ItemError: UNSUPPORTED.
    """
    if (unfit := check_fits(spec.format, pixels.shape[1], pixels.shape[0])) is not None:
        raise cannot_hold(url, unfit)
    lost = pixels.shape[2] in (2, 4) and spec.format not in ALPHA_FORMATS
    if lost and int(pixels[:, :, -1].min()) != np.iinfo(pixels.dtype).max:
        raise cannot_hold(url, f"transparent pixels, which {spec.format} cannot hold")


def encode_piece(pixels: Pixels) -> bytes:
    """A band as a fast lossless intermediate that `farm.media.join` reads line by line."""
    data: bytes = pyvips.Operation.call("pngsave_buffer", wrap(pixels), compression=1, filter="up", keep="none")
    return data


def wrap(pixels: Pixels) -> pyvips.Image:
    """The pixels as a libvips image on the same memory."""
    solid = np.ascontiguousarray(pixels)
    height, width, bands = solid.shape
    deep = solid.dtype == np.uint16
    image = pyvips.Image.new_from_memory(solid.data, width, height, bands, "ushort" if deep else "uchar")
    gray, colour = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    return image.copy(interpretation=gray if bands < 3 else colour)


def save(image: pyvips.Image, meta: ImageMeta, spec: EncodeSpec, target: pyvips.Target | None) -> bytes:
    """Write an image, dressed with its metadata, to a target, or give the file's bytes when there is none.

    Raises:
        pyvips.Error: libvips refused.
    """
    dressed = _dress(_squeeze(image, spec.format), meta, spec)
    options = _options(dressed, spec)
    keep = "|".join(name for name in ("icc", "exif", "xmp", "iptc") if dressed.get_typeof(_FIELDS[name])) or "none"
    operation = _SAVERS[spec.format]
    if target is None:
        data: bytes = pyvips.Operation.call(f"{operation}_buffer", dressed, keep=keep, **options)
        return data
    pyvips.Operation.call(f"{operation}_target", dressed, target, keep=keep, **options)
    return b""


def _squeeze(image: pyvips.Image, file_format: str) -> pyvips.Image:
    """What the format can hold of samples and bands; transparency has been checked before."""
    if image.hasalpha() and file_format not in ALPHA_FORMATS:
        image = image.extract_band(0, n=image.bands - 1)
    if image.format == "ushort" and file_format not in DEEP_FORMATS:
        space = "b-w" if image.bands < 3 else "srgb"
        image = image.linear([1 / 257], [0.5], uchar=True).copy(interpretation=space)  # uchar truncates: this rounds
    return image


def _dress(image: pyvips.Image, meta: ImageMeta, spec: EncodeSpec) -> pyvips.Image:
    """The image with profile, EXIF, XMP, IPTC and resolution; orientation 1 and the new size in EXIF and XMP."""
    image = image.copy(xres=meta.xres or _DEFAULT_RES, yres=meta.yres or _DEFAULT_RES)
    xmp = upright_xmp(meta.xmp, image.width, image.height)
    if spec.stamp is not None:
        xmp = stamped_xmp(xmp, spec.stamp)
    fields = exif_fields(meta.exif) if meta.exif else {}
    if meta.xres is not None and spec.format in ("jpg", "webp", "avif") and not fields:
        fields = exif_fields(EMPTY_EXIF)  # where libvips keeps a resolution there
    blobs = {_FIELDS["icc"]: meta.icc, _FIELDS["xmp"]: xmp, _FIELDS["iptc"]: meta.iptc, **fields}
    for name, value in blobs.items():
        if value is not None:
            kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gstr_type
            image.set_type(kind, name, cast(str, value))  # its stubs know no bytes
    if meta.xres is not None:
        image.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _options(image: pyvips.Image, spec: EncodeSpec) -> SaveOptions:
    """How each format is written: fast at nearly the size of the slowest (figures in bench/results/png-encode.md)."""
    if spec.format == "png":
        return SaveOptions(compression=2, filter="avg")
    if spec.format == "tiff":
        raw = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
        return SaveOptions(compression="deflate", predictor="horizontal", level=2, bigtiff=raw > _BIG_TIFF_BYTES)
    if spec.format == "jpg":
        return SaveOptions(Q=spec.quality)
    if spec.format == "webp":
        if spec.quality == 100:  # then Q is effort: 64 ms instead of 1.1 s for 448x640, 2 % larger
            return SaveOptions(Q=20, lossless=True, exact=True, effort=1)
        return SaveOptions(Q=spec.quality, effort=2)  # half the time of the default 4
    deep = image.format == "ushort"
    return SaveOptions(
        compression="av1", Q=spec.quality, lossless=spec.quality == 100, bitdepth=12 if deep else 8, effort=0
    )


def failed(url: str) -> Callable[[str], ItemError]:
    """From libvips' message to the error of an output that could not be made."""
    return lambda message: ItemError(ErrorKind.ENCODE_FAILED, url, message[:300], "try another --format")


def cannot_hold(url: str, found: str) -> ItemError:
    """The error of a picture that its output format has no room for."""
    return ItemError(ErrorKind.UNSUPPORTED, url, found, "use --format png, tiff or another that can hold it")
