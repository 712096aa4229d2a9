"""What programs are told of a run while it works: an object of JSON a line, flushed; docs/dashboard.md has them all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, TextIO

from farm.progress.crew import Crew, doing
from farm.progress.effort import Effort
from farm.progress.outlook import Outlook
from farm.progress.work import Likeness, Row

_STANDING_EVERY_S = 2.0
_WORKERS_TOLD = 64
"""one by one; others are summed up"""
_SECONDS = 3
"""decimals of times"""
_LOG = logging.getLogger("farm.progress")


class MachineLines:
    """Writes to a stream until nobody reads it any more; the run goes on without. `began_s`: when times begin."""

    def __init__(self, stream: TextIO, began_s: float) -> None:
        self._stream = stream
        self._began_s = began_s
        self._stood_s = float("-inf")
        self._gone_on: tuple[str, str, float] = "", "", 0.0
        """what was told last to take its time: its event, what it begins with, and when"""
        self.is_read = True

    def say(self, event: str, now_s: float, **fields: object) -> None:
        """A line of `event` with these fields."""
        if not self.is_read:
            return
        line = json.dumps({"event": event, "at_s": round(now_s - self._began_s, _SECONDS), **fields})
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except BrokenPipeError:
            self.is_read = False
            _LOG.warning("nobody reads the lines of --json any more; the run goes on without them")
            with open(os.devnull, "wb") as nowhere:  # or what is left in the stream fails again when Python ends
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def going_on(self, event: str, now_s: float, text: str, **fields: object) -> None:
        """What takes its time, such as fetching or waiting: when that begins, and then as often as how things stand."""
        what = text.partition(":")[0]
        if (event, what) != self._gone_on[:2] or now_s - self._gone_on[2] >= _STANDING_EVERY_S:
            self._gone_on = event, what, now_s
            self.say(event, now_s, text=text, **fields)

    def plan(self, now_s: float, guesses: Mapping[Likeness, int], *, rows: int, unplanned: int, total: int) -> None:
        """`rows` more are planned, and so many are not yet; `total`: of all that are to be done."""
        self.say("plan", now_s, rows=rows, unplanned=unplanned, total=total, guesses=_pixels(guesses))

    def cut(self, now_s: float, row: Row, source: str, *, px: int, before_px: int, frames: int, effort: Effort) -> None:
        """A row is cut."""
        fields = {**_row(row, source), "px": px, "before_px": before_px, "frames": frames}
        self.say("cut", now_s, **fields, **_effort(effort))

    def piece(self, now_s: float, row: Row, *, px: int, frames: int, effort: Effort) -> None:
        """A band or a segment is restored."""
        self.say("piece", now_s, item=row.item_id, px=px, frames=frames, **_effort(effort))

    def row(self, now_s: float, row: Row, source: str, effort: Effort, **fields: object) -> None:
        """A row has ended."""
        self.say("row", now_s, **_row(row, source), **_effort(effort), **fields)

    def standing(self, outlook: Outlook, now_s: float) -> None:
        """How things stand, unless that was said just now."""
        if not self.is_read or now_s - self._stood_s < _STANDING_EVERY_S:
            return
        self._stood_s = now_s
        left_s = outlook.left_s(now_s)
        names = outlook.crew.names
        others = names[_WORKERS_TOLD:]
        self.say(
            "standing",
            now_s,
            rows=outlook.total,
            done=outlook.done,
            failed=sum(outlook.failures.values()),
            failures=dict(outlook.failures.most_common()),
            share=round(outlook.reached, 4),
            eta_s=None if left_s is None else round(left_s, 1),
            is_sure=outlook.is_sure,
            px_s=round(outlook.px.rate(now_s), 1),
            frames_s=round(outlook.frames.rate(now_s), 3),
            workers=[_worker(outlook.crew, name) for name in names[:_WORKERS_TOLD]],
            others={"workers": len(others), "busy": _rounded(outlook.crew.busy(others))},
        )


def _likeness(one: Likeness) -> dict[str, object]:
    return {"model": one.model, "kind": one.kind.value, "extension": one.extension, "sized": one.sized}


def _pixels(pixels: Mapping[Likeness, int]) -> list[dict[str, object]]:
    return [{**_likeness(one), "px": px} for one, px in pixels.items()]


def _row(row: Row, source: str) -> dict[str, Any]:
    return {"item": row.item_id, "source": source, **_likeness(row.likeness), "guess_px": row.guess_px}


def _effort(effort: Effort) -> dict[str, object]:
    return {
        "worker": effort.worker,
        "seconds": _rounded(effort.seconds),
        "network_s": _rounded(effort.network_s),
    }


def _worker(crew: Crew, name: str) -> dict[str, object]:
    hand = crew.hand(name)
    what, more = doing(crew.running(name))
    busy, parts = (hand.busy, hand.parts) if hand else (None, 0)
    held = _pixels(crew.held(name))
    return {"name": name, "busy": _rounded(busy), "done": parts, "at": what, "more": more, "held": held}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _SECONDS)
