"""On PYTHONPATH, for processes whose start is timed by bench/startup.py: says when they load what, and do what.

Each line of the file that FARM_PROBE names is of one process: its id, what, "begin" or "end", and seconds since 1970.
Nothing of the farm is changed; functions are wrapped when the module that holds them has been loaded.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

_FILE = os.environ.get("FARM_PROBE", "")
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


class Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; wraps the loader of what the others find."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(self, fullname: str, *_: object) -> Any:
        if self._asking or (fullname not in _LOADED and fullname not in _CALLED):
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                if fullname in _LOADED:
                    tell(f"import {fullname}", "begin")
                load(module)
                if fullname in _LOADED:
                    tell(f"import {fullname}", "end")
                for name in _CALLED.get(fullname, ()):
                    holder, _, last = name.rpartition(".")
                    within = getattr(module, holder) if holder else module
                    setattr(within, last, told(name, getattr(within, last)))

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if __name__ == "sitecustomize" and _FILE:
    tell("interpreter", "begin")
    sys.meta_path.insert(0, Finder())
