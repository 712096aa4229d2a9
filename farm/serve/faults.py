"""Errors as answers: one shape, and one table of what is which status."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import (
    BusyError,
    ConfigurationError,
    CredentialsError,
    DiskError,
    FarmError,
    ItemError,
    LostLockError,
    ManifestError,
    ModelError,
    UnreachableError,
    UsageError,
)
from farm.manifest.sources import printable

STATUSES: Mapping[type[FarmError], int] = {
    UsageError: 422,
    ManifestError: 422,
    ModelError: 422,
    ItemError: 422,
    BusyError: 409,
    LostLockError: 409,
    DiskError: 500,
    ConfigurationError: 500,
    FarmError: 500,
    CredentialsError: 502,
    UnreachableError: 503,
}
"""by class; of others the nearest above them counts"""
_NAMES: Mapping[int, str] = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "TooSlow",
    413: "TooLarge",
    422: "InvalidRequest",
}
"""of errors of HTTP's own"""
SAID = (400, *_NAMES, *sorted({*STATUSES.values()} - {422}))
"""every status of an error that is answered"""


class RefusedRequest(Exception):
    """A request that is answered by an error of HTTP's own. The message is one sentence without secrets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: FarmError) -> int:
    """What an error of the farm is answered with."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def fault(name: str, message: str) -> dict[str, str]:
    """The body of an answer that is an error."""
    return {"class": name, "message": printable(message)}


def name_of(status: int) -> str:
    """What an error of HTTP's own is called."""
    return _NAMES.get(status, "InternalError" if status >= 500 else "BadRequest")
