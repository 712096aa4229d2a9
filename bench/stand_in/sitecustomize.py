"""On PYTHONPATH, for workers of bench/scaling.py: a compact network that takes FARM_STAND_IN_S seconds a source pixel.

It computes nothing, as a GPU looks from a processor: it sleeps, and enlarges its input to the nearest. All else is the
farm's own.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from types import ModuleType
from typing import Any

_SECONDS_A_PX = float(os.environ.get("FARM_STAND_IN_S", "0"))
_MODULE, _CLASS = "sr_kernel.archs.srvgg", "SRVGGNetCompact"


def sleep_and_enlarge(network: Any, x: Any, keep: Any) -> Any:
    """As calling the network does."""
    time.sleep(_SECONDS_A_PX * x.shape[0] * keep.area_px)
    part = x[..., keep.y0 : keep.y1, keep.x0 : keep.x1].permute(0, 2, 3, 1)
    return part.repeat_interleave(network.scale, 1).repeat_interleave(network.scale, 2).contiguous()


class Loader(importlib.abc.Loader):
    """Another loader, after which the class sleeps."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: Any) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        setattr(getattr(module, _CLASS), "__call__", sleep_and_enlarge)  # noqa: B010 (of a class that is not known here)


class Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; wraps the loader of what the others find."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(self, fullname: str, *_: object) -> Any:
        if self._asking or fullname != _MODULE:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader)
        return spec


if _SECONDS_A_PX:
    sys.meta_path.insert(0, Finder())
