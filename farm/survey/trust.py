"""Whether a shard's done mark still holds: none of its rows is planned, what could have changed is compared.

The rows say what they said (a digest), the run would make the same of them (a fingerprint), sources have the versions
of the ledger wherever the manifest does not say them itself, and outputs the sizes. Contents are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.kinds import is_sequence
from farm.ledger import MARK, Compared, Mark, ShardFiles, open_compacted, read_mark
from farm.manifest import ShardRows
from farm.records import FileStat
from farm.summary import SHOWN
from farm.survey.peek import sequence_stat

_COLUMNS = ("status", "source", "output", "bytes", "source_version", "message", MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A shard of which nothing is left to do."""

    mark: Mark
    outputs: tuple[str, ...]
    """the first few"""
    failures: tuple[str, ...]
    """the first few messages of rows that failed before or were refused"""


def trust(
    shard: ShardRows, files: ShardFiles | None, fingerprint: str, sources: storage.ManyStats, outputs: storage.ManyStats
) -> Trusted | None:
    """What the shard's mark says if it holds, else None."""
    if files is None or files.compacted is None or files.segments:
        return None
    mark = read_mark(files)
    if mark is None or (mark.rows, mark.fingerprint) != (len(shard), fingerprint) or mark.manifest != shard.digest():
        return None
    with open_compacted(files.compacted) as file:
        table = file.read([*_COLUMNS])
    table = table.filter(table[MARK].to_numpy() != Compared.NOT_MARKED)
    compared = table[MARK].to_numpy()
    done = np.flatnonzero(np.array(table["status"].to_pylist()) == "done")
    made: list[str] = table["output"].take(done).to_pylist()
    if not _have_sizes(made, table["bytes"].to_numpy()[done], outputs) or not _are_seen(table, compared, sources):
        return None
    failed: list[str] = table["message"].take(np.setdiff1d(np.arange(len(table)), done)[:SHOWN]).to_pylist()
    return Trusted(
        mark=mark,
        outputs=tuple(made[:SHOWN]),
        failures=tuple(failed),
    )


def _have_sizes(urls: list[str], nbytes: Any, outputs: storage.ManyStats) -> bool:
    answers = outputs.ask(urls, confirm=False)
    return all(
        isinstance(answer, FileStat) and answer.bytes == size
        for answer, size in zip(answers, nbytes.tolist(), strict=True)
    )


def _are_seen(table: Any, compared: Any, sources: storage.ManyStats) -> bool:
    """Whether the stores say of the sources what the ledger does."""
    where = np.flatnonzero((compared == Compared.BY_STORE) | (compared == Compared.ABSENT))
    urls: list[str] = table["source"].take(where).to_pylist()
    versions: list[str] = table["source_version"].take(where).to_pylist()
    answers = sources.ask(urls, confirm=False)
    return all(
        _version(answer, url) == (version if how == Compared.BY_STORE else "")
        for answer, url, version, how in zip(answers, urls, versions, compared[where].tolist(), strict=True)
    )


def _version(answer: FileStat | ItemError, url: str) -> str | None:
    """The version of a source; empty for one that is missing, None where it cannot be asked."""
    if isinstance(answer, ItemError) and answer.kind is ErrorKind.MISSING and is_sequence(url):
        try:
            answer = sequence_stat(url)
        except ItemError as error:
            answer = error
    if isinstance(answer, FileStat):
        return answer.version
    return "" if answer.kind is ErrorKind.MISSING else None
