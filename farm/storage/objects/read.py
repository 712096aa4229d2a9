"""Reading objects: what they are, which there are, whole ones, ranges of one version."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import local
from farm.storage.faults import error_status
from farm.storage.objects.client import Response, Target, target

KEY_FIELD = "farm-key"
"""user metadata: what its publisher called an object"""
DIGEST_FIELD = "farm-sha256"
"""user metadata: the digest of an object that was published by one PUT"""
_READ_BUFFER_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20


def stat(url: str) -> FileStat:
    """Size and etag of an object. Raises ItemError(missing, forbidden, ...), CredentialsError, UnreachableError."""
    return _file_stat(url, head(target(url)), "ContentLength")


def head(at: Target) -> Response:
    """What HEAD says of an object. Errors as stat()."""
    with at.faults():
        failpoints.hit("storage.stat", at.url)
        try:
            return at.call("head_object", Key=at.key)
        except Exception as error:
            if error_status(error) in (400, 403):
                # An answer to HEAD has no body, so wrong keys, old tokens and closed doors look alike; ask with one.
                at.call("list_objects_v2", Prefix=at.key, MaxKeys=1)
            raise


def _file_stat(url: str, found: Mapping[str, Any], size: str) -> FileStat:
    mtime_ns = round(found["LastModified"].timestamp() * 1e9)
    return FileStat(url=url, bytes=int(found[size]), mtime_ns=mtime_ns, etag=str(found["ETag"]).strip('"'))


def list_files(root: str) -> Iterator[FileStat]:
    """Every object below `root`, sorted by key, straight from the store; markers of empty folders are left out."""
    for found in list_prefix(root.rstrip("/") + "/", level=False):
        if isinstance(found, FileStat):
            yield found


def list_prefix(prefix: str, *, level: bool) -> Iterator[FileStat | str]:
    """The objects whose URLs begin with `prefix`, exactly as it stands, sorted by key.

    `level`: only those without a slash behind it, and the folders there, as URLs with a slash at the end, between
    them. Markers of empty folders are left out.
    """
    at = target(prefix)
    base = f"{prefix.partition('://')[0].lower()}://{at.bucket}/"
    more: dict[str, str] = {"Delimiter": "/"} if level else {}
    while True:
        with at.faults():
            failpoints.hit("storage.list", prefix.rstrip("/"))
            page = at.call("list_objects_v2", Prefix=at.key, **more)
        keys: dict[str, FileStat | str] = {
            found["Key"]: _file_stat(base + found["Key"], found, "Size")
            for found in page.get("Contents", ())
            if not found["Key"].endswith("/")
        }
        folders = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
        keys.update((folder, base + folder) for folder in folders)
        yield from (keys[key] for key in (sorted(keys, key=str.encode) if folders else keys))
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]


def list_page(url: str, after: str) -> tuple[list[FileStat], bool]:
    """(objects, whether there are more) of one page of those whose URL begins with `url`, sorted by key.

    The page starts behind the key `after`, which need not be there. Markers of empty folders are left in.
    """
    at = target(url)
    base = f"{url.partition('://')[0].lower()}://{at.bucket}/"
    with at.faults():
        failpoints.hit("storage.list", url)
        page = at.call("list_objects_v2", Prefix=at.key, StartAfter=after)
    found = [_file_stat(base + one["Key"], one, "Size") for one in page.get("Contents", ())]
    return found, bool(page["IsTruncated"])


def read_bytes(url: str, max_bytes: int | None) -> bytes:
    """The whole object. Raises as stat(), and too_large above `max_bytes` before its body is read."""
    at = target(url)
    with at.faults():
        failpoints.hit("storage.read", url)
        return _Download(at, max_bytes=max_bytes).result()


def read_small(url: str, max_bytes: int) -> tuple[FileStat, bytes | None]:
    """What the object is, and all of it if it has at most `max_bytes`: one request, so both are of one version."""
    at = target(url)
    download = _Download(at, max_bytes=max_bytes)
    with at.faults():
        failpoints.hit("storage.read", url)
        try:
            data = download.result()
        except ItemError as error:
            if error.kind is not ErrorKind.TOO_LARGE or download.stat is None:
                raise
            data = None
    if download.stat is None:
        raise ValueError(f"{url}: nothing was answered")
    return download.stat, data


def open_read(url: str, buffer_bytes: int | None = None) -> BinaryIO:
    """A buffered, seekable file of ranged reads, all of one version of the object.

    Its reads raise ItemError; changed_during_read where the object was replaced meanwhile.
    """
    return io.BufferedReader(_ObjectReader(stat(url)), buffer_bytes or _READ_BUFFER_BYTES)


class _Download:
    """An object, or a range of it, taken up where it broke off and all of one version."""

    def __init__(
        self,
        at: Target,
        *,
        start: int = 0,
        end: int | None = None,
        etag: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """`end` is exclusive, None means the object's; `etag` is the version, None means that of the first answer."""
        self._at = at
        self._next = start
        self._end: int | None = end
        self._etag = etag
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self.stat: FileStat | None = None
        """of the object, once the store has answered for all of it"""

    def result(self) -> bytes:
        """All of it. Raises what botocore raises, and too_large before a body is read."""
        self._at.store.submit(self._receive, nbytes=None).result()
        return b"".join(self._chunks)

    async def _receive(self, client: Any, _failures: int) -> None:
        if self._next == self._end:
            return  # the connection broke after the last byte
        params = {"Bucket": self._at.bucket, "Key": self._at.key}
        if self._next or self._end is not None:
            params["Range"] = f"bytes={self._next}-{self._end - 1 if self._end is not None else ''}"
        if self._etag is not None:
            params["IfMatch"] = self._etag
        response = await client.get_object(**params)
        async with response["Body"] as body:
            self._etag = response["ETag"]
            if "Range" not in params:
                self.stat = _file_stat(self._at.url, response, "ContentLength")
            length = int(response["ContentLength"])
            end: int = self._next + length if self._end is None else self._end
            self._end = end
            if self._max_bytes is not None and end > self._max_bytes:
                raise local.too_large(self._at.url, end, self._max_bytes)
            if length != end - self._next:
                found = f"the store answers {params.get('Range', 'all')} with {length} bytes"
                raise ItemError(ErrorKind.STORAGE_ERROR, self._at.url, found, "copy it to another store")
            while chunk := await body.read(_CHUNK_BYTES):
                self._chunks.append(chunk)
                self._next += len(chunk)


class _ObjectReader(io.RawIOBase):
    def __init__(self, found: FileStat) -> None:
        self._stat = found
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._stat.bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read_range(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read_range(self._stat.bytes)

    def _read_range(self, length: int) -> bytes:
        end = min(self._at + length, self._stat.bytes)
        if end <= self._at:
            return b""
        at = target(self._stat.url)
        with at.faults():
            failpoints.hit("storage.read", self._stat.url)
            data = _Download(at, start=self._at, end=end, etag=f'"{self._stat.etag}"').result()
        self._at += len(data)
        return data
