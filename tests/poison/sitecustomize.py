"""On PYTHONPATH, for workers that an input is to end in other ways than the failpoints have: by its name, in place of
the rule that kills.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ENDS: Mapping[str, Callable[[], object]] = {
    "aborts": os.abort,
    "crashes": lambda: ctypes.string_at(0),
    "leaves": lambda: os._exit(0),
    "loops": lambda: ctypes.PyDLL(None).pause(),
}
"""by the stem of the input: SIGABRT, a read at address 0, an exit as if all were well, C that keeps the interpreter"""


def install() -> None:
    """Put these beside the actions of the failpoints, in this process."""
    from farm import failpoints

    act = failpoints._act

    def end(rule: Any, point: str, path: str) -> None:
        ends = ENDS.get(Path(path).stem)
        act(rule, point, path) if ends is None else ends()

    failpoints._act = end


if __name__ == "sitecustomize":
    install()
