"""What a store or FFmpeg raises while a film is read becomes an error of the row, or stays a lack of memory.

| what was raised | what it becomes |
|---|---|
| OSError or DiskError of the file the film is in | ItemError storage_error, which is tried again |
| any other error of ours | itself |
| FFmpegError | ItemError corrupt, truncated or unsupported |
| MemoryError, FFmpeg's own too | MemoryError |
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from av import error as av_error
from av.error import FFmpegError

from farm.errors import DiskError, ErrorKind, ItemError

_SAID_LENGTH = 160
"""characters of FFmpeg's words in a message"""


@contextmanager
def reading(url: str) -> Generator[None]:
    """Inside, what a store raises becomes an error of the row."""
    try:
        yield
    except FFmpegError:  # some are OSErrors as well, and say nothing of the store
        raise
    except (OSError, DiskError) as error:
        raise _storage_error(url, error) from error


def ffmpeg_fault(url: str, error: FFmpegError) -> ItemError | MemoryError:
    """What FFmpeg said of a film, as an error to raise."""
    if isinstance(error, MemoryError):
        return MemoryError(f"FFmpeg was refused memory for {url}")
    said = str(error)[:_SAID_LENGTH]
    if isinstance(error, av_error.EOFError):
        return ItemError(ErrorKind.TRUNCATED, url, f"it ends too early ({said})", "copy it again")
    if isinstance(error, (av_error.PatchWelcomeError, av_error.NotImplementedError, av_error.LookupError)):
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
