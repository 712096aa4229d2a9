"""Writing: nothing appears under a name before it is complete."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from farm.errors import UsageError
from farm.storage import local, objects
from farm.storage.objects.stream import Stream
from farm.storage.urls import local_path
from farm.storage.writer import Published, Writer

Bytes = bytes | bytearray | memoryview
Sink = Writer | Stream
"""a file being written that nobody seeks in"""
_KEY = re.compile(r"[A-Za-z0-9/._:-]{0,200}")


def publish(url: str, data: Bytes, *, attempt: str, staging: str | None = None, key: str = "") -> Published:
    """Make `data` the content of `url`, durably and in one step; what was there before is replaced.

    Args:
        attempt: the run's unique id, part of every temporary name.
        staging: folder of the attempt: on a disk for the temporary file, which else lies beside the target; on a store
            for the records of uploads that may be open.
        key: what the object is called by whoever makes it; object stores keep it with the object, and the digest too.

    Raises DiskError, CredentialsError, UnreachableError or ItemError(forbidden, unsafe_path, storage_error).
    """
    view = memoryview(data).cast("B")
    digest = hashlib.sha256(view).hexdigest()
    if local_path(url) is None:
        content = data if isinstance(data, bytes) else None  # botocore takes bytes: others are copied a part at a time
        objects.publish(
            url,
            len(view),
            lambda at, n: content if content and n == len(view) else bytes(view[at : at + n]),
            label=objects.Label(key=_checked(key), sha256=digest),
            staging=staging,
        )
        return Published(url=url, sha256=digest, bytes=len(view))
    with open_write(url, attempt=attempt, staging=staging, key=key) as writer:
        writer.write(view)
        return writer.commit_digest(digest)


def open_write(url: str, *, attempt: str, staging: str | None = None, key: str = "") -> Writer:
    """A seekable file object that becomes `url` when it is committed; arguments and errors as publish().

    For a store it lies in the scratch folder until then.
    """
    path = local_path(url)
    if path is None:
        return objects.open_write(url, key=_checked(key), staging=staging)
    return local.open_write(path, attempt=attempt, staging=Path(staging) if staging else None)


def open_stream(url: str, *, attempt: str, staging: str | None = None, key: str = "") -> Sink:
    """open_write() for who never seeks: on a store nothing is kept, neither on disk nor, but for some parts, in memory.

    A slow store slows the writing.
    """
    if local_path(url) is None:
        return objects.open_stream(url, key=_checked(key), staging=staging)
    return open_write(url, attempt=attempt, staging=staging)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise UsageError(f"{key!r}: no key of an object; write up to 200 letters, digits and / . _ : -")
    return key
