"""Which rows of a run are shown: suspect ones first, then some of every stratum, drawn by seed. Pure.

A stratum is what pictures have in common that may go wrong alike: kind and format, model, size, folder. Equal ledgers
and seeds give equal samples, whatever the order of the shards; only a few rows of each stratum are held.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from farm.kinds import CONTAINERS, PICTURE_EXTENSIONS, extension_of
from farm.ledger.codec import decode
from farm.records import ItemStatus

_SHOWN = PICTURE_EXTENSIONS | CONTAINERS.keys()
"""extensions of outputs that may be shown: a list of frames or of samples is none"""
_MOST_STRATA = 256
"""more are put together by their hash"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One done row that may be shown."""

    source: str
    output: str
    source_version: str
    width: int
    height: int
    """of the output"""
    frames: int
    """0 for pictures"""
    bytes: int
    """of the output"""
    model: str
    scale: str
    suspect: str
    flicker: float | None
    figures: dict[str, float]
    """those that it has"""


class Sample:
    """Looks at all results and keeps the few that are shown."""

    def __init__(self, most: int, seed: int, figures: tuple[str, ...]) -> None:
        self._most = most
        self._seed = seed
        self._figures = figures
        self._suspects: list[tuple[int, str]] = []
        self._strata: dict[str, list[tuple[int, str]]] = {}
        self._rows: dict[str, Row] = {}

    def add(self, table: Any) -> None:
        """The results of a shard: a table of `farm.report.account.COLUMNS`."""
        if not self._most:
            return
        names = ("status", "output", "source", "model", "suspect", "source_px")
        columns = (table[name].to_pylist() for name in names)
        offered: dict[str, int] = {}
        for at, (status, output, source, model, suspect, px) in enumerate(zip(*columns, strict=True)):
            extension = extension_of(output)
            if status == ItemStatus.DONE.value and extension in _SHOWN:
                kept = self._suspects if suspect else self._stratum(_stratum(source, extension, model, px))
                if self._offer(kept, output):
                    offered[output] = at
        kept = {output for one in (self._suspects, *self._strata.values()) for _, output in one}
        self._rows = {output: row for output, row in self._rows.items() if output in kept and output not in offered}
        where = np.array([at for output, at in offered.items() if output in kept], np.int64)
        for row in table.take(where).to_pylist():
            self._rows[row["output"]] = self._row(row)

    def rows(self) -> list[Row]:
        """The sample: suspect ones, two thirds of it at most where there are enough others; then one of each stratum
        in turn. Within each by draw."""
        queues = sorted(_in_order(one) for one in self._strata.values())
        others = [queue[turn] for turn in range(self._most) for queue in queues if turn < len(queue)]
        suspects = _in_order(self._suspects)[: max(-(-2 * self._most // 3), self._most - len(others))]
        return [self._rows[output] for _, output in (*suspects, *others)[: self._most]]

    def _stratum(self, name: str) -> list[tuple[int, str]]:
        if name not in self._strata and len(self._strata) >= _MOST_STRATA:
            name = f"others {_draw(0, name) % _MOST_STRATA}"
        return self._strata.setdefault(name, [])

    def _offer(self, kept: list[tuple[int, str]], output: str) -> bool:
        """Put in what draws lower than what is kept; whether it was."""
        one = (-_draw(self._seed, output), output)
        if len(kept) < self._most:
            heapq.heappush(kept, one)
            return True
        return heapq.heappushpop(kept, one) != one

    def _row(self, row: dict[str, Any]) -> Row:
        source, output = row["source"], row["output"]
        if row["entry"] is not None:  # names that are not UTF-8 are only there
            entry = decode(row["entry"])
            source, output = entry.source, entry.output
        same = ("source_version", "width", "height", "frames", "bytes", "model", "scale")
        return Row(
            source=source,
            output=output,
            figures={name: row[name] for name in self._figures if row[name] is not None},
            **{name: row[name] for name in (*same, "suspect", "flicker")},
        )


def _in_order(kept: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lowest draw first."""
    return sorted((-negative, output) for negative, output in kept)


def _draw(seed: int, text: str) -> int:
    return int.from_bytes(blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest(), "big")


def _stratum(source: str, extension: str, model: str, px: int) -> str:
    """Formats, model, size in powers of four, and the source's folder."""
    return f"{extension_of(source)} {extension} {model} {px.bit_length() // 2} {source.rpartition('/')[0]}"
