"""Object stores through s3fs, one call of the S3 API at a time.

Publishing is a single PUT or a completed multipart upload, each part with its Content-MD5, so that a damaged transfer
is refused by the store. s3fs' own files are not used: they publish what was written before an exception.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from farm import failpoints
from farm.errors import ErrorKind, FarmError, ItemError, UsageError
from farm.records import FileStat
from farm.storage import faults, local
from farm.storage.schemes import SCHEMES
from farm.storage.urls import split_key
from farm.storage.writer import Writer

PART_BYTES = 16 << 20
"""size of one part of a multipart upload; objects of up to two parts are sent by one PUT"""
_MAX_PARTS = 10_000
_PARTS_IN_FLIGHT = 4
_DELETES_IN_FLIGHT = 16
_READ_BUFFER_BYTES = 4 << 20
_TRIES = 5
_BODY_TRIES = 3
_CONNECT_S = 10
_READ_S = 20
ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> those bytes of what is uploaded"""


def _filesystem(url: str) -> tuple[Any, str]:
    """The client for this URL, and what messages call its endpoint."""
    scheme = split_key(url)[0]
    endpoint = SCHEMES[scheme].endpoint()
    shown = urlsplit(endpoint).netloc if endpoint else SCHEMES[scheme].title
    if "@" in shown:
        raise UsageError(f"{scheme}://: the endpoint holds credentials; put them into the AWS environment")
    return _client(scheme, endpoint, os.getpid()), shown


@lru_cache(maxsize=8)
def _client(scheme: str, endpoint: str | None, _pid: int) -> Any:
    """One client for all threads of a process (s3fs by itself makes one a thread); never one from before a fork."""
    import s3fs  # pyright: ignore[reportMissingTypeStubs] # 0.5 s: local runs do not pay for it

    # Stores other than AWS refuse the newer checksums; the Content-MD5 of every write takes their place.
    checksums = "when_required" if endpoint else "when_supported"
    config: dict[str, object] = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"mode": "standard", "max_attempts": _TRIES},
        "request_checksum_calculation": checksums,
        "response_checksum_validation": checksums,
        "max_pool_connections": 32,
    }
    if SCHEMES[scheme].addressing != "auto":
        config["s3"] = {"addressing_style": SCHEMES[scheme].addressing}
    client = cast(Any, s3fs.S3FileSystem)(
        endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True, config_kwargs=config
    )
    client.retries = 1  # its own come on top of botocore's, without their growing pauses
    return client


@contextmanager
def _faults(url: str, shown: str, nbytes: int | None = None) -> Generator[None]:
    try:
        yield
    except FarmError:
        raise
    except Exception as error:
        raise faults.store_fault(url, error, endpoint=shown, nbytes=nbytes) from error


def stat(url: str) -> FileStat:
    """Size and etag of an object. Raises ItemError(missing, forbidden, ...), CredentialsError, UnreachableError."""
    (client, shown), (_, bucket, key) = _filesystem(url), split_key(url)
    with _faults(url, shown):
        failpoints.hit("storage.stat", url)
        try:
            found = client.call_s3("head_object", Bucket=bucket, Key=key)
        except PermissionError:
            # An answer to HEAD has no body, so a wrong key and a closed door look alike; ask again with one.
            client.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
            raise
    return _file_stat(url, found, "ContentLength")


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
    (client, shown), (scheme, bucket, key) = _filesystem(prefix), split_key(prefix)
    more: dict[str, str] = {"Delimiter": "/"} if level else {}
    while True:
        with _faults(prefix, shown):
            failpoints.hit("storage.list", prefix.rstrip("/"))
            page: dict[str, Any] = client.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, **more)
        keys: dict[str, FileStat | str] = {
            found["Key"]: _file_stat(f"{scheme}://{bucket}/{found['Key']}", found, "Size")
            for found in page.get("Contents", ())
            if not found["Key"].endswith("/")
        }
        folders = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
        keys.update((folder, f"{scheme}://{bucket}/{folder}") for folder in folders)
        yield from (keys[key] for key in (sorted(keys, key=str.encode) if folders else keys))
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]


def read_bytes(url: str, max_bytes: int | None) -> bytes:
    """The whole object. Raises as stat(), and too_large above `max_bytes` before its body is read."""
    (client, shown), (_, bucket, key) = _filesystem(url), split_key(url)
    with _faults(url, shown):
        failpoints.hit("storage.read", url)
        return _wait(client, _get(client, url, {"Bucket": bucket, "Key": key}, max_bytes))


async def _get(client: Any, url: str, params: Mapping[str, str], max_bytes: int | None = None) -> bytes:
    for attempt in range(_BODY_TRIES):
        response = await client._call_s3("get_object", **params)
        async with response["Body"] as body:
            if max_bytes is not None and response["ContentLength"] > max_bytes:
                raise local.too_large(url, response["ContentLength"], max_bytes)
            try:
                return await body.read()
            except Exception:  # the connection broke in the middle: begin again
                if attempt + 1 == _BODY_TRIES:
                    raise
    raise ItemError(ErrorKind.STORAGE_ERROR, url, "not read", "run the same command again")


