"""What has been done: one line an item, appended as it ends; compacted to Parquet; read back to resume.

    ROOT/.farm/ledger/shard-00000/RUN.jsonl          local disks: append and fsync an entry
    ROOT/.farm/ledger/shard-00000/RUN-000001.jsonl   object stores: whole segments of up to 256 entries or 5 s
    ROOT/.farm/ledger/shard-00000.parquet            compacted: the shard's done mark
    ROOT/results.parquet                             the result manifest, one row an output, for people

Entries are facts and are never changed; the latest of a key counts. A crash can tear only the last line of a local
file, and whoever wrote that line has not been told that it was written.
"""

from __future__ import annotations

from farm.ledger.log import Ledger
from farm.ledger.results import RESULT_COLUMNS, write_results
from farm.ledger.shard import compact, read_ledger

__all__ = ["RESULT_COLUMNS", "Ledger", "compact", "read_ledger", "write_results"]
