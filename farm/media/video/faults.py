"""What a store or FFmpeg raises while a film is read becomes an error of the row, or stays a lack of memory.

| what was raised | what it becomes |
|---|---|
| OSError or DiskError of the file the film is in | ItemError storage_error, which is tried again |
| any other error of ours | itself |
| FFmpegError | ItemError corrupt, truncated or unsupported |
| MemoryError, FFmpeg's own too where memory is short | MemoryError |

FFmpeg says of a damaged length, too, that it was refused memory: it was if what it asks for at most cannot be had.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager

from av import error as av_error
from av.error import FFmpegError

from farm.errors import DiskError, ErrorKind, ItemError

_SAID_LENGTH = 160
"""characters of FFmpeg's words in a message"""
_MOST_BYTES = (1 << 31) - 1
"""that FFmpeg asks for at a time; it refuses itself more"""


@contextmanager
def reading(url: str) -> Generator[None]:
    """Inside, what a store raises becomes an error of the row."""
    try:
        yield
    except FFmpegError:  # some are OSErrors as well, and say nothing of the store
        raise
    except (OSError, DiskError) as error:
        raise _storage_error(url, error) from error


def check_memory(error: Exception) -> None:
    """Raises MemoryError when it is that, and not the film, that made FFmpeg fail."""
    if isinstance(error, MemoryError) and not (isinstance(error, FFmpegError) and has_memory()):
        raise MemoryError("FFmpeg was refused memory") from error


def has_memory() -> bool:
    """Whether as much as FFmpeg ever asks for is to be had; none of it is touched."""
    try:
        mmap.mmap(-1, _MOST_BYTES).close()
    except (OSError, MemoryError):
        return False
    return True


def ffmpeg_fault(url: str, error: FFmpegError) -> ItemError:
    """What FFmpeg said of a film, as an error to raise. Raises as `check_memory`."""
    check_memory(error)
    said = str(error)[:_SAID_LENGTH]
    if isinstance(error, av_error.EOFError):
        return ItemError(ErrorKind.TRUNCATED, url, f"it ends too early ({said})", "copy it again")
    # ENOSYS is FFmpeg's word for what its decoders and demuxers do not read.
    if isinstance(error, (av_error.PatchWelcomeError, av_error.LookupError)) or error.errno == errno.ENOSYS:
        advice = "convert it to a common codec and container first"
        return ItemError(ErrorKind.UNSUPPORTED, url, f"FFmpeg does not read such films ({said})", advice)
    return ItemError(ErrorKind.CORRUPT, url, f"a damaged film ({said})", "copy it again")


def _storage_error(url: str, error: OSError | DiskError) -> ItemError:
    found = str(error) if isinstance(error, DiskError) else type(error).__name__
    if isinstance(error, OSError) and error.errno:
        found = os.strerror(error.errno)
    return ItemError(
        ErrorKind.STORAGE_ERROR, url, found, "check the disk or the mount, then run the same command again"
    )
