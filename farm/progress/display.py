"""What is said of a run while it works: live lines on a terminal, now and then a plain line elsewhere, or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from farm.progress import view
from farm.progress.crew import Crew, Roster
from farm.progress.effort import NOBODY, Effort
from farm.progress.machine import MachineLines
from farm.progress.outlook import Outlook
from farm.progress.screen import Screen, printable
from farm.progress.work import Likeness, Workload, row_of
from farm.records import WorkItem

_PLAIN_EVERY_S = 15.0
_LIVE_EVERY_S = 0.2


class Progress:
    """Hears of rows, frames and work; writes to stderr, so that stdout stays clean. A context.

    `total`: rows that are to be done. `work`: what they are, which this counts down. `lines`: where programs are told,
    instead of people. `refused`: see Outlook.
    """

    def __init__(
        self,
        total: int,
        work: Workload,
        *,
        quiet: bool,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        lines: TextIO | None = None,
        refused: Mapping[str, int] | None = None,
    ) -> None:
        self._clock = clock
        self._work = work
        self._outlook = Outlook(total, work, clock(), refused)
        self._stream = stream or sys.stderr
        quiet = quiet or lines is not None
        self._machine = MachineLines(lines, clock()) if lines is not None else None
        self._screen = Screen(self._stream) if not quiet and self._stream.isatty() else None
        self._plain = not quiet and self._screen is None
        self._printed_s = clock()
        self._note = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen:
            self._screen.clear()

    # -- what happens ------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """What is going on, until something has been done: starting Ray, fetching weights."""
        self._going_on(text, "note")

    def wait(self, text: str, fields: Mapping[str, object]) -> None:
        """The run waits for workers; `fields`: what programs are told of it beside the words."""
        self._going_on(text, "waiting", **fields)

    def _going_on(self, text: str, event: str, **fields: object) -> None:
        self._note = text
        if self._machine:
            self._machine.going_on(event, self._clock(), text, **fields)
        self.refresh()

    def say(self, text: str) -> None:
        """A line that stays; `text` has no line breaks."""
        if self._screen:
            self._screen.say(printable(text))
        elif self._plain:
            self._stream.write(f"{printable(text)}\n")
            self._stream.flush()
        elif self._machine:
            self._machine.say("said", self._clock(), text=text)

    def start(self, run: str, out: str, flops: Mapping[str, float]) -> None:
        """Programs are told which run it is, and what its models cost."""
        if self._machine:
            self._machine.say("begin", self._clock(), run=run, out=out, flops=dict(flops))

    def expect(self, guesses: Mapping[Likeness, int], rows: int, unplanned: int, total: int) -> None:
        """`rows` more are planned, and so many are not yet; `total`: of all that are to be done."""
        self._work.expect(guesses, rows, unplanned)
        self._outlook.total = total
        if self._machine:
            self._machine.plan(self._clock(), guesses, rows=rows, unplanned=unplanned, total=total)

    def begin(self, roster: Roster | None = None) -> None:
        """Workers are there, and `roster` knows them: speed counts from here."""
        now_s = self._clock()
        self._outlook.begin(now_s, Crew(roster, now_s) if roster else None)
        self._note = ""
        if self._machine:
            self._machine.say("work", self._clock())

    def cut(self, item: WorkItem, px: int, share: float, name: str, frames: int = 0, effort: Effort = NOBODY) -> None:
        """An item of `px` source pixels is cut; a film has so many frames. Earlier runs had done `share` of it."""
        self._note = ""
        row, now_s = row_of(item), self._clock()
        self._outlook.cut(row, px, share, name, frames, effort, now_s)
        if self._machine:
            before_px, source = round(px * share), item.row.source_url
            self._machine.cut(now_s, row, source, px=px, before_px=before_px, frames=frames, effort=effort)
        self.tick()

    def piece(self, item: WorkItem, px: int, frames: int, effort: Effort = NOBODY) -> None:
        """A band or a segment is restored."""
        row, now_s = row_of(item), self._clock()
        self._outlook.piece(row, px, frames, effort, now_s)
        if self._machine:
            self._machine.piece(now_s, row, px=px, frames=frames, effort=effort)
        self.refresh()

    def finish(self, item: WorkItem, px: int, effort: Effort = NOBODY) -> None:
        """A row is done; `px`: source pixels of one that was not cut, 0 of others."""
        row, now_s = row_of(item), self._clock()
        self._outlook.finish(row, px, effort, now_s)
        self._ended(item, effort, now_s, status="done", px=px, output=item.output_url)

    def fail(self, item: WorkItem, kind: str = "", message: str = "", effort: Effort = NOBODY) -> None:
        """A row has failed."""
        row, now_s = row_of(item), self._clock()
        self._outlook.fail(row, kind, effort, now_s)
        self._ended(item, effort, now_s, status="failed", error=kind, message=message)

    def _ended(self, item: WorkItem, effort: Effort, now_s: float, **fields: object) -> None:
        self._note = ""
        if self._machine:
            self._machine.row(now_s, row_of(item), item.row.source_url, effort, **fields)
        self.refresh()

    # -- what is shown -----------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: workers are looked after, and a terminal counts on."""
        self._outlook.crew.look(self._clock())
        if self._machine and not self._note:
            self._machine.standing(self._outlook, self._clock())
        if self._screen:
            self.refresh()

    def refresh(self) -> None:
        """Show how far things are, unless that was shown just now."""
        now_s = self._clock()
        waited_s = now_s - self._printed_s
        if self._screen and (waited_s >= _LIVE_EVERY_S or self._screen.is_empty):
            self._screen.draw(self._live_lines(now_s, self._screen.rows))
        elif self._plain and waited_s >= _PLAIN_EVERY_S:
            overall, *films = self.lines(now_s)
            self._stream.write("  ".join([*overall, *(" ".join(words[1:]) for words in films)]) + "\n")
            self._stream.flush()
        else:
            return
        self._printed_s = now_s

    def lines(self, now_s: float) -> list[list[str]]:
        """The words of the run's line, and of a line for each film under way, which begins with nothing."""
        return [view.overall(self._outlook, now_s, self._note), *view.films(self._outlook, now_s)]

    def _live_lines(self, now_s: float, rows: int) -> list[str]:
        """What fits: failures below the run's own line, workers below the films."""
        overall, *films = self.lines(now_s)
        lines = [overall, *view.failures(self._outlook), *films]
        if not self._note:
            lines += view.workers(self._outlook.crew, rows - len(lines))
        return ["  ".join(words) for words in lines]

    # -- what it comes to --------------------------------------------------------------------------------------

    @property
    def reached(self) -> float:
        """How much of all work is done, 0..1; by rows as long as the work is not known."""
        return self._outlook.reached

    def left_s(self) -> float | None:
        """Seconds until all is done; None while nothing tells."""
        return self._outlook.left_s(self._clock())
