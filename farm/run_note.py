"""What a run says of itself while it works and when it has ended: OUT/.farm/runs/RUN.json."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace

from farm import ledger, manifest
from farm.config import RunConfig
from farm.errors import FarmError, LostLockError, without_credentials
from farm.summary import RunSummary
from farm.survey import Survey

_WAIT_S = 5.0
"""between two notes of what a run waits for"""
_LOG = logging.getLogger("farm.run")


class RunningNote:
    """The note of one run in the output root `out`. A run that finds nothing to do writes none."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._note: ledger.RunNote | None = None
        self._waited_s = -math.inf
        """when what the run waits for was noted last"""

    def begin(self, config: RunConfig, run: str, counted: Survey) -> None:
        """There is work."""
        self._note = ledger.RunNote(
            run=run,
            manifest=without_credentials(manifest.canonical(config.manifest)),
            models=config.model.asked,
            rows=counted.rows,
            known=sum(counted.states.values()),
            started_unix=round(time.time(), 3),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        ledger.write_note(self._out, self._note)

    def wait(self, words: str) -> None:
        """The run waits for its workers, now and then; no `words`: it has them."""
        now_s = time.monotonic()
        note = self._note
        if note is None or words == note.waiting or (words and now_s - self._waited_s < _WAIT_S):
            return
        self._note, self._waited_s = replace(note, waiting=words), now_s
        try:
            ledger.write_note(self._out, self._note)
        except LostLockError:
            raise
        except FarmError as error:  # a store that fails now may be there when there is something to write
            _LOG.warning("what the run waits for could not be noted: %s", error)

    def end(self, summary: RunSummary, exit_code: int | None = None) -> None:
        """The run is over; `exit_code`: where that is not what the summary says."""
        if self._note is None:
            return
        ended = replace(
            self._note,
            waiting="",
            rows=summary.rows,
            ended_unix=round(time.time(), 3),
            exit_code=summary.exit_code if exit_code is None else exit_code,
            done=summary.done,
            failed=summary.failed,
            left=summary.left,
            source_px=summary.source_px,
            frames=summary.frames,
        )
        ledger.write_note(self._out, ended)


@contextmanager
def noted(note: RunningNote, summary: Callable[[], RunSummary]) -> Generator[None]:
    """A run that cannot go on says so in its note; not one that has lost its lock, which writes nothing more."""
    try:
        yield
    except LostLockError:
        raise
    except FarmError as error:
        with suppress(FarmError):  # what ended the run is what is to be said, and may keep us from writing too
            note.end(summary(), error.exit_code)
        raise
