"""What becomes of one row in the plan: it is pending, known already, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.errors import ItemError
from farm.ledger import Compared
from farm.records import LedgerEntry, WorkItem
from farm.summary import RowState


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRow:
    """A row that is left to do."""

    item: WorkItem
    pieces: Sequence[LedgerEntry] = ()
    """bands or segments that an earlier run has finished"""

    @property
    def state(self) -> RowState:
        return RowState.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """A row that an earlier run has finished, or that has failed then for a reason that its content decides."""

    state: RowState
    key: str
    """of its entry in the ledger"""
    output: str
    compared: Compared
    """what a later run has to ask before it trusts this state"""
    moved: LedgerEntry | None = None
    """its entry, to be noted where the row stands now"""
    message: str = ""
    """why it failed"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclinedRow:
    """A row that no worker is asked to do."""

    index: int
    source: str
    error: ItemError
    output: str = ""
    """where its output would go, where that is known"""
    item: WorkItem | None = None
    """of a row that only its size has refused"""
    compared: Compared = Compared.NOT_MARKED
    """what a later run has to ask before it refuses the row again; NOT_MARKED: it has to plan it anew"""
    was_pending: bool = False
    """whether it was counted as pending before it was looked at"""

    @property
    def state(self) -> RowState:
        return RowState.REFUSED


PlannedRow = PendingRow | KnownRow | DeclinedRow
