"""What was used lately, kept up to a number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key; of more than `most` the one that was not asked for the longest goes. For one thread."""

    def __init__(self, most: int, drop: Callable[[Value], object] | None = None) -> None:
        """`drop` is called with what goes."""
        self._most = most
        self._drop = drop
        self._held: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not here."""
        if key not in self._held:
            self._held[key] = make()
            if len(self._held) > self._most:
                _, gone = self._held.popitem(last=False)
                if self._drop is not None:
                    self._drop(gone)
        self._held.move_to_end(key)
        return self._held[key]
