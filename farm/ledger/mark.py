"""The done mark of a shard: that all rows of a manifest's shard are settled, and what has to be compared to trust it.

It lies in the metadata of the shard's compacted file, with a column beside the entries that says which of them are of
those rows, and how their sources are compared. A shard that has segments has no mark: something was written since.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Compared(IntEnum):
    """What is asked of a row's source before its entry is trusted; stored, so numbers stay as they are."""

    NOT_MARKED = 0
    """the entry is of no row of the marked shard"""
    BY_MANIFEST = 1
    """nothing: the manifest says the version itself, or the row was refused by a rule"""
    BY_STORE = 2
    """whether its version is still the entry's"""
    ABSENT = 3
    """whether it is still missing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What was true when a shard's last row was settled."""

    rows: int
    manifest: str
    """digest of the shard's rows"""
    fingerprint: str
    """of everything else that decides items and refusals"""
    done: int
    failed: int
    """for a reason that their content decides"""
    refused: int

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def mark_from(text: bytes | None) -> Mark | None:
    """The mark of a file's metadata; None where there is none, or one that this version does not know."""
    if text is None:
        return None
    try:
        return Mark(**json.loads(text))
    except (ValueError, TypeError):
        return None


class MarkedKeys:
    """The keys of a shard's settled rows, each with how its source is compared: 9 bytes a row."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._compared = bytearray()

    def add(self, key: str, compared: Compared) -> None:
        self._hashes.append(hash(key))
        self._compared.append(compared)

    def __len__(self) -> int:
        return len(self._hashes)

    def column(self, keys: Sequence[str]) -> NDArray[np.int8] | None:
        """How the source of each of `keys` is compared; None where they are not what was added, each once."""
        marked = np.full(len(keys), Compared.NOT_MARKED, np.int8)
        if not self._hashes:
            return marked
        mine, compared = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._compared, np.int8)
        order = np.argsort(mine)
        theirs = np.fromiter(map(hash, keys), np.int64, len(keys))
        at = order[np.minimum(np.searchsorted(mine, theirs, sorter=order), len(mine) - 1)]
        found = mine[at] == theirs
        if np.count_nonzero(found) != len(mine) or len(np.unique(theirs[found])) != len(mine):
            return None
        marked[found] = compared[at[found]]
        return marked
