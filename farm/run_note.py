"""What a run says of itself while it works and when it has ended: OUT/.farm/runs/RUN.json."""

from __future__ import annotations

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


class RunningNote:
    """The note of one run in the output root `out`. A run that finds nothing to do writes none."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._note: ledger.RunNote | None = None

    def begin(self, config: RunConfig, run: str, counted: Survey) -> None:
        """There is work."""
        self._note = ledger.RunNote(
            run=run,
            manifest=without_credentials(manifest.canonical(config.manifest)),
            models=config.model.models or (config.model.model,),
            rows=counted.rows,
            known=sum(counted.states.values()),
            started_unix=round(time.time(), 3),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        ledger.write_note(self._out, self._note)

    def end(self, summary: RunSummary, exit_code: int | None = None) -> None:
        """The run is over; `exit_code`: where that is not what the summary says."""
        if self._note is None:
            return
        ended = replace(
            self._note,
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
