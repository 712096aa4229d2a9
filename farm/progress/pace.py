"""How fast something grows that grows in leaps: a segment of a film may take a minute, and then all of it is there."""

from __future__ import annotations


class Pace:
    """An amount over time. Between two leaps it is taken to go on as before, for as long as the longest leap took."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._last_s = began_s
        self._longest_s = 0.0
        self.amount = 0.0

    def add(self, amount: float, now_s: float) -> None:
        """So much more is there."""
        self.amount += amount
        self._longest_s = max(self._longest_s, now_s - self._last_s)
        self._last_s = now_s

    def rate(self, now_s: float) -> float:
        """Amount a second; 0 while there is none."""
        taken_s = now_s - self._on_the_way_s(now_s) - self._began_s
        return self.amount / taken_s if taken_s > 0 else 0.0

    def left_s(self, ahead: float, now_s: float) -> float | None:
        """Seconds until `ahead` more is there; None while nothing tells."""
        rate = self.rate(now_s)
        return max(0.0, ahead / rate - self._on_the_way_s(now_s)) if rate else None

    def _on_the_way_s(self, now_s: float) -> float:
        """Seconds of work on what comes next; beyond the longest leap it only means that things are slower."""
        return min(now_s - self._last_s, self._longest_s)
