"""Opening a picture with libvips: the loader of its format, and the class of what that complains of."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from types import MappingProxyType

import pyvips

from farm.errors import ErrorKind, ItemError
from farm.media.complaints import COMPLAINING, ComplaintError
from farm.media.truncation import is_cut
from farm.media.vips import MESSAGE_BREAK, OpenSource, translated

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
_RETRYING = Lock()
os.register_at_fork(before=_RETRYING.acquire, after_in_parent=_RETRYING.release, after_in_child=_RETRYING.release)
# or a process that is forked while a thread tries again would wait for that thread, which it has not got
_TRIES = 16
_PAUSE_S, _LONGEST_PAUSE = 0.002, 5
"""before another try, by how many there were"""
SALVAGE = "copy it again, or keep what it still holds with --salvage"
_SPEECHLESS = frozenset({"png"})
"""formats that are refused without a word when they are opened"""
_SAID = frozenset({ErrorKind.CORRUPT, ErrorKind.UNSUPPORTED, ErrorKind.TOO_LARGE})
"""classes that rest on what a decoder says"""


def load(source: OpenSource, file_format: str, url: str, fail_on: str) -> pyvips.Image:
    """A picture that is not decoded yet. Raises ItemError with the class of what the decoder complains of.

    Threads share libvips' messages and take each other's: whoever fails asks again until it has heard something twice,
    and goes by that. Strangers' words come once.
    """
    if not pyvips.type_find("VipsOperation", _LOADERS[file_format]):
        advice = "install pyvips[binary], whose libvips has it, or convert the picture to PNG first"
        raise ItemError(ErrorKind.UNSUPPORTED, url, f"this libvips was built without {file_format.upper()}", advice)
    if file_format in _SPEECHLESS:
        return _load(source, file_format, url, fail_on)
    with _RETRYING:
        pass  # whoever tries again is best left alone
    with suppress(ItemError):
        return _load(source, file_format, url, fail_on)
    with _RETRYING:  # one at a time, so that those who try again do not rob each other
        own: list[str] = []
        for turn in range(_TRIES):
            heard: list[str] = []
            try:
                return _load(source, file_format, url, fail_on, heard)
            except ItemError as error:
                if error.kind not in _SAID:
                    raise  # whatever is said
            again = [line for line in own if line in heard]
            if again:
                raise _complaint(file_format, url, again)
            own = heard or own
            time.sleep(_PAUSE_S * min(turn, _LONGEST_PAUSE))  # for those who try for the first time to be over
        return _load(source, file_format, url, fail_on)


def _load(source: OpenSource, file_format: str, url: str, fail_on: str, heard: list[str] | None = None) -> pyvips.Image:
    """`heard`: takes what was said when it fails."""
    with judged(source, file_format, url, heard):
        return pyvips.Operation.call(_LOADERS[file_format], source.vips(), access="sequential", fail_on=fail_on)


@contextmanager
def judged(
    source: OpenSource, file_format: str, url: str, heard: list[str] | None = None
) -> Generator[None, None, None]:
    """Give an error of the decoder its class. `heard`: takes what was said."""

    def classify(messages: str) -> ItemError:
        said = [line for line in messages.split(MESSAGE_BREAK) if line.startswith(_SPEAKERS[file_format])]
        said = list(dict.fromkeys(said))
        if heard is not None:
            heard.extend(said)
        if is_cut(file_format, source.file()):
            return ItemError(ErrorKind.TRUNCATED, url, "the file ends too early", SALVAGE)
        return _complaint(file_format, url, said)

    with translated(classify, source):
        yield


def _complaint(file_format: str, url: str, said: list[str]) -> ItemError:
    """What a decoder's words about a file that is whole mean."""
    text = "; ".join(said)[:200]
    if file_format == "heic" or any(words in text.lower() for words in _UNSUPPORTED):
        found = f"{file_format.upper()} of a kind this libvips does not decode ({text})"
        return ItemError(ErrorKind.UNSUPPORTED, url, found, "convert it to PNG or TIFF first")
    if _GIANT in text:
        return ItemError(ErrorKind.TOO_LARGE, url, f"its header says {text}", "cut the picture first")
    error = ComplaintError if file_format in COMPLAINING else ItemError
    return error(ErrorKind.CORRUPT, url, f"damaged {file_format} ({text})", "copy it again")
