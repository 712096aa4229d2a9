"""For processes whose start is timed by bench/startup.py: says when they load what, and do what.

Each line of the file that FARM_PROBE names is of one process: its id, what, "begin" or "end", and seconds since 1970.
Nothing of the farm is changed; functions are wrapped when the module that holds them has been loaded.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from on_load import Load, around  # beside this file

_FILE = os.environ["FARM_PROBE"]
_LOADED = {"ray", "torch", "farm.cli", "farm.begin", "farm.tasks.registry"}
"""modules whose loading is told"""
_CALLED = {
    "farm.session": ("Session.connect", "Session.disconnect"),
    "farm.actors": ("Actors._await_workers",),
    "farm.worker": ("Worker.__init__", "Worker.run"),
    "farm.tasks.resident": ("ModelLoader.__call__",),
    "farm.begin": ("run_locked",),
}
"""functions whose calls are told"""


def tell(what: str, point: str) -> None:
    line = json.dumps([os.getpid(), what, point, time.time()])
    with open(_FILE, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def told(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        tell(what, "begin")
        try:
            return function(*args, **kwargs)
        finally:
            tell(what, "end")

    return call


def loaded(fullname: str, module: ModuleType, load: Load) -> None:
    """Tells of the loading, and wraps what is called later."""
    if fullname in _LOADED:
        tell(f"import {fullname}", "begin")
    load(module)
    if fullname in _LOADED:
        tell(f"import {fullname}", "end")
    for name in _CALLED.get(fullname, ()):
        holder, _, last = name.rpartition(".")
        within = getattr(module, holder) if holder else module
        setattr(within, last, told(name, getattr(within, last)))


tell("interpreter", "begin")
around(_LOADED | _CALLED.keys(), loaded)
