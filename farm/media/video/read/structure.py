"""What the structure of a film's file decides, whatever a demuxer makes of it: is it read at all, and is it cut?"""

from __future__ import annotations

from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.media.video.faults import reading
from farm.media.video.read.containers import cut_sign, encryption, names_other_files

_REPAIR = "copy it again, or repair the index"


def judged(container: str, source: BinaryIO, url: str) -> str | None:
    """What shows that the end of the file is missing, as half a sentence; None: nothing does.

    Args:
        container: FFmpeg's names of the demuxer.

    Raises:
        ItemError: UNSAFE_CONTAINER for files whose index points to others, UNSUPPORTED for encrypted ones.
    """
    with reading(url):
        outside = names_other_files(container, source)
    if outside:
        raise unsafe(url, "its index points to other files")
    return _readable(container, source, url)


def without_film(container: str, source: BinaryIO, error: ItemError) -> ItemError:
    """Why FFmpeg found no film in a file: `error`, unless it is encrypted, or its end is missing."""
    try:
        sign = _readable(container, source, error.url)
    except ItemError as better:
        return better
    if sign is None:
        return error
    return ItemError(ErrorKind.TRUNCATED, error.url, f"no frame decodable; {sign}", _REPAIR)


def _readable(container: str, source: BinaryIO, url: str) -> str | None:
    with reading(url):
        locked = encryption(container, source)
        sign = cut_sign(container, source)
    if locked:
        advice = "decrypt it first with the key of whoever made it, such as with ffmpeg -decryption_key KEY -c copy"
        raise ItemError(ErrorKind.UNSUPPORTED, url, f"it is encrypted ({locked})", advice)
    return sign


def unsafe(url: str, found: str) -> ItemError:
    """The error of a file that points to others."""
    advice = "give the film itself; playlists, concat scripts and references to other files are not followed"
    return ItemError(ErrorKind.UNSAFE_CONTAINER, url, found, advice)
