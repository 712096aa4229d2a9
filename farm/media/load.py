"""Opening a picture with libvips: the loader of its format, and the class of what that complains of."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TypeVar

import pyvips

from farm.errors import ErrorKind, ItemError
from farm.media.complaints import COMPLAINING, ComplaintError, ToldError
from farm.media.gate import GATE
from farm.media.truncation import is_cut
from farm.media.vips import MESSAGE_BREAK, OpenSource, errors_left, translated

T = TypeVar("T")
_LOADERS: Mapping[str, str] = MappingProxyType(
    {
        "png": "pngload_source",
        "jpg": "jpegload_source",
        "webp": "webpload_source",
        "tiff": "tiffload_source",
        "gif": "gifload_source",
        "avif": "heifload_source",
        "heic": "heifload_source",
    }
)
"""format -> operation of libvips"""

_SPEAKERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "png": ("pngload", "vipspng", "libpng"),
        "jpg": ("jpegload", "VipsJpeg"),
        "webp": ("webpload", "webp"),
        "tiff": ("tiffload", "tiff2vips", "image: bad labq"),
        "gif": ("gifload", "gif"),
        "avif": ("heifload", "heif"),
        "heic": ("heifload", "heif"),
    }
)
"""format -> who speaks for it in libvips' messages"""
_UNSUPPORTED = (
    *("codec", "unsupported", "not support", "samples out of range", "bad labq", "not implemented", "compile time"),
    *("not a whole number of bytes", "not configured"),
)
"""what libvips says about files that are whole but of a kind it does not decode"""
_GIANT = "Maximum supported image dimension"
"""what libjpeg says about sides that it does not hold"""
_SPEECHLESS = "damaged png"
"""is said of what libpng refuses without a word"""
SALVAGE = "copy it again, or keep what it still holds with --salvage"


def load(source: OpenSource, file_format: str, url: str, fail_on: str) -> pyvips.Image:
    """A picture that is not decoded yet. Raises ItemError, of its decoder a ToldError."""
    operation = _LOADERS[file_format]
    if not pyvips.type_find("VipsOperation", operation):
        advice = "install pyvips[binary], whose libvips has it, or convert the picture to PNG first"
        raise ItemError(ErrorKind.UNSUPPORTED, url, f"this libvips was built without {file_format.upper()}", advice)
    with judged(source, file_format, url):
        return pyvips.Operation.call(operation, source.vips(), access="sequential", fail_on=fail_on)


def told(act: Callable[[], T]) -> T:
    """What `act` makes of a picture. Where its decoder complains it acts once more, alone, to go by its own words."""
    with GATE.together():
        try:
            return act()
        except ToldError as error:
            if error.found.startswith(_SPEECHLESS):
                raise
    with GATE.alone():
        errors_left()
        return act()


@contextmanager
def judged(source: OpenSource, file_format: str, url: str) -> Generator[None, None, None]:
    """Give an error of the decoder its class."""

    def classify(messages: str) -> ItemError:
        said = [line for line in messages.split(MESSAGE_BREAK) if line.startswith(_SPEAKERS[file_format])]
        if is_cut(file_format, source.file()):
            return ItemError(ErrorKind.TRUNCATED, url, "the file ends too early", SALVAGE)
        return _complaint(file_format, url, list(dict.fromkeys(said)))

    with translated(classify, source):
        yield


def _complaint(file_format: str, url: str, said: list[str]) -> ToldError:
    """What a decoder's words about a file that is whole mean."""
    text = "; ".join(said)[:200]
    if file_format == "heic" or any(words in text.lower() for words in _UNSUPPORTED):
        found = f"{file_format.upper()} of a kind this libvips does not decode ({text})"
        return ToldError(ErrorKind.UNSUPPORTED, url, found, "convert it to PNG or TIFF first")
    if _GIANT in text:
        return ToldError(ErrorKind.TOO_LARGE, url, f"its header says {text}", "cut the picture first")
    error = ComplaintError if file_format in COMPLAINING else ToldError
    return error(ErrorKind.CORRUPT, url, f"damaged {file_format} ({text})", "copy it again")
