"""The last step of a row: into a table, or left out with a reason."""

from __future__ import annotations

from farm.catalog.item import Base, Item, Written
from farm.catalog.table import CannotHoldError, Table
from farm.errors import ErrorKind, ItemError
from farm.manifest import faults
from farm.manifest.columns import SOURCE
from farm.manifest.sources import printable
from farm.records import RefusedRow


class Sink:
    """Writes items into one table and counts them in `written`.

    With `drop` what the form cannot hold is left out and counted; otherwise the first of it is a ManifestError.
    """

    def __init__(self, table: Table, base: Base, written: Written, *, drop: bool) -> None:
        self._table = table
        self._base = base
        self._written = written
        self._drop = drop

    def write(self, item: Item) -> None:
        """Add a row. Raises ManifestError for what the form cannot hold."""
        columns = self._base.columns(item)
        while True:
            try:
                self._table.write(columns)
            except CannotHoldError as error:
                if not self._drop:
                    where = f"{faults.place(item.row.index, None)}, column {error.column}"
                    advice = "choose another form, or --drop to leave out what it cannot hold"
                    raise faults.invalid(self._written.url, f"{where}: {error.found}", advice) from error
                if error.column == SOURCE:
                    self._leave_out(item, error.found)
                    return
                del columns[error.column]
                self._written.dropped.add(error.column)
            else:
                self._written.note(item)
                return

    def _leave_out(self, item: Item, found: str) -> None:
        url = printable(item.row.source_url)
        error = ItemError(ErrorKind.UNSUPPORTED, url, found, "choose another form")
        self._written.leave_out(RefusedRow(index=item.row.index, source=url, error=error))
