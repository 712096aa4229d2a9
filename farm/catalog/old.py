"""A manifest file that is written anew: its columns, and its rows as items."""

from __future__ import annotations

from collections.abc import Iterator

from farm import storage
from farm.catalog.item import Item, Written
from farm.catalog.table import Column, columns_of
from farm.manifest import canonical, faults, files
from farm.manifest.sources import printable
from farm.records import RefusedRow


class OldManifest:
    """A manifest with everything that it says.

    With `drop` what cannot be carried over is left out and counted in `written`, otherwise it is a ManifestError.
    """

    def __init__(self, source: str, root: str | None, written: Written, *, drop: bool) -> None:
        self._url = canonical(source)
        self._root = root or storage.parent(self._url)
        self._written = written
        self._drop = drop
        found = files.read_columns(self._url)
        self.columns = columns_of(found)
        """those that can be read"""
        self._own = files.own_names(found)
        for column in found:
            if not column.is_readable:
                self._refuse_column(column)

    @property
    def own(self) -> list[Column]:
        """The columns of the user's own."""
        return [column for column in self.columns if column.name in self._own]

    @property
    def names(self) -> list[str]:
        """The names of all columns that can be read."""
        return [column.name for column in self.columns]

    def _refuse_column(self, column: files.FileColumn) -> None:
        if not self._drop:
            found = f"column {printable(column.name)}: is {column.arrow}, which is not carried over"
            raise faults.invalid(self._url, found, "make it text, or --drop to leave it out")
        self._written.dropped.add(column.name)

    def items(self) -> Iterator[Item]:
        """Its rows. Raises ManifestError."""
        for entry in files.read_entries(self._url, self._root, own=self._own):
            if not isinstance(entry.row, RefusedRow):
                yield Item(row=entry.row, values=entry.values, lq_url=entry.lq_url)
            elif self._drop:
                self._written.leave_out(entry.row)
            else:
                found = f"{faults.place(entry.row.index, None)}, column source: {entry.row.error}"
                raise faults.invalid(self._url, found, "mend it, or --drop to leave the row out")

    def count(self) -> int:
        """How many rows there are, from the footer where it says so."""
        total = None if self._drop else files.count_rows(self._url)
        return sum(1 for _ in files.read_entries(self._url, self._root)) if total is None else total
