"""What measurements must hold, as a table, the exit code that says whether they do, and the figures that are wanted of
more than one: by a bench that measures and by plot.py, which draws them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recorded import table  # beside this file

TIMES_LEAST, TWO_LEAST = 3.2, 1.9
"""times the official default, on CPU cores; two workers by one"""
WALL_MOST, WALL_FROM_S = 1.05, 60.0
"""wall clock by its parts alone; of shorter jobs the beginning and the end are too large a part"""
SHARE_LEAST = 0.85
"""of the best matmul of one core in bf16; that of fp32 is looked at only"""
RRDB_LEAST, SRVGG_LEAST = 50.0, 55.0
"""percent of the best matmul of a GPU, in fp16"""
COLD_LIMIT_S = 8.0
"""until a small picture is written"""
BUSY_LEAST = 0.97
"""share of a thousand workers at work, over the whole run"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One figure against what is wanted of it."""

    what: str
    found: float
    least: float | None = None
    most: float | None = None
    digits: int = 2
    always: bool = False
    """a promise, which holds or not, whatever else runs on the machine: also wanted with --no-limits"""

    @property
    def holds(self) -> bool:
        """Not of NaN: what was not measured holds nothing."""
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)

    @property
    def wanted(self) -> str:
        said = [f"at least {self.least:g}"] if self.least is not None else []
        return " and ".join([*said, *([f"at most {self.most:g}"] if self.most is not None else [])])


def promise(what: str, *, holds: bool) -> Limit:
    return Limit(what=what, found=float(holds), least=1, digits=0, always=True)


def add_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-limits", action="store_true", help="look only: exit 0 although a limit is missed")


def shown(limits: Sequence[Limit]) -> str:
    rows = [(one.what, *_cells(one), "" if one.holds else "**missed**") for one in limits]
    return table(("what must hold", "measured", "wanted", ""), rows)


def _cells(one: Limit) -> tuple[str, str]:
    if one.always:
        return ("yes" if one.holds else "NO"), "yes"
    return f"{one.found:.{one.digits}f}", one.wanted


def kept(limits: Sequence[Limit]) -> dict[str, dict[str, Any]]:
    """As they go into bench/results/NAME.jsonl."""
    return {
        one.what: {"found": None if math.isnan(one.found) else one.found, "wanted": one.wanted, "holds": one.holds}
        for one in limits
    }


def exit_code(limits: Sequence[Limit], arguments: argparse.Namespace) -> int:
    """1 where one does not hold; with --no-limits only for promises."""
    return int(any(not one.holds and (one.always or not arguments.no_limits) for one in limits))
