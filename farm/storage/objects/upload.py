"""Publishing objects: a single PUT, or a multipart upload that is completed in one step.

Every body carries its Content-MD5, so that a transfer that was damaged is refused. What the store then holds is told
from the etag that it answers with: the MD5 of a PUT, the MD5 of the parts' MD5s of a multipart upload. Only where it
answers something else is another request sent, for the length and the etag.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.storage import faults
from farm.storage.faults import error_code
from farm.storage.objects.capability import has_md5_part_etags, probe
from farm.storage.objects.client import Response, Target, target
from farm.storage.objects.read import DIGEST_FIELD, KEY_FIELD
from farm.storage.objects.uploads import Announcement, announce
from farm.storage.urls import parent
from farm.storage.writer import Writer

PART_BYTES = 16 << 20
"""size of one part of a multipart upload; objects of up to two parts are sent by one PUT"""
MAX_PARTS = 10_000
_PARTS_IN_FLIGHT = 4
_ABORT_S = 30.0
"""that an upload which is given up waits for its parts in flight"""
ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> those bytes of what is uploaded"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What an object says of itself, as user metadata."""

    key: str = ""
    """what its publisher calls it: letters, digits, `/`, `-`; empty: nothing"""
    sha256: str = ""
    """of its content; empty where it is not known when the upload begins"""

    @property
    def metadata(self) -> dict[str, str]:
        """The fields that are set."""
        return {name: value for name, value in ((KEY_FIELD, self.key), (DIGEST_FIELD, self.sha256)) if value}


def open_write(url: str, *, key: str, staging: str | None) -> Writer:
    """A file without a name in the scratch folder (FARM_SCRATCH_DIR, else the system's), uploaded on commit."""
    with target(url).faults(0):
        failpoints.hit("storage.open_write", url)
    folder = os.environ.get("FARM_SCRATCH_DIR") or tempfile.gettempdir()
    with faults.writing(folder, 0):
        descriptor, name = tempfile.mkstemp(prefix="farm-", dir=folder)
        os.unlink(name)

    def deliver(file: io.FileIO, size: int, sha256: str) -> None:
        label = Label(key=key, sha256=sha256)
        publish(url, size, lambda at, length: os.pread(file.fileno(), length, at), label=label, staging=staging)

    return Writer(url, io.FileIO(descriptor, "r+b"), deliver=deliver, drop=lambda: None, place=folder)


def publish(url: str, size: int, read_at: ReadAt, *, label: Label, staging: str | None) -> None:
    """Make `size` bytes an object, complete and in one step, or raise and leave no trace."""
    at = target(url)
    with at.faults(size):
        failpoints.hit("storage.publish.before", url)
        if size <= 2 * PART_BYTES:
            put(at, read_at(0, size), label, staging)
        else:
            part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
            with Multipart(at, label, staging) as parts:
                for offset in range(0, size, part_bytes):
                    parts.send(read_at(offset, min(part_bytes, size - offset)))
                parts.complete()
        failpoints.hit("storage.publish.after", url)


def put(at: Target, body: bytes, label: Label, staging: str | None) -> None:
    """One object by one PUT. Raises what botocore raises: use it inside faults()."""
    md5 = _md5(body)
    response = at.call(
        "put_object",
        Key=at.key,
        Body=body,
        ContentMD5=base64.b64encode(md5).decode(),
        Metadata=label.metadata,
    )
    _check_stored(at, response, md5.hex(), len(body), staging)


class Multipart:
    """An upload in parts, some of them under way at the same time. Leaving the context without complete() aborts it."""

    def __init__(self, at: Target, label: Label, staging: str | None) -> None:
        self._at = at
        self._staging = staging
        self._announced: Announcement | None = announce(at.key, staging)
        created = at.call("create_multipart_upload", Key=at.key, Metadata=label.metadata)
        self._sure = not created["ResponseMetadata"]["RetryAttempts"]
        """whether there is no second upload, begun by a try whose answer was lost"""
        self._upload = {"Key": at.key, "UploadId": created["UploadId"]}
        if self._announced and self._sure:
            self._announced.begun(self._upload["UploadId"])
        self._pending: deque[Future[Response]] = deque()
        self._etags: list[str] = []
        self._md5s: list[bytes] = []
        self._size = 0
        self._open = True

    def __enter__(self) -> Multipart:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    @property
    def count(self) -> int:
        """Parts so far."""
        return len(self._md5s)

    def send(self, body: bytes) -> None:
        """Begin the next part; waits while enough are under way. Raises what botocore raises, of any part."""
        failpoints.hit("storage.part", self._at.url)
        if len(self._pending) == _PARTS_IN_FLIGHT:
            self._receive()
        md5 = _md5(body)
        self._md5s.append(md5)
        self._size += len(body)
        part = self._at.begin(
            "upload_part",
            PartNumber=len(self._md5s),
            Body=body,
            ContentMD5=base64.b64encode(md5).decode(),
            **self._upload,
        )
        self._pending.append(part)

    def _receive(self) -> None:
        self._etags.append(self._pending.popleft().result()["ETag"])

    def complete(self) -> None:
        """Make the parts one object. Raises what botocore raises."""
        while self._pending:
            self._receive()
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, 1)]
        whole = f"{_md5(b''.join(self._md5s)).hex()}-{len(parts)}"
        try:
            done = self._at.call("complete_multipart_upload", MultipartUpload={"Parts": parts}, **self._upload)
        except Exception as error:
            if error_code(error) != "NoSuchUpload":
                raise
            done = self._at.call("head_object", Key=self._at.key)  # was it an earlier try, whose answer was lost?
            if _etag(done) != whole:
                raise
        self._open = False
        _check_stored(self._at, done, whole, self._size, self._staging)
        if self._announced and self._sure:
            self._announced.withdraw()

    def abort(self) -> None:
        """Leave nothing of it, unless it is complete. What cannot be reached now stays announced, for `farm gc`."""
        if not self._open:
            return
        self._open = False
        late = wait(self._pending, _ABORT_S).not_done  # a part that ends after the abort stays, unseen and paid for
        for part in late:
            part.cancel()
        with suppress(Exception):  # what went wrong first says more than an abort that fails too
            self._at.call("abort_multipart_upload", **self._upload)
            if self._announced and self._sure and not late:
                self._announced.withdraw()


def _check_stored(at: Target, answer: Response, etag: str, size: int, staging: str | None) -> None:
    """Raises ItemError, and removes the object, where the store holds something else than was sent."""
    if _etag(answer) == etag:
        return
    found = at.call("head_object", Key=at.key)  # some answer the end of an upload without the etag that they give later
    length = int(found["ContentLength"])
    if length == size and (_etag(found) == etag or not _has_md5_etags(staging or parent(at.url), etag)):
        return
    at.call("delete_object", Key=at.key)
    what = f"{length} bytes with etag {_etag(found)}, not {size} with {etag}"
    raise ItemError(ErrorKind.STORAGE_ERROR, at.url, f"the store holds something else: {what}", "run again")


def _has_md5_etags(folder: str, etag: str) -> bool:
    """Whether the store's etags of this form are MD5s at all: those of encrypted objects are not."""
    return has_md5_part_etags(folder) if "-" in etag else probe(folder).md5_etags


def _etag(response: Response) -> str:
    return str(response.get("ETag", "")).strip('"')


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()
