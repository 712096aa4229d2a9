"""Small objects that somebody owns for a while: made where there is none, replaced by their maker, dated by the store.

Every verb takes `limit_s`, after which the store counts as silent: a lock waits for no store for minutes.
"""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import Future
from typing import Any, TypeVar

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.storage.faults import error_status
from farm.storage.objects.client import Target, parse_time, target

T = TypeVar("T")

_TAKEN = 412


def create(url: str, data: bytes, *, limit_s: float) -> bool:
    """Make an object where there is none; False where there is one.

    That one may be ours: the answer to an earlier try may have been lost. Only for stores that create conditionally.
    Raises what a writer raises: CredentialsError, UnreachableError, DiskError, ItemError.
    """
    at = target(url)
    with at.faults(len(data)):
        try:
            _put(at, data, limit_s, IfNoneMatch="*")
        except Exception as error:
            if error_status(error) == _TAKEN:
                return False
            raise
    return True


def replace(url: str, data: bytes, *, limit_s: float) -> None:
    """Make `data` the content of an object, whatever it was. Raises as create()."""
    at = target(url)
    with at.faults(len(data)):
        _put(at, data, limit_s)


def read_aged(url: str, *, limit_s: float) -> tuple[bytes, float]:
    """The content of an object, and its age in seconds by the store's own clock, which counts whole seconds.

    Raises ItemError(missing, forbidden, ...), CredentialsError or UnreachableError.
    """
    at = target(url)

    async def work(client: Any, _failures: int) -> tuple[bytes, Any, str]:
        response = await client.get_object(Bucket=at.bucket, Key=at.key)
        async with response["Body"] as body:
            headers: dict[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
            return await body.read(), response["LastModified"], headers.get("date", "")

    with at.faults():
        failpoints.hit("storage.read", url)
        data, modified, date = _within(limit_s, at.store.submit(work, None))
    if not date:
        raise ItemError(ErrorKind.STORAGE_ERROR, url, "the store does not say what time it is", "use another store")
    return data, (parse_time(date) - modified).total_seconds()


def names(folder: str, *, limit_s: float) -> list[str]:
    """What the objects below a folder are called, relative to it, sorted. Raises as read_aged(), but for missing."""
    at = target(folder.rstrip("/") + "/")
    found: list[str] = []
    more: dict[str, str] = {}
    with at.faults():
        failpoints.hit("storage.list", folder)
        while True:
            page = _within(limit_s, at.begin("list_objects_v2", Prefix=at.key, **more))
            found += [str(one["Key"]).removeprefix(at.key) for one in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return found
            more["ContinuationToken"] = page["NextContinuationToken"]


def _put(at: Target, data: bytes, limit_s: float, **conditions: str) -> None:
    failpoints.hit("storage.publish.before", at.url)
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    _within(limit_s, at.begin("put_object", Key=at.key, Body=data, ContentMD5=md5, **conditions))
    failpoints.hit("storage.publish.after", at.url)


def _within(limit_s: float, future: Future[T]) -> T:
    """What a request gives; it is given up, and TimeoutError raised, when that takes longer."""
    try:
        return future.result(limit_s)
    finally:
        future.cancel()
