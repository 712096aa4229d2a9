"""The output root: where one attempt publishes, and what dead attempts left there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from farm.storage import faults, local
from farm.storage.publish import Bytes, open_write, publish
from farm.storage.urls import join, local_path
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
    def staging(self) -> str | None:
        """ROOT/.farm/tmp/ATTEMPT, on the outputs' own file system; None on object stores, which need none."""
        path = local_path(self.url)
        return join(str(path), FARM_FOLDER, "tmp", self.attempt) if path else None

    def publish(self, url: str, data: Bytes) -> Published:
        """As farm.storage.publish, staged under the root."""
        return publish(url, data, attempt=self.attempt, staging=self.staging)

    def open_write(self, url: str) -> Writer:
        """As farm.storage.open_write, staged under the root."""
        return open_write(url, attempt=self.attempt, staging=self.staging)


def clear_staging(root: str, keep: str) -> int:
    """Remove what all attempts but `keep` left in a local root's staging; how many attempts that were.

    Only for who holds the root's lock. Object stores stage nothing: parts of an unfinished upload stay invisible.
    """
    path = local_path(root)
    if path is None:
        return 0
    folder = Path(join(str(path), FARM_FOLDER, "tmp"))
    with faults.writing(str(folder), 0):
        dead = [name for name in os.listdir(folder) if name != keep] if folder.is_dir() else []
    for name in dead:
        local.delete_tree(folder / name)
    return len(dead)
