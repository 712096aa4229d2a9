"""What a decoded picture carries beside its pixels, read from libvips."""

from __future__ import annotations

import pyvips

from farm.media.picture import ImageHeader, ImageMeta
from farm.media.profile import profile_fault

_NO_RESOLUTION = (1.0, 72 / 25.4)
"""what libvips reports, in pixels/mm, when a file says nothing; 72 dpi and nothing mean the same"""


def read_int(image: pyvips.Image, name: str, default: int) -> int:
    """A whole number by its name in libvips, `default` where there is none."""
    value = image.get(name) if image.get_typeof(name) else default
    return value if isinstance(value, int) else default


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    value = image.get(name) if image.get_typeof(name) else None
    return value if isinstance(value, bytes) else None


def read_meta(image: pyvips.Image, header: ImageHeader, *, profile: bool) -> tuple[ImageMeta, tuple[str, ...]]:
    """What travels along, and what is wrong with it.

    Args:
        profile: there is a colour profile in the file, which the decoder drops without a word where it is broken.
    """
    icc = _blob(image, "icc-profile-data")
    faults: tuple[str, ...] = ()
    if header.converted:
        icc = None  # the pixels are sRGB now
    elif icc is not None and (fault := profile_fault(icc, header.gray)):
        icc, faults = None, (f"colour profile dropped: {fault}",)
    elif icc is None and profile:
        faults = ("colour profile dropped: one that libpng does not accept",)
    known = all(abs(image.xres - nothing) > 1e-3 for nothing in _NO_RESOLUTION)
    return ImageMeta(
        icc=icc,
        exif=_blob(image, "exif-data"),
        xmp=_blob(image, "xmp-data"),
        iptc=_blob(image, "iptc-data"),
        xres=image.xres if known else None,
        yres=image.yres if known else None,
    ), faults
