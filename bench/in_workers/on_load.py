"""Does something when a module is loaded, and nothing before."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Container
from types import ModuleType
from typing import Any

Load = Callable[[ModuleType], None]


def around(names: Container[str], call: Callable[[str, ModuleType, Load], None]) -> None:
    """From now on `call` loads the modules of these names: it gets the name, the module, and what loads that."""
    sys.meta_path.insert(0, _Finder(names, call))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; wraps the loader of what the others find."""

    def __init__(self, names: Container[str], call: Callable[[str, ModuleType, Load], None]) -> None:
        self._names = names
        self._call = call
        self._asking = False

    def find_spec(self, fullname: str, *_: object) -> Any:
        if self._asking or fullname not in self._names:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self._call(fullname, module, load)  # type: ignore[method-assign]
        return spec
