"""Rows in another order, however many there are: sorted in runs, the runs spilled to scratch and merged.

Memory is that of one run and of a few rows of each of the others; scratch is FARM_SCRATCH_DIR, else the system's.
"""

from __future__ import annotations

import heapq
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from typing import IO, Any, TypeVar

from farm.catalog.item import Item
from farm.storage import faults

T = TypeVar("T")

_RUN_ROWS = 100_000
"""rows that are sorted in memory, about 100 MB"""
_BATCH_ROWS = 256
"""rows of a run that are held while runs are merged"""
Key = Callable[[Item], Any]


def _path(item: Item) -> str:
    return item.row.source_url


def _size(item: Item) -> tuple[int, str]:
    return -(item.row.bytes or 0), item.row.source_url


def _time(item: Item) -> tuple[int, str]:
    return -(item.mtime_ns or 0), item.row.source_url


def _priority(item: Item) -> int:
    return -item.row.priority


SORTS: Mapping[str, Key] = {"path": _path, "size": _size, "mtime": _time, "priority": _priority}
"""Orders by name: sources from a to z, largest first, newest first, highest first; equal ones by path, and rows of
one priority as they stood."""


def in_order(items: Iterable[T], key: Callable[[T], Any]) -> Iterator[T]:
    """The items sorted by a key; equal ones stay as they stand. Raises DiskError where scratch is full.

    All items have been taken before the first comes out.
    """
    source = iter(items)
    run = sorted(islice(source, _RUN_ROWS), key=key)
    if len(run) < _RUN_ROWS:
        yield from run
        return
    folder = os.environ.get("FARM_SCRATCH_DIR") or tempfile.gettempdir()
    with ExitStack() as files:
        runs: list[Iterator[T]] = []
        while run:
            with faults.writing(folder, 0):
                file = files.enter_context(tempfile.TemporaryFile(dir=folder, prefix="farm-"))
                _spill(run, file)
            runs.append(_spilled(file))
            run = sorted(islice(source, _RUN_ROWS), key=key)
        yield from heapq.merge(*runs, key=key)


def _spill(run: list[T], file: IO[bytes]) -> None:
    for start in range(0, len(run), _BATCH_ROWS):
        pickle.dump(run[start : start + _BATCH_ROWS], file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)


def _spilled(file: IO[bytes]) -> Iterator[Any]:
    while True:
        try:
            batch: list[Any] = pickle.load(file)
        except EOFError:
            return
        yield from batch
