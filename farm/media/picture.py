"""The values of this room: a picture in memory, what its file says about it, and what to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""HWC, C in 1..4 (gray, gray + alpha, RGB, RGB + alpha), straight alpha, C-contiguous"""

Source = bytes | BinaryIO
"""a whole file, or a seekable file object opened for reading"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """What is refused while reading."""

    max_pixels: int = 512_000_000
    """pictures with more pixels are refused from their header"""
    pages: str = "refuse"
    """refuse or first: what to do with several pages or frames"""
    salvage: bool = False
    """keep what a damaged or cut file still gives, with a warning; missing pixels are whatever the decoder leaves"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What is known before decoding; describes the upright picture that `decode` gives, not the file's own layout."""

    width: int
    height: int
    bands: int
    """1..4"""
    gray: bool
    has_alpha: bool
    depth: int
    """8 or 16 bits a sample"""
    format: str
    """png, jpg, webp, tiff, avif, gif or heic, by content"""
    pages: int
    orientation: int
    """1..8, the EXIF orientation of the file's own layout, which decoding undoes"""
    converted: str = ""
    """cmyk or lab where decoding makes sRGB of it; empty for what keeps its samples"""

    @property
    def area_px(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMeta:
    """What travels from a source to its output beside the pixels."""

    icc: bytes | None = None
    """a profile that fits the decoded pixels; None when there was none or colours were converted to sRGB"""
    exif: bytes | None = None
    """the source's block as it stands; orientation and size are put right when it is written"""
    xmp: bytes | None = None
    iptc: bytes | None = None
    xres: float | None = None
    """pixels/mm, as the source says; None when it does not say"""
    yres: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Decoded upright pixels and all that belongs to them."""

    pixels: Pixels
    header: ImageHeader
    meta: ImageMeta
    warning: str | None = None
    """what a person should know although the picture was read, in one sentence"""
    lacking: bool = False
    """read only because `ReadLimits.salvage` allows that pixels are lost"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSpec:
    """What file to make."""

    format: str
    """png, jpg, webp, tiff or avif"""
    quality: int = 95
    """1..100 for jpg, webp and avif; 100 is lossless for webp and for 8-bit avif"""
    stamp: Mapping[str, str] | None = None
    """written as XMP in the farm's namespace; keys are XML names; None writes none"""
