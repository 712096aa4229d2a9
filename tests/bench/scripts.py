"""The scripts of bench/ as modules, which find each other beside themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from ..runs import REPOSITORY

BENCH = REPOSITORY / "bench"


@contextmanager
def bench_module(name: str) -> Iterator[ModuleType]:
    """bench/NAME.py, for as long as this lasts: what it has brought from beside itself, under names that are anybody's,
    is forgotten then. Others from beside it can be imported meanwhile."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        try:
            yield importlib.import_module(name)
        finally:
            for one in set(sys.modules) - before:
                if _lies_beside(sys.modules[one]):
                    del sys.modules[one]


def _lies_beside(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(BENCH)
