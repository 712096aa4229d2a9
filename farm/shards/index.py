"""`dataset.json`: what a data set is and which parts it has. Readers find everything by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from farm import storage
from farm.errors import ErrorKind, ItemError, UsageError
from farm.shards import place

SCHEMA = 1
"""raised where readers of an earlier version would misread"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFile:
    """A published file of a part."""

    path: str
    """below the output root"""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEntry:
    """What one pack has become."""

    name: str
    done: int
    skipped: int
    failed: int
    """sources by how they ended"""
    samples: int
    member_bytes: int
    """of all files of the samples together"""
    files: tuple[PackFile, ...]
    """data, samples, sources, in the order in which they were published; files of a tree are in the samples table"""

    @property
    def sources(self) -> int:
        return self.done + self.skipped + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """A whole data set."""

    form: str
    """one of farm.sample.FORMS"""
    operation: str
    """a name of farm.sample.OPERATIONS"""
    roles: tuple[str, ...]
    options: Mapping[str, object]
    """of the operation, as JSON knows values"""
    parts: tuple[PartEntry, ...]
    packs: str = ""
    """which sources, in which versions: the name of the list of packs"""

    @property
    def samples(self) -> int:
        return sum(part.samples for part in self.parts)

    @property
    def content(self) -> str:
        """Digest of what was done to how many samples, wherever they lie. One that is mended is the same."""
        said = [self.operation, self.roles, self.options, [[part.name, part.samples] for part in self.parts]]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def write_index(index: DatasetIndex, root: storage.OutputRoot, *, key: str = "") -> storage.Published:
    """Publish OUT/dataset.json: the same bytes for equal values. Raises the storage's errors."""
    values = {"schema": SCHEMA, **asdict(index), "options": dict(index.options)}
    text = json.dumps(values, sort_keys=True, indent=1) + "\n"
    return root.publish(storage.join(root.url, place.INDEX), text.encode("ascii"), key=key)


def read_index(out: str) -> DatasetIndex:
    """The index of the data set below an output root.

    Raises the storage's errors, ItemError(corrupt) for what is no index, UsageError for one of a newer farm.
    """
    url = storage.join(out, place.INDEX)
    try:
        values: object = json.loads(storage.read_bytes(url))
        if not isinstance(values, dict):
            raise ValueError("not an object")
        return _index(cast("dict[str, Any]", values), url)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ItemError(
            ErrorKind.CORRUPT, url, f"no list of a data set's parts ({error})", "make the data set again"
        ) from error


def part_from_values(values: Mapping[str, Any]) -> PartEntry:
    """The inverse of `dataclasses.asdict`. Raises KeyError or TypeError."""
    named = dict(values)
    named["files"] = tuple(PackFile(**one) for one in values["files"])
    return PartEntry(**named)


def _index(values: dict[str, Any], url: str) -> DatasetIndex:
    if values.pop("schema") > SCHEMA:
        raise UsageError(f"{url}: a newer farm made this data set; read it with that version")
    values["roles"] = tuple(values["roles"])
    values["parts"] = tuple(map(part_from_values, values["parts"]))
    return DatasetIndex(**values)
