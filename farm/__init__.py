"""The farm: a manifest of images goes in; restored files and a result manifest come out; Ray places the work.

The public door. Importing it loads neither ray nor torch nor pyvips; `submit` does, when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.config import RunConfig
from farm.errors import FarmError

if TYPE_CHECKING:
    from farm.runs import Result, Run

__version__ = "0.1.0"
__all__ = ["FarmError", "Result", "Run", "RunConfig", "__version__", "submit"]


def submit(config: RunConfig) -> Run:
    """Run one manifest to its result manifest and give what came of it; what `farm submit` does.

    Blocks until every row is done, skipped or failed. Rows that fail do not raise: `Run.summary` counts them, and
    `Run.results()` names them. Raises the `FarmError` whose `exit_code` the command would have answered with.
    """
    from farm.begin import run_locked  # loads ray in the end: only who runs pays for it
    from farm.runs import Run

    summary = run_locked(config)
    return Run(summary.out, summary)


def __getattr__(name: str) -> object:
    if name not in ("Result", "Run"):
        raise AttributeError(f"farm has no {name}")
    from farm import runs

    return getattr(runs, name)
