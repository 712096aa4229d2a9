"""Writing: nothing appears under a name before it is complete."""

from __future__ import annotations

import hashlib
from pathlib import Path

from farm.storage import local, objects
from farm.storage.urls import local_path
from farm.storage.writer import Published, Writer

Bytes = bytes | bytearray | memoryview


def publish(url: str, data: Bytes, *, attempt: str, staging: str | None = None) -> Published:
    """Make `data` the content of `url`, durably and in one step; what was there before is replaced.

    Args:
        attempt: the run's unique id, part of every temporary name.
        staging: local folder on the target's file system for the temporary file; None means beside the target.

    Raises DiskError, CredentialsError, UnreachableError or ItemError(forbidden, unsafe_path, storage_error).
    """
    view = memoryview(data).cast("B")
    digest = hashlib.sha256(view).hexdigest()
    if local_path(url) is None:
        content = data if isinstance(data, bytes) else None  # botocore takes bytes: others are copied a part at a time
        objects.upload(
            url, len(view), lambda at, n: content if content and n == len(view) else bytes(view[at : at + n])
        )
        return Published(url=url, sha256=digest, bytes=len(view))
    with open_write(url, attempt=attempt, staging=staging) as writer:
        writer.write(view)
        return writer.commit_digest(digest)


def open_write(url: str, *, attempt: str, staging: str | None = None) -> Writer:
    """A seekable file object that becomes `url` when it is committed; arguments and errors as publish()."""
    path = local_path(url)
    if path is None:
        return objects.open_write(url)
    return local.open_write(path, attempt=attempt, staging=Path(staging) if staging else None)
