"""A training's place among the runs that share a cluster: it waits for its turn as they do, and says for what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from farm.session import Session
from farm.sharing import Places, Queue, Turn
from farm.turn import State, Wait

_FEWER = "lower --gpus or, on processors, --workers"
_SAY_S = 15.0
"""between two lines that say the same"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A worker is there."""

    rank: int
    node: str
    """Ray's id of it"""


class Place:
    """Of a training of so many workers that each need the same, on the cluster of a session. A context, after which
    others have its turn. With a Ray inside the command there is nobody to share with.

    `limit_s`: how long it waits for places while no other run is at work or before it. Raises UnreachableError.
    """

    def __init__(self, session: Session, run: str, priority: int, workers: int, resource: str, limit_s: float) -> None:
        self._session = session
        self._workers = workers
        self._nodes: dict[int, str] = {}
        """by rank"""
        self._queue = Queue(session.address, run, priority) if session.head else None
        self._places = Places(workers, {resource: 1.0})
        self._limit_s = limit_s

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._queue:
            self._queue.leave(is_lost=self._session.head is None or self._session.head.is_lost)

    def wait(self, said: Callable[[str], None], is_over: Callable[[], bool]) -> None:
        """Until it is our turn and each worker has a place, or all is over. Raises StalledError where the head is lost,
        UnreachableError where there is no place."""
        head = self._session.head
        if self._queue is None or head is None:
            return
        turn = Turn(self._queue, self._places, self._limit_s, least=0, advice=_FEWER)
        words, said_s = "", 0.0

        def on_wait(wait: Wait) -> None:
            nonlocal words, said_s
            if wait.text != words or time.monotonic() - said_s >= _SAY_S:
                words, said_s = wait.text, time.monotonic()
                said(words)

        turn.wait(head, is_over, on_wait)

    def join(self, joined: Joined) -> None:
        """Once all are there the next run may ask for places; who shares a node with them hears of it."""
        self._nodes[joined.rank] = joined.node
        if self._queue is None:
            return
        self._queue.workers = Counter(self._nodes.values())
        if len(self._nodes) == self._workers:
            self._queue.say(State.WORKING)
