"""Removing objects, one call an object.

The bulk call wants a Content-MD5 on some stores and a newer checksum on others.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from farm import failpoints
from farm.storage.objects.client import Response, target
from farm.storage.objects.read import list_files

_IN_FLIGHT = 16


def delete(url: str) -> None:
    """Remove an object; one that is not there is as good."""
    at = target(url)
    with at.faults(0):
        failpoints.hit("storage.delete", url)
        at.call("delete_object", Key=at.key)


def delete_tree(url: str) -> None:
    """Remove every object below `url`, several at a time."""
    at = target(url)
    pending: deque[Future[Response]] = deque()
    with at.faults(0):
        failpoints.hit("storage.delete", url)
        for found in list_files(url):
            pending.append(at.begin("delete_object", Key=target(found.url).key))
            if len(pending) == _IN_FLIGHT:
                pending.popleft().result()
        for one in pending:
            one.result()
