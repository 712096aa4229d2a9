"""An engine without Ray: the real schedule, and work that a test says, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from farm import clock
from farm.records import Done, Failed, Outcome, Part
from farm.schedule import Finished, Schedule
from farm.slots import EngineConfig
from farm.turn import Wait

Work = Callable[[Part], Done | Failed]


class _Session:
    """As farm.session.Session, as far as a run sees it."""

    def __init__(self) -> None:
        self.on_connected: Callable[[], None] = lambda: None
        self.on_terminated: Callable[[], None] = lambda: None
        self.dashboard = ""

    def abandon(self) -> None:
        """There is nothing to end."""


class HereEngine:
    """As farm.engine.Engine, one unit at a time. `work` raises KeyboardInterrupt to end the run as a kill would."""

    work: Work

    def __init__(self, config: EngineConfig, slots: list[Any], schedule: Schedule) -> None:
        self._config = config
        self._schedule = schedule
        self._stopped = False
        self.session = _Session()
        self.on_turn: Callable[[], None] = lambda: None
        self.on_waiting: Callable[[Wait], None] = lambda wait: None

    def __enter__(self) -> HereEngine:
        self._schedule.expected_workers = 1
        self._schedule.add_worker("here")
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing was started."""

    def stop(self) -> None:
        self._stopped = True

    def add(self, parts: Iterable[Part]) -> None:
        self._schedule.add(parts, first=True)

    def run(self, parts: Iterator[Part]) -> Iterator[Finished]:
        exhausted = False
        while not self._stopped and clock.now_s() < self._config.ends_s:
            self.on_turn()
            while not exhausted and self._schedule.wants_more:
                part = next(parts, None)
                if part is None:
                    exhausted = True
                else:
                    self._schedule.add([part])
            unit = self._schedule.next_unit("here")
            if unit is None:
                if exhausted and self._schedule.empty:
                    return
                continue
            if self._stopped:
                return
            outcomes: list[Outcome] = [type(self).work(part) for part in unit.parts]
            yield from self._schedule.finish("here", unit.unit_id, outcomes)
