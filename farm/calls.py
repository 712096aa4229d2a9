"""What workers have in flight, and when they will have ended it. No Ray, no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, KeysView
from dataclasses import dataclass
from typing import Any

from farm.records import Unit


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A unit on its way through a worker."""

    unit: Unit
    worker: str
    dispatched_s: float
    """on the monotonic clock"""


class Calls:
    """By what Ray calls each, and by worker: nobody looks at those of a thousand workers for the sake of one."""

    def __init__(self) -> None:
        self._calls: dict[Any, Call] = {}
        self._of: dict[str, dict[Any, Call]] = {}
        """those of each worker that has some, the oldest first"""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls.values())

    def __contains__(self, call: Call) -> bool:
        return any(one is call for one in self._of.get(call.worker, {}).values())

    @property
    def references(self) -> list[Any]:
        """Of all of them, as Ray gave them."""
        return list(self._calls)

    def get(self, reference: Any) -> Call | None:
        return self._calls.get(reference)

    def add(self, reference: Any, call: Call) -> None:
        self._calls[reference] = call
        self._of.setdefault(call.worker, {})[reference] = call

    def remove(self, reference: Any) -> None:
        """It has come back."""
        call = self._calls.pop(reference)
        mine = self._of[call.worker]
        del mine[reference]
        if not mine:
            del self._of[call.worker]

    def bury(self, worker: str) -> None:
        """Those of a worker that is gone."""
        for reference in self._of.pop(worker, {}):
            del self._calls[reference]

    def clear(self) -> None:
        self._calls.clear()
        self._of.clear()

    def oldest(self, worker: str) -> Call | None:
        """Of those of a worker, the one that was dispatched first."""
        return next(iter(self._of.get(worker, {}).values()), None)


class Ends:
    """When workers will have ended what they have in flight, as far as can be expected.

    `ask` says it of one; who has nothing has ended long ago. It costs as much as there are parts in flight, so it is
    asked of a worker whose units change and, now and then, of all: what is expected of a unit changes, too.
    """

    def __init__(self, ask: Callable[[str], float]) -> None:
        self._ask = ask
        self._ends_s: dict[str, float] = {}
        self._first_s: float | None = None
        """the least of them, until one changes"""

    def look(self, workers: Collection[str]) -> None:
        """Ask of all that are there."""
        self._ends_s = {worker: self._ask(worker) for worker in workers}
        self._first_s = None

    def meet(self, workers: KeysView[str]) -> None:
        """Ask of those that have come, forget those that have gone."""
        if workers == self._ends_s.keys():
            return
        for worker in self._ends_s.keys() - workers:
            del self._ends_s[worker]
        for worker in workers - self._ends_s.keys():
            self._ends_s[worker] = self._ask(worker)
        self._first_s = None

    def changed(self, worker: str) -> None:
        """Its units are others."""
        self._ends_s[worker] = self._ask(worker)
        self._first_s = None

    def busy_s(self, worker: str, now_s: float) -> tuple[float, float]:
        """Seconds until a worker has ended what it has, and until the first of all has."""
        if self._first_s is None:
            self._first_s = min(self._ends_s.values())
        return max(0.0, self._ends_s[worker] - now_s), max(0.0, self._first_s - now_s)
