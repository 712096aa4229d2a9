"""Named points that a test can make fail. Nothing happens unless FARM_FAILPOINTS is set.

``FARM_FAILPOINTS="storage.fsync.before=EIO@3;ledger.*=kill"`` holds rules separated by semicolons, each
``PATTERN=ACTION[@N]``: PATTERN is matched against the point's name (shell style), ACTION is one of

* ``kill``: SIGKILL to this process, as the kernel does when memory runs out
* ``EIO``, ``ENOSPC``: the OSError that a broken or a full disk gives
* ``hang``: never come back

and ``@N`` means only the N-th hit of that rule in this process (from 1); without it, every hit.
The points are in farm.storage (``storage.*``) and farm.ledger (``ledger.*``).
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from farm.errors import UsageError

VARIABLE = "FARM_FAILPOINTS"
_ERRNOS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
_ACTIONS = ("kill", "hang", *_ERRNOS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    pattern: str
    action: str
    nth: int | None
    hits: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """next() on it is atomic, so threads need no lock"""


def hit(point: str, path: str = "") -> None:
    """Pass the point named `point`; `path` goes into the OSError that a rule may raise here."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    for rule in _rules(text):
        if fnmatchcase(point, rule.pattern) and rule.nth in (None, next(rule.hits)):
            _act(rule.action, path)


def are_set() -> bool:
    """Whether any point may fail."""
    return bool(os.environ.get(VARIABLE))


def reset() -> None:
    """Count hits from 1 again."""
    _rules.cache_clear()


@lru_cache(maxsize=8)
def _rules(text: str) -> tuple[_Rule, ...]:
    return tuple(_rule(part.strip()) for part in text.split(";") if part.strip())


def _rule(text: str) -> _Rule:
    pattern, _, rest = text.partition("=")
    action, _, nth = rest.partition("@")
    if not pattern or action not in _ACTIONS or (nth and not nth.isdecimal()):
        raise UsageError(f"{VARIABLE}: {text!r} is not PATTERN=ACTION[@N] with one of {', '.join(_ACTIONS)}")
    return _Rule(pattern=pattern, action=action, nth=int(nth) if nth else None)


def _act(action: str, path: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action in _ERRNOS:
        number = _ERRNOS[action]
        raise OSError(number, os.strerror(number), path)
    while True:
        time.sleep(3600)
