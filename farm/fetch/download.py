"""One file from http, https, an object store or a folder into a partial file, taken up where it ended."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from farm import storage
from farm.errors import DiskError, FarmError
from farm.storage import faults

TRIES = 4
"""failures in a row, without one new byte, after which we give up"""
_PAUSE_S = 0.5
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18
_HEADERS = {"User-Agent": "farm", "Accept-Encoding": "identity"}
_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class TransferError(FarmError):
    """The file could not be had; the message is a clause: `URL did this`."""


def download(url: str, part: Path, size: int, progress: Callable[[int, int], None] | None) -> None:
    """Fill `part` up to `size` bytes from `url`, keeping what is there, and fsync it.

    Raises TransferError when the source refuses, sends more than `size`, or fails TRIES times without a new byte;
    OSError when the disk does. `progress` is called with (bytes here, size).
    """
    failures = 0
    while (offset := _offset(part, size)) < size:
        try:
            _resume(url, part, offset, size, progress)
        except DiskError:
            raise
        except FarmError as error:
            raise TransferError(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            _refuse(error)
            failures = 1 if _offset(part, size) > offset else failures + 1
            if failures >= TRIES:
                raise TransferError(f"{shown(url)} failed {TRIES} times ({_reason(error)})") from error
            time.sleep(_PAUSE_S * 2 ** (failures - 1))
    if progress:
        progress(size, size)


def size_of(url: str) -> int:
    """Bytes of a file that nobody has said the size of. Raises TransferError, FarmError."""
    if urlsplit(url).scheme not in ("http", "https"):
        return storage.stat(url).bytes
    request = urllib.request.Request(url, headers=_HEADERS, method="HEAD")  # http or https, see above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return int(response.headers["Content-Length"])
    except (OSError, http.client.HTTPException, TypeError, ValueError) as error:
        raise TransferError(f"{shown(url)} does not say its size ({_reason(error)})") from error


def _offset(part: Path, size: int) -> int:
    try:
        here = part.stat().st_size
    except FileNotFoundError:
        return 0
    if here > size:  # no part of this file
        part.unlink()
        return 0
    return here


def _resume(url: str, part: Path, offset: int, size: int, progress: Callable[[int, int], None] | None) -> None:
    with _open(url, offset) as (source, here), _append_to(part, here) as write:
        while chunk := source.read(_CHUNK_BYTES):
            here += len(chunk)
            if here > size:
                raise TransferError(f"{shown(url)} sends more than {size} bytes")
            write(chunk)
            if progress:
                progress(here, size)
    if here < size:
        raise ConnectionError(f"the connection ended after {here} of {size} bytes")


@contextmanager
def _append_to(part: Path, offset: int) -> Generator[Callable[[bytes], None]]:
    """Writes to `part` from `offset` on, durably; the disk's errors are told from the network's by being DiskError."""
    with faults.writing(str(part), offset):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(chunk: bytes) -> None:
        with faults.writing(str(part), len(chunk)):
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]

    try:
        with faults.writing(str(part), offset):
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
        yield write
        with faults.writing(str(part), 0):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _open(url: str, offset: int) -> Generator[tuple[BinaryIO, int]]:
    """A stream, and where in the file it begins: at `offset`, or at 0 where the source cannot start elsewhere."""
    if urlsplit(url).scheme not in ("http", "https"):
        with storage.open_read(url) as file:
            file.seek(offset)
            yield file, offset
        return
    headers = dict(_HEADERS)
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)  # http or https, see above
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        partial = response.status == http.client.PARTIAL_CONTENT
        yield cast(BinaryIO, response), offset if partial else 0


def _refuse(error: Exception) -> None:
    """Raises TransferError where the source has refused for good."""
    if isinstance(error, urllib.error.HTTPError) and error.code not in _RETRIED_STATUS:
        raise TransferError(f"{shown(error.url or '')} answered {error.code} {error.reason}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def shown(url: str) -> str:
    """What messages say of a URL: its host and path, no user, no password, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url
