"""When a request is sent again, and how many may be under way meanwhile.

botocore's own modes are off. Measured against a server that fails on purpose (tests/farm/test_storage_retries.py
says what ours do): `standard` and `adaptive` send a 429 only once, neither covers a body that breaks off, both stop
trying for good when a process has seen a hundred failures, neither ends an upload that the store no longer reads, and
`adaptive` limits requests a second where a busy store limits requests at once. Below all this, aiohttp sends what a
broken connection cut off once more, at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, TypeVar

from farm.errors import FarmError
from farm.storage.faults import error_code, error_status

T = TypeVar("T")

TRIES = 8
"""of one request to a store that has answered before: half a minute of pauses on average"""
FIRST_TRIES = 4
"""of one request to a store that has never answered: its address may be wrong"""
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 20.0
_MOST_AT_ONCE = 32
_STATUS_BUSY = frozenset({429, 503})
_STATUS_FAILED = frozenset({408, 500, 502, 504})
_BUSY_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "TooManyRequests",
    }
)
_FAILED_CODES = frozenset({"ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout"})
# Of aiohttp, botocore and the standard library, by name: naming them loads nothing.
_BROKEN = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ResponseParserError",
        "TimeoutError",
    }
)


class Failure(Enum):
    """What kind of misfortune an error is."""

    BUSY = "busy"
    """the store has too much to do: fewer requests at once"""
    BROKEN = "broken"
    """the network or the store failed: the same request may succeed"""
    FINAL = "final"
    """the same request fails again"""


def failure_of(error: BaseException) -> Failure:
    """Whether it is worth another try. Missing, forbidden, out of quota and every other 4xx are not."""
    if isinstance(error, FarmError):
        return Failure.FINAL
    code, status = error_code(error), error_status(error)
    if code in _BUSY_CODES or status in _STATUS_BUSY:
        return Failure.BUSY
    if code in _FAILED_CODES or status in _STATUS_FAILED:
        return Failure.BROKEN
    if status is not None:
        return Failure.FINAL
    return Failure.BROKEN if _BROKEN & {one.__name__ for one in type(error).__mro__} else Failure.FINAL


class Gate:
    """How many requests of this process may be under way at one store.

    Half as many after a refusal for load, one more after each full round without one (as TCP does). Lives in the
    store's event loop, which is one thread.
    """

    def __init__(self, most: int = _MOST_AT_ONCE) -> None:
        self.answered = False
        """whether the store has ever answered"""
        self._most = most
        self._limit = float(most)
        self._busy = 0
        self._round = 0
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[int]:
        """Wait for a place and keep it inside; the value says in which round it was given."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._busy < self.limit)
            self._busy += 1
        try:
            yield self._round
        finally:
            self._busy -= 1
            async with self._changed:
                self._changed.notify_all()

    def refused(self, round_: int) -> None:
        """The store was busy. All that were under way together count as one refusal."""
        if round_ == self._round:
            self._round += 1
            self._limit = max(1.0, min(self._limit, self._busy) / 2)

    def passed(self) -> None:
        """A request went through."""
        self.answered = True
        self._limit = min(float(self._most), self._limit + 1 / self._limit)


async def persist(work: Callable[[int], Awaitable[T]], gate: Gate, limit_s: float | None) -> T:
    """What `work` gives, tried again while that is worth it; it is told how often it failed before.

    Raises the last error. A try that takes longer than `limit_s` has failed: an upload that the store does not read
    would wait for ever.
    """
    failures = 0
    while True:
        async with gate.entered() as round_:
            try:
                result = await asyncio.wait_for(work(failures), limit_s)
            except Exception as caught:
                error = caught
                gate.answered = gate.answered or error_status(error) is not None
                if failure_of(error) is Failure.BUSY:
                    gate.refused(round_)
            else:
                gate.passed()
                return result
        failures += 1
        if failure_of(error) is Failure.FINAL or failures >= tries(gate):
            raise error
        await asyncio.sleep(pause_s(failures, error))


def tries(gate: Gate) -> int:
    """How often a request may fail."""
    return TRIES if gate.answered else FIRST_TRIES


def pause_s(failures: int, error: BaseException) -> float:
    """Seconds before the next try: twice as many at most after each failure, evenly spread, or what the store asks."""
    pause = random.uniform(0, min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** (failures - 1)))
    return max(pause, min(_LONGEST_PAUSE_S, _asked_s(error)))


def _asked_s(error: BaseException) -> float:
    response: Any = getattr(error, "response", None) or {}
    asked = str(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))
    return float(asked) if asked.isdecimal() else 0.0
