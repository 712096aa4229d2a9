"""All bytes of media, Parquet and weights pass through here: one place to fail and to test.

URLs are plain absolute paths, ``file://``, ``s3://`` and ``cos://``. Functions raise only farm.errors: the table of
what becomes what is in `farm.storage.faults`. An object is absent or complete and right: everything is written under
a temporary name, or as a multipart upload, and appears in one step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import local, objects
from farm.storage.capability import LOCAL, Capabilities
from farm.storage.many import ManyStats
from farm.storage.objects.owned import create, names, read_aged, replace
from farm.storage.objects.stream import Stream
from farm.storage.output import FARM_FOLDER, Cleared, OutputRoot, clear_staging
from farm.storage.publish import Sink, open_stream, open_write, publish
from farm.storage.urls import is_remote, join, local_path, name, parent, split_key
from farm.storage.writer import Published, Writer

__all__ = [
    "Capabilities",
    "Cleared",
    "ManyStats",
    "OutputRoot",
    "Published",
    "Sink",
    "Stream",
    "Writer",
    "capabilities",
    "clear_staging",
    "create",
    "delete",
    "delete_tree",
    "exists",
    "is_remote",
    "join",
    "list_files",
    "list_folders",
    "list_prefix",
    "local_path",
    "name",
    "names",
    "open_read",
    "open_stream",
    "open_write",
    "parent",
    "publish",
    "read_aged",
    "read_bytes",
    "read_small",
    "replace",
    "sha256_of",
    "split_key",
    "stat",
    "warm_up",
]

_CHUNK_BYTES = 4 << 20


def stat(url: str) -> FileStat:
    """Size and version without reading. Raises ItemError(missing, forbidden, ...)."""
    path = local_path(url)
    return local.stat(path) if path else objects.stat(url)


def capabilities(root: str) -> Capabilities:
    """What the disk or store of an output root can do; on a store tried once a bucket and process, below ROOT/.farm/.

    Raises CredentialsError, UnreachableError, DiskError or ItemError where the root cannot be written to.
    """
    return LOCAL if local_path(root) else objects.probe(join(root, FARM_FOLDER))


def warm_up(url: str) -> None:
    """Load what the first request to the store of `url` would wait for; sends nothing, and does nothing for a disk.

    Raises UsageError, CredentialsError or ItemError (unsupported).
    """
    if not local_path(url):
        objects.warm_up(url)


def exists(url: str) -> bool:
    """Whether there is a file or an object of that name. Raises ItemError for all but missing."""
    try:
        stat(url)
    except ItemError as error:
        if error.kind is ErrorKind.MISSING:
            return False
        raise
    return True


def list_files(root: str) -> Iterator[FileStat]:
    """Every file below `root`, names sorted within each folder. Raises ItemError(missing) for a folder that is not."""
    path = local_path(root)
    return local.list_files(path) if path else objects.list_files(root)


def list_prefix(prefix: str, *, level: bool = False) -> Iterator[FileStat | str]:
    """What begins with an object store's `prefix`, sorted by key; with `level` only up to the next slash, folders as
    URLs with a slash at the end. Raises as list_files()."""
    return objects.list_prefix(prefix, level=level)


def list_folders(url: str) -> Iterator[str]:
    """Names of the folders in a folder, or of the next level of a prefix, sorted. Raises ItemError(missing)."""
    path = local_path(url)
    if path:
        yield from local.list_folders(path)
        return
    for found in objects.list_prefix(f"{url.rstrip('/')}/", level=True):
        if isinstance(found, str):
            yield name(found)


def read_bytes(url: str, max_bytes: int | None = None) -> bytes:
    """The whole content. Raises ItemError: too_large above `max_bytes`, changed_during_read, missing, ..."""
    path = local_path(url)
    return local.read_bytes(path, max_bytes) if path else objects.read_bytes(url, max_bytes)


def read_small(url: str, max_bytes: int) -> tuple[FileStat, bytes | None]:
    """What a stored object is, and all of it if it has at most `max_bytes`: one request, so both are of one version.

    Raises as read_bytes(), but for too_large.
    """
    return objects.read_small(url, max_bytes)


def open_read(url: str, *, buffer_bytes: int | None = None) -> BinaryIO:
    """A seekable file: a plain buffered one locally, ranged reads of one version of the object on a store.

    `buffer_bytes`: the least that a read from a store asks for; some MB unless given.
    """
    path = local_path(url)
    return local.open_read(path) if path else objects.open_read(url, buffer_bytes)


def sha256_of(url: str) -> str:
    """The digest of the content, in bounded memory."""
    digest = hashlib.sha256()
    with open_read(url) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def delete(url: str) -> None:
    """Remove one file or object; one that is not there is as good."""
    path = local_path(url)
    return local.delete(path) if path else objects.delete(url)


def delete_tree(url: str) -> None:
    """Remove everything below `url`."""
    path = local_path(url)
    return local.delete_tree(path) if path else objects.delete_tree(url)
