"""Work that waits for stores, done by several threads ahead of who reads the results, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_AT_ONCE = 16
_AHEAD = 64
"""results that are made before they are asked for"""
T = TypeVar("T")
R = TypeVar("R")


def map_ahead(work: Callable[[T], R], values: Iterable[T]) -> Generator[R]:
    """``map(work, values)`` with up to `_AT_ONCE` calls running; what a call raises is raised in its turn."""
    ahead: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look")
    try:
        for value in values:
            ahead.append(pool.submit(work, value))
            if len(ahead) >= _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
