"""What each picture is: the columns by which `farm filter` chooses and duplicates are found. Makes no samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType

from farm.media.image import Picture, ReadLimits, Source, decode, jpeg_quality
from farm.sample import Made, PrepareParams, Scalar, SourceRow
from farm.tasks.operations.base import Content
from sr_kernel.measures import blockiness, levels, luma, sharpness
from sr_kernel.phash import phash

STATS_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "format": str,  # png, jpg, ... by content
        "width": int,
        "height": int,
        "channels": int,
        "depth": int,  # bits a sample, 8 or 16
        "has_alpha": bool,
        "pixels": int,  # width * height
        "bytes": int,
        "sha256": str,  # of the file
        "phash": str,  # 16 hexadecimal digits; null where the picture is flat
        "blur": float,  # variance of the Laplacian: low means blurred
        "jpeg_quality": int,  # null for all that is no JPEG
        "blockiness": float,  # 1: no grid of a JPEG shows; null where it cannot be told
        "mean": float,
        "std": float,
        "saturated": float,
    }
)
"""name -> type; what the figures mean is said in sr_kernel.measures and farm.media.jpeg_quality"""
_DECIMALS = 4
_CHUNK_BYTES = 1 << 20


class Stats:
    """One line of figures a picture; see Operation."""

    sample_columns: Mapping[str, type] = MappingProxyType({})
    source_columns = STATS_COLUMNS

    def __init__(self, params: PrepareParams) -> None:
        self._limits = ReadLimits(max_pixels=params.max_pixels_in)

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:  # noqa: ARG002 (the protocol's)
        """Decodes the picture once and measures it."""
        picture = decode(content.data, row.url, self._limits)
        return Made(record={**_of_file(content.data, picture), **_of_pixels(picture)}, rules=_rules(picture))


def _of_file(data: Source, picture: Picture) -> dict[str, Scalar]:
    header = picture.header
    file = BytesIO(data) if isinstance(data, bytes) else data
    size = file.seek(0, os.SEEK_END)
    quality = jpeg_quality(file) if header.format == "jpg" else None
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return {
        "format": header.format,
        "width": header.width,
        "height": header.height,
        "channels": header.bands,
        "depth": header.depth,
        "has_alpha": header.has_alpha,
        "pixels": header.area_px,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "jpeg_quality": quality,
    }


def _of_pixels(picture: Picture) -> dict[str, Scalar]:
    plane = luma(picture.pixels)
    brightness = levels(picture.pixels, plane)
    looks = phash(plane)
    return {
        "phash": None if looks is None else f"{looks:016x}",
        "blur": _rounded(sharpness(plane)),
        "blockiness": _rounded(blockiness(plane)),
        "mean": _rounded(brightness.mean),
        "std": _rounded(brightness.std),
        "saturated": _rounded(brightness.saturated),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _rules(picture: Picture) -> tuple[str, ...]:
    """What was done to the pixels before they were measured."""
    header = picture.header
    converted = (f"{header.converted}_converted",) if header.converted else ()
    return (*converted, *(("turned_upright",) if header.orientation != 1 else ()))