def _submit(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # 20 ms that a run on local disks need not spend before it holds its lock

    return asyncio.run_coroutine_threadsafe(work, client.loop)


def _wait(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    return _submit(client, work).result()


def open_read(url: str, buffer_bytes: int | None = None) -> BinaryIO:
    """A buffered, seekable file of ranged reads, all of one version of the object.

    Its reads raise ItemError; changed_during_read where the object was replaced meanwhile.
    """
    found = stat(url)
    return io.BufferedReader(_ObjectReader(found), buffer_bytes or _READ_BUFFER_BYTES)


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
        url = self._stat.url
        (client, shown), (_, bucket, key) = _filesystem(url), split_key(url)
        params = {
            "Bucket": bucket,
            "Key": key,
            "Range": f"bytes={self._at}-{end - 1}",
            "IfMatch": f'"{self._stat.etag}"',
        }
        with _faults(url, shown):
            failpoints.hit("storage.read", url)
            data: bytes = _wait(client, _get(client, url, params))
        self._at += len(data)
        return data


def open_write(url: str) -> Writer:
    """A file without a name in the scratch folder (FARM_SCRATCH_DIR, else the system's), uploaded on commit."""
    split_key(url)
    folder = os.environ.get("FARM_SCRATCH_DIR") or tempfile.gettempdir()
    with faults.writing(folder, 0):
        failpoints.hit("storage.open_write", url)
        descriptor, name = tempfile.mkstemp(prefix="farm-", dir=folder)
        os.unlink(name)

    def deliver(file: io.FileIO, size: int) -> None:
        upload(url, size, lambda offset, length: os.pread(file.fileno(), length, offset))

    return Writer(url, io.FileIO(descriptor, "r+b"), deliver=deliver, drop=lambda: None)


def upload(url: str, size: int, read_at: ReadAt) -> None:
    """Make `size` bytes an object, complete and in one step, or raise and leave no trace."""
    (client, shown), (_, bucket, key) = _filesystem(url), split_key(url)
    with _faults(url, shown, size):
        failpoints.hit("storage.publish.before", url)
        if size <= 2 * PART_BYTES:
            body = read_at(0, size)
            client.call_s3("put_object", Bucket=bucket, Key=key, Body=body, ContentMD5=_md5(body))
        else:
            _upload_parts(client, {"Bucket": bucket, "Key": key}, size, read_at)
        failpoints.hit("storage.publish.after", url)


def _upload_parts(client: Any, target: dict[str, str], size: int, read_at: ReadAt) -> None:
    part_bytes = max(PART_BYTES, -(-size // _MAX_PARTS))
    whole = {**target, "UploadId": client.call_s3("create_multipart_upload", **target)["UploadId"]}
    pending: deque[Any] = deque()
    etags: list[str] = []
    try:
        for number, offset in enumerate(range(0, size, part_bytes), 1):
            failpoints.hit("storage.part", target["Key"])
            body = read_at(offset, min(part_bytes, size - offset))
            part = client._call_s3("upload_part", **whole, PartNumber=number, Body=body, ContentMD5=_md5(body))
            pending.append(_submit(client, part))
            if len(pending) == _PARTS_IN_FLIGHT:
                etags.append(pending.popleft().result()["ETag"])
        etags.extend(one.result()["ETag"] for one in pending)
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        client.call_s3("complete_multipart_upload", **whole, MultipartUpload={"Parts": parts})
    except BaseException:
        wait(pending)  # a part that ends after the abort would stay, unseen and paid for
        with suppress(Exception):  # what went wrong first says more than an abort that fails too
            client.call_s3("abort_multipart_upload", **whole)
        raise


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def delete(url: str) -> None:
    """Remove an object; one that is not there is as good."""
    (client, shown), (_, bucket, key) = _filesystem(url), split_key(url)
    with _faults(url, shown, 0):
        failpoints.hit("storage.delete", url)
        client.call_s3("delete_object", Bucket=bucket, Key=key)


def delete_tree(url: str) -> None:
    """Remove every object below `url`, several at a time."""
    # One by one: the bulk call wants a Content-MD5 on some stores, a newer checksum on others.
    client, shown = _filesystem(url)
    pending: deque[Any] = deque()
    with _faults(url, shown, 0):
        failpoints.hit("storage.delete", url)
        for found in list_files(url):
            _, bucket, key = split_key(found.url)
            pending.append(_submit(client, client._call_s3("delete_object", Bucket=bucket, Key=key)))
            if len(pending) == _DELETES_IN_FLIGHT:
                pending.popleft().result()
        for one in pending:
            one.result()
