"""How far something is that has no total: a line rewritten on a terminal, now and then a new one elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

_LIVE_EVERY_S = 0.2
_PLAIN_EVERY_S = 15.0


class Lines:
    """Writes to stderr. A context."""

    def __init__(self, *, quiet: bool, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = self._stream.isatty()
        self._started_s = self._shown_s = time.monotonic()
        self._columns = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started_s

    def show(self, text: str) -> None:
        """What is so now; `text` has no line breaks."""
        now_s = time.monotonic()
        if self._quiet or now_s - self._shown_s < (_LIVE_EVERY_S if self._live else _PLAIN_EVERY_S):
            return
        self._shown_s = now_s
        self._stream.write(f"\r{text:{self._columns}}" if self._live else f"{text}\n")
        self._stream.flush()
        self._columns = len(text)

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._columns and self._live:
            self._stream.write(f"\r{'':{self._columns}}\r")
            self._stream.flush()
