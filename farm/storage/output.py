"""The output root: where one attempt publishes, and what dead attempts left there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ErrorKind, ItemError
from farm.storage import faults, local, objects
from farm.storage.publish import Bytes, Sink, open_stream, open_write, publish
from farm.storage.urls import below, join, local_path
from farm.storage.writer import Published, Writer

FARM_FOLDER = ".farm"
"""below every output root: ledger, lock, staging, parts that wait for their join"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRoot:
    """An output root as one attempt sees it; a value, so that it can be sent to workers."""

    url: str
    attempt: str
    """unique id of the run, from RunLock.run"""

    @property
    def staging(self) -> str:
        """ROOT/.farm/tmp/ATTEMPT: on a disk, files that wait to be renamed; on a store, records of open uploads."""
        return join(_staging(self.url), self.attempt)

    def publish(self, url: str, data: Bytes, *, key: str = "") -> Published:
        """As farm.storage.publish, staged under the root."""
        self._check(url)
        return publish(url, data, attempt=self.attempt, staging=self.staging, key=key)

    def open_write(self, url: str, *, key: str = "") -> Writer:
        """As farm.storage.open_write, staged under the root."""
        self._check(url)
        return open_write(url, attempt=self.attempt, staging=self.staging, key=key)

    def open_stream(self, url: str, *, key: str = "") -> Sink:
        """As farm.storage.open_stream, staged under the root."""
        self._check(url)
        return open_stream(url, attempt=self.attempt, staging=self.staging, key=key)

    def _check(self, url: str) -> None:
        """Raises ItemError(unsafe_path) for a file of a disk whose folder is not below the root: a link leads out."""
        root, path = local_path(self.url), local_path(url)
        if root is None or path is None:
            return
        real, folder = os.path.realpath(root), os.path.realpath(path.parent)
        if not below(folder, real):
            raise ItemError(
                ErrorKind.UNSAFE_PATH,
                url,
                f"its folder leads out of the output root to {folder} through a link",
                "remove the link, or name that folder with --out",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What dead attempts had left."""

    attempts: int
    """that had left something"""
    uploads: int
    """that were open, and are aborted"""
    stuck: tuple[str, ...] = ()
    """why others could not be"""


def clear_staging(root: str, keep: str, is_dead: Callable[[str], bool] = lambda _: True) -> Cleared:
    """Remove what all attempts but `keep` left in the root's staging, and abort the uploads that they left open.

    Only for who holds the root's lock: an attempt that is alive would lose what it is writing. `is_dead`: of those that
    nobody holds a lock against.
    """
    path = local_path(root)
    if path is None:
        with faults.run_level(root):
            attempts, uploads, stuck = objects.abort_announced(
                _staging(root), lambda attempt: attempt != keep and is_dead(attempt)
            )
        return Cleared(attempts=attempts, uploads=uploads, stuck=tuple(stuck))
    folder = Path(_staging(root))
    with faults.writing(str(folder), 0):
        dead = [name for name in os.listdir(folder) if name != keep and is_dead(name)] if folder.is_dir() else []
    for name in dead:
        local.delete_tree(folder / name)
    return Cleared(attempts=len(dead), uploads=0)


def _staging(root: str) -> str:
    return join(str(local_path(root) or root), FARM_FOLDER, "tmp")
