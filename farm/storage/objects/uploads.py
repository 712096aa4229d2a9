"""Multipart uploads that nobody will finish: each is announced before it begins, so that ours are known later.

    ROOT/.farm/tmp/ATTEMPT/ID.json    {"key": ...}    one upload that may be open; gone when it is complete or aborted

Uploads of that key begun since the record was written are ours; all others, whoever began them, are left alone. Only
times of the store are compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from farm.errors import ErrorKind, ItemError
from farm.storage.faults import error_code
from farm.storage.objects.client import Target, target
from farm.storage.objects.read import list_files
from farm.storage.urls import join

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A record in the staging of an attempt that an upload may be open."""

    at: Target

    def withdraw(self) -> None:
        """Nothing is open any more. Raises what botocore raises."""
        self.at.call("delete_object", Key=self.at.key)


def announce(key: str, staging: str | None) -> Announcement | None:
    """Say that an upload to `key`, in the bucket of `staging`, is about to begin. Raises what botocore raises.

    None where there is no output root to say it in.
    """
    if staging is None:
        return None
    at = target(join(staging, f"{uuid.uuid4().hex}{_SUFFIX}"))
    at.call("put_object", Key=at.key, Body=json.dumps({"key": key}).encode())
    return Announcement(at=at)


def abort_announced(folder: str, keep: str) -> tuple[int, int]:
    """Abort what attempts other than `keep` announced below `folder` (ROOT/.farm/tmp) and left open.

    Returns how many attempts left something, and how many uploads were aborted. Raises the writer's errors.
    """
    attempts: set[str] = set()
    aborted = 0
    for found in list_files(folder):
        attempt = found.url.removeprefix(folder).strip("/").partition("/")[0]
        if attempt == keep:
            continue
        attempts.add(attempt)
        at = target(found.url)
        with at.faults(0):
            if found.url.endswith(_SUFFIX):
                aborted += _abort(at)
            at.call("delete_object", Key=at.key)
    return len(attempts), aborted


def _abort(record: Target) -> int:
    key, since = _read(record)
    aborted = 0
    for upload_id in list(_open_uploads(record, key, since)):
        try:
            record.call("abort_multipart_upload", Key=key, UploadId=upload_id)
            aborted += 1
        except Exception as error:
            if error_code(error) != "NoSuchUpload":  # an earlier try whose answer was lost
                raise
    return aborted


def _read(record: Target) -> tuple[str, datetime]:
    """The key, and when it was announced by the store's clock, in whole seconds."""

    async def work(client: Any, _failures: int) -> tuple[str, datetime]:
        response = await client.get_object(Bucket=record.bucket, Key=record.key)
        async with response["Body"] as body:
            return str(json.loads(await body.read())["key"]), response["LastModified"]

    try:
        return record.store.submit(work, nbytes=None).result()
    except (ValueError, KeyError, TypeError) as error:
        raise ItemError(
            ErrorKind.CORRUPT, record.url, "not a record of an upload", "delete it, and look for open uploads"
        ) from error


def _open_uploads(at: Target, key: str, since: datetime) -> Iterator[str]:
    more: dict[str, str] = {}
    while True:
        page = at.call("list_multipart_uploads", Prefix=key, **more)
        for upload in page.get("Uploads", ()):
            if upload["Key"] == key and upload["Initiated"] >= since:
                yield upload["UploadId"]
        if not page.get("IsTruncated"):
            return
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
