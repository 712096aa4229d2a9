"""What a store can do, found out by trying it; nothing is taken for granted from its name."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from farm.storage.capability import Capabilities
from farm.storage.faults import error_status
from farm.storage.objects.client import Target, target
from farm.storage.urls import join

T = TypeVar("T")

_CONTENT = b"what can this store do?"
_MD5 = hashlib.md5(_CONTENT, usedforsecurity=False)
_FIELD, _VALUE = "farm-probe", "kept"
_REFUSED = frozenset({400, 412, 501})
"""the condition is not known, is not met, is not implemented"""


def probe(folder: str) -> Capabilities:
    """What the store of `folder` can do; tried once a bucket and process, with one small object below `folder`.

    Raises what a writer raises: CredentialsError, UnreachableError, DiskError, ItemError.
    """
    return _tried(folder, target(folder).store.capabilities, _try)


def has_md5_part_etags(folder: str) -> bool:
    """Whether the etag of a multipart upload is the MD5 of its parts' MD5s; tried and raises as probe()."""
    return _tried(folder, target(folder).store.md5_part_etags, _try_parts)


def _tried(folder: str, known: dict[str, T], find_out: Callable[[Target], T]) -> T:
    """What is known of the bucket of `folder`, found out with one small object below it where that is nothing yet."""
    bucket = target(folder).bucket
    if bucket not in known:
        with _object(folder) as one:
            known[bucket] = find_out(one)
    return known[bucket]


@contextmanager
def _object(folder: str) -> Generator[Target]:
    """The name of an object for trying things; it is gone afterwards."""
    one = target(join(folder, f"probe-{uuid.uuid4().hex}"))
    with one.faults(len(_CONTENT)):
        yield one
        one.call("delete_object", Key=one.key)


def _put_new(at: Target, body: bytes, fields: dict[str, str]) -> bool:
    """Whether this made the object; False where there is one already, or the store takes no conditions.

    Raises what botocore raises: use it inside faults().
    """
    try:
        at.call("put_object", Key=at.key, Body=body, Metadata=fields, IfNoneMatch="*")
    except Exception as error:
        if error_status(error) in _REFUSED:
            return False
        raise
    return True


def _try(one: Target) -> Capabilities:
    made = _put_new(one, _CONTENT, {_FIELD: _VALUE}) or _is_there(one)  # the answer to a first try may have been lost
    exclusive = made and not _put_new(one, _CONTENT, {})
    if not exclusive:
        one.call("put_object", Key=one.key, Body=_CONTENT, Metadata={_FIELD: _VALUE})
    found = one.call("head_object", Key=one.key)
    fields = {name.lower(): value for name, value in found.get("Metadata", {}).items()}
    return Capabilities(
        conditional_create=exclusive,
        metadata=fields.get(_FIELD) == _VALUE,
        md5_etags=str(found["ETag"]).strip('"') == _MD5.hexdigest(),
        virtual_host=one.store.virtual_host,
    )


def _is_there(one: Target) -> bool:
    try:
        one.call("head_object", Key=one.key)
    except Exception as error:
        if error_status(error) == 404:
            return False
        raise
    return True


def _try_parts(one: Target) -> bool:
    upload = {"Key": one.key, "UploadId": one.call("create_multipart_upload", Key=one.key)["UploadId"]}
    try:
        part = one.call("upload_part", PartNumber=1, Body=_CONTENT, **upload)
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        one.call("complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload)
    except BaseException:
        one.call("abort_multipart_upload", **upload)
        raise
    whole = hashlib.md5(_MD5.digest(), usedforsecurity=False).hexdigest()
    return str(one.call("head_object", Key=one.key)["ETag"]).strip('"') == f"{whole}-1"
