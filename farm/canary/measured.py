"""What a sample took, as the ledger says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm import ledger
from farm.canary.draw import Drawn
from farm.canary.reckon import Spent
from farm.progress import Costly
from farm.records import ItemStatus

_BESIDE = ("read_s", "decode_s", "encode_s", "write_s")
"""columns of seconds that a CPU worker spends beside the network"""
_COLUMNS = ["key", "status", "suspect", "source_px", "bytes", "infer_s", "worker", "finished_unix", *_BESIDE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How the rows of a sample ended; those that have no end yet are in none of these."""

    done: int
    failed: int
    suspect: int
    """of the done ones"""
    spent: tuple[Spent, ...]
    """by the done ones"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A row that is done: what it took, where and when."""

    spent: Spent
    worker: str
    finished_unix: float


def measure(root: str, drawn: Sequence[Drawn], *, on_gpus: bool) -> Measured:
    """Look the rows of a sample up.

    A worker's seconds are those of inference on GPUs, since all else goes on beside it, without what its first passes
    took to compile; on CPUs those of all stages.
    """
    known = {one.item_id: one for one in drawn}
    spent: list[Ended] = []
    done = failed = suspect = 0
    for table in ledger.iter_results(root, _COLUMNS, {one.shard for one in drawn}):
        for row in table.filter([key in known for key in table["key"].to_pylist()]).to_pylist():
            if row["status"] != ItemStatus.DONE.value:
                failed += 1
                continue
            done += 1
            suspect += bool(row["suspect"])
            what = _spent(known[row["key"]], row, on_gpus=on_gpus)
            spent.append(Ended(spent=what, worker=row["worker"], finished_unix=row["finished_unix"]))
    each = without_starts(spent) if on_gpus else [one.spent for one in spent]
    return Measured(done=done, failed=failed, suspect=suspect, spent=tuple(each))


def without_starts(rows: Sequence[Ended]) -> list[Spent]:
    """Rows that were the first of their model at their worker take, of pixels, no longer than the others of it did.

    On a GPU such a row waits for kernels to be compiled, which a sample of some rows a worker would take for the pace
    of all. A model of which each worker had one row is left as it is: nothing tells how long the next would take.
    """
    firsts: dict[tuple[str, Costly], Ended] = {}
    for row in rows:
        key = (row.worker, row.spent.stratum.likeness.costly)
        if key not in firsts or row.finished_unix < firsts[key].finished_unix:
            firsts[key] = row
    first = set(map(id, firsts.values()))
    px, seconds = Counter[Costly](), defaultdict[Costly, float](float)
    for row in rows:
        if id(row) not in first:
            px[row.spent.stratum.likeness.costly] += row.spent.source_px
            seconds[row.spent.stratum.likeness.costly] += row.spent.seconds
    found: list[Spent] = []
    for row in rows:
        spent, alike = row.spent, row.spent.stratum.likeness.costly
        if id(row) in first and px[alike]:
            spent = replace(spent, seconds=min(spent.seconds, spent.source_px * seconds[alike] / px[alike]))
        found.append(spent)
    return found


def _spent(drawn: Drawn, row: dict[str, Any], *, on_gpus: bool) -> Spent:
    beside = 0.0 if on_gpus else sum(row[name] or 0.0 for name in _BESIDE)
    return Spent(
        stratum=drawn.stratum,
        guess_px=drawn.px,
        source_px=row["source_px"],
        seconds=row["infer_s"] + beside,
        output_bytes=row["bytes"],
    )
