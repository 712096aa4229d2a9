"""Multipart uploads that nobody will finish: each is announced before it begins, so that ours are known later.

    ROOT/.farm/tmp/ATTEMPT/ID.json    {"key": ..., "upload": ...}    one that may be open; gone when it is not any more

`upload` is its id, as soon as that is known. Without one its writer was killed at its very beginning, or never heard
the answer: then uploads of that key begun within UNNAMED_S of the record, by the store's clock, are ours. All others,
whoever began them, are left alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from farm.errors import CredentialsError, ErrorKind, ItemError
from farm.storage.faults import error_code
from farm.storage.objects.client import Target, target
from farm.storage.objects.read import list_files
from farm.storage.urls import join

_SUFFIX = ".json"
UNNAMED_S = 300
"""longer than all tries of a request together"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A record in the staging of an attempt that an upload may be open."""

    at: Target
    key: str

    def begun(self, upload_id: str) -> None:
        """Say which upload it is. Raises what botocore raises."""
        self._say({"key": self.key, "upload": upload_id})

    def _say(self, record: dict[str, str]) -> None:
        self.at.call("put_object", Key=self.at.key, Body=json.dumps(record).encode())

    def withdraw(self) -> None:
        """Nothing is open any more. Raises what botocore raises."""
        self.at.call("delete_object", Key=self.at.key)


def announce(key: str, staging: str | None) -> Announcement | None:
    """Say that an upload to `key`, in the bucket of `staging`, is about to begin. Raises what botocore raises.

    None where there is no output root to say it in.
    """
    if staging is None:
        return None
    announced = Announcement(at=target(join(staging, f"{uuid.uuid4().hex}{_SUFFIX}")), key=key)
    announced.at.call("put_object", Key=announced.at.key, Body=json.dumps({"key": key}).encode())
    return announced


def abort_announced(folder: str, is_dead: Callable[[str], bool]) -> tuple[int, int, list[str]]:
    """Abort what dead attempts announced below `folder` (ROOT/.farm/tmp) and left open.

    Returns how many attempts left something, how many uploads were aborted, and why others could not be: their records
    stay. Raises UnreachableError and DiskError.
    """
    attempts: set[str] = set()
    aborted, stuck = 0, list[str]()
    for found in list_files(folder):
        attempt = found.url.removeprefix(folder).strip("/").partition("/")[0]
        if not is_dead(attempt):
            continue
        attempts.add(attempt)
        at = target(found.url)
        try:
            with at.faults(0):
                if found.url.endswith(_SUFFIX):
                    aborted += _abort(at)
                at.call("delete_object", Key=at.key)
        except (ItemError, CredentialsError) as error:  # one that stays must not keep everybody from working here
            stuck.append(str(error))
    return len(attempts), aborted, stuck


def _abort(record: Target) -> int:
    said, since = _read(record)
    key, named = str(said["key"]), said.get("upload")
    aborted = 0
    for upload_id in [str(named)] if named else list(_open_uploads(record, key, since)):
        try:
            record.call("abort_multipart_upload", Key=key, UploadId=upload_id)
            aborted += 1
        except Exception as error:
            if error_code(error) != "NoSuchUpload":  # it is complete, or an earlier try's answer was lost
                raise
    return aborted


def _read(record: Target) -> tuple[dict[str, object], datetime]:
    """What a record says, and when it was written by the store's clock, in whole seconds."""

    async def work(client: Any, _failures: int) -> tuple[object, datetime]:
        response = await client.get_object(Bucket=record.bucket, Key=record.key)
        async with response["Body"] as body:
            return json.loads(await body.read()), response["LastModified"]

    found = "not a record of an upload"
    try:
        said, written = record.store.submit(work, nbytes=None).result()
    except ValueError as error:
        raise ItemError(ErrorKind.CORRUPT, record.url, found, "delete it, and look for open uploads") from error
    if not isinstance(said, dict) or "key" not in said:
        raise ItemError(ErrorKind.CORRUPT, record.url, found, "delete it, and look for open uploads")
    return cast("dict[str, object]", said), written


def _open_uploads(at: Target, key: str, since: datetime) -> Iterator[str]:
    more: dict[str, str] = {}
    while True:
        page = at.call("list_multipart_uploads", Prefix=key, **more)
        for upload in page.get("Uploads", ()):
            begun = upload["Initiated"] - since
            if upload["Key"] == key and 0 <= begun.total_seconds() <= UNNAMED_S:
                yield upload["UploadId"]
        if not page.get("IsTruncated"):
            return
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
