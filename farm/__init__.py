"""The farm: a manifest of images goes in; restored files and a result manifest come out; Ray places the work.

The public door. Importing it loads neither ray nor torch nor pyvips; `submit` does, when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.config import RunConfig
from farm.errors import FarmError

if TYPE_CHECKING:
    from farm.run import RunSummary

__version__ = "0.1.0"
__all__ = ["FarmError", "RunConfig", "__version__", "submit"]


def submit(config: RunConfig) -> RunSummary:
    """Run one manifest to its result manifest and say how it ended; what `farm submit` does.

    Blocks until every row is done, skipped or failed. Rows that fail do not raise: they are counted in the summary.
    Raises the `FarmError` whose `exit_code` the command would have answered with.
    """
    from farm.begin import run_locked  # loads ray in the end: only who runs pays for it

    return run_locked(config)
