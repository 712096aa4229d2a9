"""Parts that wait for a worker, a queue for each model: in which order they go out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from farm.expected import model_key, work_px
from farm.records import Part, PartKind

NOT_BEGUN = (PartKind.PICTURE, PartKind.FILM)
"""kinds of parts that others come from"""
_SHARE = 4
"""Parts are sorted when an even share of them is no more than so many of the largest. Not before: what is learned of
sizes that were guessed is learned in the order of the manifest, and so holds for what is left; of the largest guesses
most are too large."""


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
        self._largest_px: int | None = None
        """work of the largest that nobody has begun, or more; None: not looked for since parts came"""
        self._tried: set[str] = set()
        """ids of those that wait to be tried again"""

    def __iter__(self) -> Iterator[Part]:
        return chain.from_iterable(self.queues.values())

    def add(self, parts: Iterable[Part]) -> None:
        """Parts that nobody has begun."""
        for part in parts:
            self._counted(part).append(part)
        self.is_sorted, self._largest_px = False, None

    def put_back(self, parts: Iterable[Part]) -> None:
        """Parts that are tried again: behind everything else, whatever their work."""
        for part in parts:
            self._counted(part).append(part)
            self._tried.add(part.part_id)

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
        part = queue.popleft()
        if self._tried:
            self._tried.discard(part.part_id)
        self.parts -= 1
        self.px -= px

    def may_end_last(self, workers: int) -> bool:
        """Whether the largest would be a good part of what each of the workers has still to do."""
        if self._largest_px is None:
            self._largest_px = max((work_px(part) for part in self if part.kind in NOT_BEGUN), default=0)
        return self.px <= _SHARE * workers * self._largest_px

    def sort(self) -> None:
        """By work, the largest first: once for all that are there, so that to find the next one takes no longer."""
        self.queues = {key: deque(sorted(queue, key=self._rank)) for key, queue in self.queues.items()}
        self.is_sorted = True

    def _rank(self, part: Part) -> tuple[int, int, int]:
        """What is begun already as it stands, then by the row's priority and the work, then what is tried again."""
        if part.kind not in NOT_BEGUN:
            return 0, 0, 0
        if part.part_id in self._tried:
            return 2, 0, 0
        return 1, -part.item.row.priority, -work_px(part)
