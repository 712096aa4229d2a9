"""Reading a data set: any sample of any form by its number, from a disk or a store."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from farm import storage
from farm.sample import Scalar
from farm.shards.access import Access, Wanted, damaged, open_access, open_parquet, read_parquet
from farm.shards.index import DatasetIndex, PartEntry, read_index
from farm.shards.place import samples_path, sources_path
from farm.shards.recent import Recent
from farm.shards.table import is_of_record

_PLACES = 256
"""parts whose samples' names and places are kept: some 100 bytes a file"""
_RECORDS = 8
"""parts whose records are kept"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSample:
    """A sample as it was kept."""

    key: str
    files: Mapping[str, bytes]
    """by role"""
    record: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEnd:
    """A source that gave no samples because it failed."""

    source: str
    reason: str
    message: str


class Reader:
    """The samples of a data set, in the order of its parts.

    Knows nothing but the index until it is asked. May be sent to other processes, and used on both sides of a fork:
    each process opens its own files. Not for several threads at once.
    """

    def __init__(self, out: str, index: DatasetIndex) -> None:
        self.out = out
        self.index = index
        self._ends = list(accumulate(part.samples for part in index.parts))
        self._pid = 0
        self._forget()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getstate__(self) -> tuple[str, DatasetIndex]:
        return self.out, self.index

    def __setstate__(self, state: tuple[str, DatasetIndex]) -> None:
        self.__init__(*state)

    def sample(self, number: int) -> ReadSample:
        """All of a sample. Raises IndexError, the storage's errors, and ItemError(corrupt) for what is damaged."""
        key, files = self.files(number, self.index.roles)
        return ReadSample(key=key, files=files, record=self.record(number))

    def files(self, number: int, roles: Sequence[str]) -> tuple[str, dict[str, bytes]]:
        """(key, files of these roles) of a sample, each as its digest says; roles that it lacks are left out.

        Errors as sample().
        """
        part, row = self._find(number)
        table = self._places.get(part.name, lambda: self._read_places(part))
        found: dict[str, bytes] = {}
        for role in roles:
            place = {name: table[f"{role}_{name}"][row].as_py() for name in self._place_columns}
            if place["sha256"] is not None:
                found[role] = self._checked(Wanted(part=part, row=row, role=role, **place))
        return table["key"][row].as_py(), found

    def record(self, number: int) -> Mapping[str, Scalar]:
        """What the operation has recorded of a sample. Errors as sample()."""
        part, row = self._find(number)
        table = self._records.get(part.name, lambda: self._read_records(part))
        return {name: table[name][row].as_py() for name in table.column_names}

    def __iter__(self) -> Iterator[ReadSample]:
        return (self.sample(number) for number in range(len(self)))

    def failures(self) -> Iterator[SourceEnd]:
        """The sources that failed when the data set was made."""
        for part in self.index.parts:
            if part.failed:
                url = storage.join(self.out, sources_path(part.name))
                table = _read_table(url, ["source", "status", "reason", "message"])
                for source, status, reason, message in zip(*(one.to_pylist() for one in table.columns), strict=True):
                    if status == "failed":
                        yield SourceEnd(source=source, reason=reason, message=message)

    def _find(self, number: int) -> tuple[PartEntry, int]:
        """(part, row in its table) of a sample; makes sure that what is open was opened here."""
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        if self._pid != os.getpid():
            self._forget()
        at = bisect_right(self._ends, number)
        return self.index.parts[at], number - (self._ends[at - 1] if at else 0)

    def _forget(self) -> None:
        """Files that another process opened are shared with it, down to where they are read."""
        self._pid = os.getpid()
        self._places: Recent[str, Any] = Recent(_PLACES)
        self._records: Recent[str, Any] = Recent(_RECORDS)
        self._access: Access | None = None

    def _checked(self, wanted: Wanted) -> bytes:
        self._access = self._access or open_access(self.index.form, self.out)
        data = self._access.read(wanted)
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            where = storage.join(self.out, samples_path(wanted.part.name))
            raise damaged(where, f"row {wanted.row} names other bytes than {wanted.role} has")
        return data

    def _read_places(self, part: PartEntry) -> Any:
        columns = (f"{role}_{name}" for role in self.index.roles for name in self._place_columns)
        return self._read_samples(part, ["key", *columns])

    @property
    def _place_columns(self) -> tuple[str, ...]:
        return ("path", "sha256", "bytes", "offset") if self.index.form == "tar" else ("path", "sha256", "bytes")

    def _read_records(self, part: PartEntry) -> Any:
        return self._read_samples(part, None)

    def _read_samples(self, part: PartEntry, names: list[str] | None) -> Any:
        """Columns of a part's table: those named, or those of the operation."""
        url = storage.join(self.out, samples_path(part.name))
        table = _read_table(url, names, self.index.roles)
        if len(table) != part.samples:
            raise damaged(url, f"{len(table)} samples where the data set's list says {part.samples}")
        return table


def open_dataset(url: str) -> Reader:
    """The data set below an output root. Raises the storage's errors, UsageError as read_index()."""
    return Reader(url, read_index(url))


def _read_table(url: str, names: list[str] | None, roles: tuple[str, ...] = ()) -> Any:
    file = open_parquet(url)
    try:
        chosen = names or [name for name in file.schema_arrow.names if is_of_record(name, roles)]
        if missing := set(chosen) - set(file.schema_arrow.names):
            raise damaged(url, f"no column {', '.join(sorted(missing))}")
        return read_parquet(url, file, chosen).combine_chunks()
    finally:
        file.close(force=True)
