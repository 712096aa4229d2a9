"""What a sample took, as the ledger says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farm import ledger
from farm.canary.draw import Drawn
from farm.canary.reckon import Spent
from farm.records import ItemStatus

_BESIDE = ("read_s", "decode_s", "encode_s", "write_s")
"""columns of seconds that a CPU worker spends beside the network"""
_COLUMNS = ["key", "status", "suspect", "source_px", "bytes", "infer_s", *_BESIDE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How the rows of a sample ended; those that have no end yet are in none of these."""

    done: int
    failed: int
    suspect: int
    """of the done ones"""
    spent: tuple[Spent, ...]
    """by the done ones"""


def measure(root: str, drawn: Sequence[Drawn], *, on_gpus: bool) -> Measured:
    """Look the rows of a sample up.

    A worker's seconds are those of inference on GPUs, since all else goes on beside it; on CPUs those of all stages.
    """
    known = {one.item_id: one for one in drawn}
    spent: list[Spent] = []
    done = failed = suspect = 0
    for table in ledger.iter_results(root, _COLUMNS, {one.shard for one in drawn}):
        for row in table.filter([key in known for key in table["key"].to_pylist()]).to_pylist():
            if row["status"] != ItemStatus.DONE.value:
                failed += 1
                continue
            done += 1
            suspect += bool(row["suspect"])
            spent.append(_spent(known[row["key"]], row, on_gpus=on_gpus))
    return Measured(done=done, failed=failed, suspect=suspect, spent=tuple(spent))


def _spent(drawn: Drawn, row: dict[str, Any], *, on_gpus: bool) -> Spent:
    beside = 0.0 if on_gpus else sum(row[name] or 0.0 for name in _BESIDE)
    return Spent(
        stratum=drawn.stratum,
        guess_px=drawn.px,
        source_px=row["source_px"],
        seconds=row["infer_s"] + beside,
        output_bytes=row["bytes"],
    )
