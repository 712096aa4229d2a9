"""What a manifest asks for against what is there: counted before work starts, planned shard by shard while it goes on.

count.py      every shard once: done by its mark, or open and checked for names that clash
trust.py      whether a done mark still holds
shard.py      the rows of one open shard: pending, done before, failed for good, refused
peek.py       what only a look into a file tells
contents.py   contents against digests, where that is asked for
"""

from __future__ import annotations

from farm.survey.count import Survey, Surveyor, count_rows
from farm.survey.planned import DeclinedRow, KnownRow, PendingRow, PlannedRow
from farm.survey.shard import ShardPlan, compared_by

__all__ = [
    "DeclinedRow",
    "KnownRow",
    "PendingRow",
    "PlannedRow",
    "ShardPlan",
    "Survey",
    "Surveyor",
    "compared_by",
    "count_rows",
]
