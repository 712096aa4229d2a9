"""What an output root's ledger is: written once, and compared before anything is added to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from farm import plan, storage
from farm.errors import ErrorKind, ItemError, UsageError
from farm.ledger.codec import SCHEMA
from farm.ledger.files import ledger_folder
from farm.storage import faults

_NAME = "form.json"
_FIRST_SHARD_ROWS = 50_000
"""rows of a shard in ledgers that do not say it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerForm:
    """What entries and their places mean."""

    schema: int
    """of its entries"""
    shard_rows: int
    """rows of the manifest that share a shard"""
    identity: int
    """IDENTITY_EPOCH of its keys"""


def check_form(root: str, *, is_empty: bool) -> bool:
    """Whether the ledger says what it is. Raises UsageError for one that this farm must not write to.

    `is_empty`: there are no entries yet, so that a ledger that says nothing may still become anything.
    """
    found = _read(root)
    form = found or LedgerForm(schema=1, shard_rows=_FIRST_SHARD_ROWS, identity=plan.IDENTITY_EPOCH)
    said = f"{root}: its ledger"
    advice = "use the farm that wrote it, or another --out"
    if found is None and is_empty:
        return False
    if form.schema > SCHEMA:
        raise UsageError(f"{said} was written by a newer farm (schema {form.schema}, known are {SCHEMA}); {advice}")
    if form.shard_rows != plan.SHARD_ROWS:
        raise UsageError(f"{said} has shards of {form.shard_rows} rows, this farm makes {plan.SHARD_ROWS}; {advice}")
    if form.identity != plan.IDENTITY_EPOCH:
        raise UsageError(f"{said} names items by rule {form.identity}, this farm by {plan.IDENTITY_EPOCH}; {advice}")
    return found is not None and form.schema == SCHEMA


def write_form(root: str, run: str) -> None:
    """Say what the ledger is. Only for who holds the root's lock."""
    form = LedgerForm(schema=SCHEMA, shard_rows=plan.SHARD_ROWS, identity=plan.IDENTITY_EPOCH)
    url = storage.join(ledger_folder(root), _NAME)
    with faults.run_level(url):
        storage.OutputRoot(url=root, attempt=run).publish(url, json.dumps(asdict(form)).encode())


def _read(root: str) -> LedgerForm | None:
    url = storage.join(ledger_folder(root), _NAME)
    try:
        return LedgerForm(**json.loads(storage.read_bytes(url)))
    except ItemError as error:
        if error.kind is ErrorKind.MISSING:
            return None
        with faults.run_level(url):
            raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{url}: is not what this farm writes there ({error}); use another --out") from error
