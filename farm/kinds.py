"""What a file is by its name, and what each kind can be written as: tables of extensions, formats and their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class MediaKind(str, Enum):
    """What a row's source is taken for; decided by its name, checked by its content."""

    IMAGE = "image"
    VIDEO = "video"
    """a film, an animated picture that is treated as one, or a numbered sequence of pictures"""
    PACK = "pack"
    """the list of a pack's sources (`farm.sample`), which the farm writes itself; no manifest of a user's names one"""


MEDIA = (MediaKind.IMAGE, MediaKind.VIDEO)
"""kinds that a manifest may name"""


FORMAT_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        **{"png": 10_000_000, "jpg": 65_500, "webp": 16_383, "tiff": 10_000_000, "avif": 16_384},
        **dict.fromkeys(("mp4", "mov", "mkv", "webm", "gif"), 65_535),
        "apng": 10_000_000,
    }
)
"""Largest side in pixels that each format holds as libvips 8.18 writes it; libjpeg-turbo stops 35 short of 65 535.
What a film's codec holds is less, see farm.media.video.write.codecs."""

EXTENSION_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        **{"png": "png", "webp": "webp", "tif": "tiff", "tiff": "tiff", "avif": "avif"},
        **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "jpg"),
    }
)
"""Format that a lower-case extension stands for, of those that can be written."""

CONTAINERS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("mp4", "m4v", "f4v", "3gp", "3gpp", "3g2"), "mp4"),
        **dict.fromkeys(("mov", "qt"), "mov"),
        "webm": "webm",
        **dict.fromkeys(("mkv", "mk3d", "avi", "divx", "mpg", "mpeg", "m1v", "m2v", "vob", "ts", "mts", "m2t"), "mkv"),
        **dict.fromkeys(("m2ts", "wmv", "asf", "flv", "ogv", "ogm", "rm", "rmvb", "mxf", "gxf", "nut", "y4m"), "mkv"),
        **dict.fromkeys(("dv", "ivf", "obu", "h264", "264", "hevc", "h265", "265"), "mkv"),
    }
)
"""Container that a film with a lower-case extension is written to when it is to be the same: its own where it can be
written, else Matroska, which holds everything"""

ANIMATION_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {"gif": "gif", "webp": "webp", "apng": "apng", "png": "apng"}
)
"""Animated picture format of a lower-case extension; whether a file of that name is animated, its content says"""

FILM_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        **{"mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "mkv", "webm": "webm"},
        **{"gif": "gif", "webp": "webp", "apng": "apng"},
    }
)
"""Container that a lower-case extension of an output stands for"""

_FRAME_NAME = re.compile(r"frame\d{8,}\.[a-z]+")
_NUMBERED = re.compile(r"%(?:0\d+)?d(?![A-Za-z0-9])")
PICTURE_EXTENSIONS = frozenset(EXTENSION_FORMATS) | frozenset(
    ("gif", "apng", "heic", "heif", "bmp", "jp2", "jxl", "ppm", "pgm", "pbm", "pnm")
)
"""Lower-case extensions that folders are searched for; what this build cannot read fails as `unsupported`."""


def is_sequence(url: str) -> bool:
    """Whether the last segment is a numbered sequence of pictures, such as frame%08d.png."""
    if "%" not in url:
        return False
    return extension_of(url) in PICTURE_EXTENSIONS and len(_NUMBERED.findall(url.rpartition("/")[2])) == 1


def kind_of(url: str) -> MediaKind:
    """What a source is taken for by its name."""
    return MediaKind.VIDEO if extension_of(url) in CONTAINERS or is_sequence(url) else MediaKind.IMAGE


def extension_of(url: str) -> str:
    """The lower-case extension of the last segment, without its dot; empty when there is none."""
    start = url.rfind("/") + 1
    dot = url.rfind(".", start)
    return url[dot + 1 :].lower() if dot > start else ""


def is_frame_name(name: str) -> bool:
    """Whether a file's name is one that the pictures of a film get, in any format: frame00000001.png."""
    return _FRAME_NAME.fullmatch(name) is not None
