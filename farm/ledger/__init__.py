"""What has been done: one line an item, appended as it ends; compacted to Parquet; read back to resume.

    ROOT/.farm/ledger/form.json                      schema, rows of a shard, how items are named
    ROOT/.farm/ledger/shard-00000/RUN.jsonl          local disks: append and fsync an entry
    ROOT/.farm/ledger/shard-00000/RUN-000001.jsonl   object stores: whole segments of up to 256 entries or 5 s
    ROOT/.farm/ledger/shard-00000.parquet            compacted: a column a field, and the shard's done mark
    ROOT/.farm/runs/RUN.json                         what each run says of itself
    ROOT/results.parquet                             the result manifest, one row an output, for people

A shard is so many consecutive rows of a manifest. Entries are facts and are never changed; the latest of a key counts.
A crash can tear only the last line of a local file, and whoever wrote that line has not been told that it was written.
"""

from __future__ import annotations

from farm.ledger.compact import compact, compact_shard
from farm.ledger.files import ShardFiles, read_shard, read_shards
from farm.ledger.form import check_form, write_form
from farm.ledger.index import LedgerIndex, index_ledger
from farm.ledger.known import KnownShard, moved_entry
from farm.ledger.log import Ledger
from farm.ledger.mark import Compared, Mark, MarkedKeys
from farm.ledger.note import RunNote, read_notes, write_note
from farm.ledger.open_items import open_items
from farm.ledger.read import Compacted, open_compacted, read_columns, read_entries, read_ledger, read_mark, reread
from farm.ledger.results import RESULT_COLUMNS, RESULTS, iter_results, write_results
from farm.ledger.table import MARK, Table

__all__ = [
    "MARK",
    "RESULTS",
    "RESULT_COLUMNS",
    "Compacted",
    "Compared",
    "KnownShard",
    "Ledger",
    "LedgerIndex",
    "Mark",
    "MarkedKeys",
    "RunNote",
    "ShardFiles",
    "Table",
    "check_form",
    "compact",
    "compact_shard",
    "index_ledger",
    "iter_results",
    "moved_entry",
    "open_compacted",
    "open_items",
    "read_columns",
    "read_entries",
    "read_ledger",
    "read_mark",
    "read_notes",
    "read_shard",
    "read_shards",
    "reread",
    "write_form",
    "write_note",
    "write_results",
]
