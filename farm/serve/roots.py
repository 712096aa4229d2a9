"""Which paths may be named: those that lie, with all links resolved, below a root that the service was given."""

from __future__ import annotations

import os
from collections.abc import Sequence

from farm import manifest, storage
from farm.errors import FarmError, UsageError
from farm.manifest.sources import is_utf8, printable
from farm.serve.faults import RefusedRequest
from farm.storage.urls import below


class Roots:
    """The roots of a service."""

    def __init__(self, named: Sequence[str]) -> None:
        """Raises UsageError for a root that is not there or cannot be one, ManifestError for a scheme not read."""
        self._roots = tuple(map(_root, named))

    def __str__(self) -> str:
        return ", ".join(map(printable, self._roots))

    def hold(self, place: str) -> bool:
        """Whether a canonical place lies below one of them, links resolved as they are now."""
        if storage.is_remote(place):
            return _is_plain(place) and any(below(place, root) for root in self._roots)
        return all(any(below(one, root) for root in self._roots) for one in (place, os.path.realpath(place)))

    def admit(self, field: str, named: str) -> str:
        """The canonical form of what a request has named. Raises RefusedRequest: 403 where it lies outside, 422 where
        it is no absolute path or URL.

        What is refused is told by its name alone, so that nobody learns from here where links lead or what there is.
        """
        is_path = named.startswith("/")
        if not (is_path or "://" in named) or "\0" in named or not is_utf8(named):
            raise RefusedRequest(422, f"{field}: {printable(named)} is neither an absolute path nor a URL; write one")
        outside = RefusedRequest(
            403, f"{field}: {printable(named)} lies outside of what this service may use; see its --allow-root"
        )
        if ".." in named.split("/"):
            raise outside
        try:
            place = manifest.canonical(named)
        except FarmError as error:  # of a scheme that is not read, another machine's file
            raise outside from error
        if not self.hold(place):
            raise outside
        return place


def _root(named: str) -> str:
    place = manifest.canonical(named)
    if storage.is_remote(place):
        storage.split_key(place)
        if not _is_plain(place):
            raise UsageError(f"--allow-root: {printable(named)} has empty names or dots in its path; write it plainly")
        return place
    if not os.path.isdir(place):
        raise UsageError(f"--allow-root: {printable(named)} is no folder; make it first, or correct it")
    return place


def _is_plain(url: str) -> bool:
    """Whether no segment of a store's URL means another place to whoever tidies paths up."""
    return not {"", ".", ".."} & set(url.partition("://")[2].split("/"))
