"""Parts that wait for a worker, a queue for each model: in which order they go out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from farm.expected import model_key, work_px
from farm.records import Part, PartKind


class Waiting:
    """Parts in the order in which they came, until they are sorted."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Part]] = {}
        """by model key; a queue may be empty"""
        self.parts = 0
        self.px = 0
        """work of all of them"""
        self.is_sorted = True
        """whether no part has come since they were sorted, but what goes on with others"""

    def __iter__(self) -> Iterator[Part]:
        return chain.from_iterable(self.queues.values())

    def add(self, parts: Iterable[Part]) -> None:
        """Parts that nobody has begun."""
        self.put_back(parts)
        self.is_sorted = False

    def put_back(self, parts: Iterable[Part]) -> None:
        """Parts that are tried again: behind everything else, whatever their work."""
        for part in parts:
            self._counted(part).append(part)

    def put_first(self, parts: Iterable[Part]) -> None:
        """Parts that go before everything else, in their order."""
        for part in reversed(list(parts)):
            self._counted(part).appendleft(part)

    def _counted(self, part: Part) -> deque[Part]:
        self.parts += 1
        self.px += work_px(part)
        return self.queues.setdefault(model_key(part), deque())

    def leave(self, queue: deque[Part], px: int) -> None:
        """The first part of one of the queues, with so much work, waits no more."""
        queue.popleft()
        self.parts -= 1
        self.px -= px

    def sort(self) -> None:
        """By work, the largest first: once for all that are there, so that to find the next one takes no longer."""
        if not self.is_sorted:
            self.queues = {key: deque(sorted(queue, key=_rank)) for key, queue in self.queues.items()}
            self.is_sorted = True


def _rank(part: Part) -> tuple[bool, int, int]:
    """What goes out first: of what is begun already as it stands, of all else by its row's priority and its work."""
    if part.kind in (PartKind.PICTURE, PartKind.FILM):
        return True, -part.item.row.priority, -work_px(part)
    return False, 0, 0
