"""What an OSError or a store's error becomes: one of our own, with the path, and without a credential.

| what happened | while reading | while writing |
|---|---|---|
| not there | ItemError missing | DiskError (folder), UnreachableError (bucket) |
| not allowed | ItemError forbidden | ItemError forbidden (disk), CredentialsError (store) |
| disk full, quota, I/O error | ItemError storage_error (one file) | DiskError |
| credentials missing or refused | CredentialsError | CredentialsError |
| store does not answer | UnreachableError | UnreachableError |
| anything else a store says | ItemError storage_error | ItemError storage_error |

Only our own words and the store's error code are put into a message: what the store sends may repeat the request.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from farm.errors import (
    FULL,
    CredentialsError,
    DiskError,
    ErrorKind,
    FarmError,
    ItemError,
    UnreachableError,
    UsageError,
    said_by,
)

_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_FORBIDDEN_CODES = frozenset({"403", "AccessDenied", "AllAccessDisabled", "AccountProblem"})
_MISSING_CODES = frozenset({"404", "NoSuchKey", "NoSuchBucket"})
_CHANGED_CODES = frozenset({"412", "PreconditionFailed"})
# Classes of botocore and the standard library, by name: naming them loads nothing.
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"})
_AWS_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_NO_ANSWER = frozenset(
    {"ConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "SSLError", "TimeoutError", "gaierror"}
)
_QUOTA_CODES = frozenset({"InsufficientCapacity", "QuotaExceeded", "StorageFull", "XMinioStorageFull"})
_PATH_STYLE_CODES = frozenset({"PathStyleDomainForbidden"})


@contextmanager
def reading(url: str) -> Generator[None]:
    """Inside, a local OSError becomes the reader's error of the table above."""
    try:
        yield
    except OSError as error:
        raise _read_fault(url, error) from error


@contextmanager
def writing(path: str, nbytes: int) -> Generator[None]:
    """Inside, a local OSError becomes the writer's error; `nbytes` is what was to be written."""
    try:
        yield
    except OSError as error:
        raise _write_fault(path, nbytes, error) from error


@contextmanager
def run_level(url: str) -> Generator[None]:
    """Inside, an ItemError becomes an error of the whole run: what the ledger and the lock need."""
    try:
        yield
    except ItemError as error:
        kind = CredentialsError if error.kind is ErrorKind.FORBIDDEN else DiskError
        if "://" in url and kind is DiskError:
            kind = UnreachableError
        raise kind(f"{url}: {error.found}; {error.advice}") from error


def _read_fault(url: str, error: OSError) -> ItemError:
    found = said_by(error)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ItemError(ErrorKind.MISSING, url, "no such file", "check the manifest's path")
    if isinstance(error, IsADirectoryError):
        return ItemError(ErrorKind.MISSING, url, "a folder, not a file", "name a file, or the folder as the manifest")
    if isinstance(error, PermissionError):
        return ItemError(ErrorKind.FORBIDDEN, url, "permission denied", "allow this user to read it")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return ItemError(ErrorKind.UNSAFE_PATH, url, found, "check the manifest's path")
    return ItemError(
        ErrorKind.STORAGE_ERROR, url, found, "check the disk or the mount, then run the same command again"
    )


def _write_fault(path: str, nbytes: int, error: OSError) -> FarmError:
    if isinstance(error, PermissionError):
        return ItemError(ErrorKind.FORBIDDEN, path, "permission denied", "allow this user to write there")
    if error.errno == errno.ENAMETOOLONG:
        return ItemError(ErrorKind.UNSAFE_PATH, path, "the name is too long for this disk", "shorten it with --name")
    full = error.errno in FULL
    advice = "free space" if full else "check the disk or the mount"
    room = f" at {nbytes} bytes, {_free(path)} free" if full else ""
    return DiskError(f"{path}: {said_by(error)}{room}; {advice}, then run the same command again")


def _free(path: str) -> str:
    folder = path
    while folder not in ("", "/") and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        return f"{shutil.disk_usage(folder or '.').free} bytes"
    except OSError:
        return "an unknown number of bytes"


def error_code(error: BaseException) -> str:
    """The store's error code (`NoSuchKey`, `403`, ...) of an exception of botocore; empty if it has none."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def error_status(error: BaseException) -> int | None:
    """The HTTP status that the store answered with; None for an exception that is no answer."""
    return _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")


def _answer(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return cast("dict[str, Any]", response) if isinstance(response, dict) else {}


def store_fault(url: str, error: BaseException, *, endpoint: str, nbytes: int | None = None) -> FarmError:
    """The error of the table above for what botocore raised; `nbytes` is given while writing."""
    code = error_code(error)
    names = {one.__name__ for one in type(error).__mro__}
    if "ProfileNotFound" in names:
        return CredentialsError(
            f"{url}: the profile that is asked for is in no file of the AWS tools; correct its name"
        )
    if names & _NO_CREDENTIALS:
        first = "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY" if url.startswith("cos:") else _AWS_KEYS
        return CredentialsError(f"{url}: no credentials were found; set {first}, or name a profile of the AWS tools")
    if code in _CREDENTIAL_CODES:
        return CredentialsError(f"{url}: the store refused our credentials ({code}); check keys, token and clock")
    if names & _NO_ANSWER:
        return UnreachableError(f"{url}: {endpoint} does not answer; check the endpoint and the network")
    if code in _PATH_STYLE_CODES:
        return UsageError(f'{url}: the store wants the bucket in the host\'s name; set addressing = "virtual"')
    if "ParamValidationError" in names:
        return ItemError(ErrorKind.UNSAFE_PATH, url, "not a valid bucket or key", "check the URL")
    if nbytes is not None:
        return _store_write_fault(url, error, code, nbytes)
    if code in _FORBIDDEN_CODES:
        return ItemError(
            ErrorKind.FORBIDDEN, url, f"the store denied access ({code})", "allow these credentials to read"
        )
    if code in _MISSING_CODES or isinstance(error, FileNotFoundError):
        what = "no such bucket" if code == "NoSuchBucket" else "no such object"
        return ItemError(ErrorKind.MISSING, url, what, "check the URL")
    if code in _CHANGED_CODES:
        return ItemError(ErrorKind.CHANGED_DURING_READ, url, "the object was replaced while it was read", "run again")
    return _unnamed(url, error, code)


def _store_write_fault(url: str, error: BaseException, code: str, nbytes: int) -> FarmError:
    if code in _QUOTA_CODES:
        return DiskError(f"{url}: the store has no room ({code}): {nbytes} bytes to write; free space, then run again")
    if code in _FORBIDDEN_CODES:
        return CredentialsError(f"{url}: these credentials may not write there ({code}); allow it or change --out")
    if code == "NoSuchBucket":
        return UnreachableError(f"{url}: no such bucket; make it, or change --out")
    return _unnamed(url, error, code)


def _unnamed(url: str, error: BaseException, code: str) -> ItemError:
    found = f"the store failed ({code or type(error).__name__})"
    return ItemError(ErrorKind.STORAGE_ERROR, url, found, "it was tried several times; run the same command again")
